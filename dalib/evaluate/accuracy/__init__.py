"""Accuracy on the target predicted without its labels, shifts of class frequencies, calibration."""

from dalib.evaluate.accuracy.calibration import Calibration as Calibration
from dalib.evaluate.accuracy.calibration import calibrate as calibrate
from dalib.evaluate.accuracy.calibration import calibration_error as calibration_error
from dalib.evaluate.accuracy.calibration import source_temperature as source_temperature
from dalib.evaluate.accuracy.calibration import target_temperature as target_temperature
from dalib.evaluate.accuracy.estimate import Estimate as Estimate
from dalib.evaluate.accuracy.estimators import agreement_of_seeds as agreement_of_seeds
from dalib.evaluate.accuracy.estimators import difference_of_confidences as difference_of_confidences
from dalib.evaluate.accuracy.estimators import importance_weighted as importance_weighted
from dalib.evaluate.accuracy.estimators import label_shifted as label_shifted
from dalib.evaluate.accuracy.estimators import nuclear_norm as nuclear_norm
from dalib.evaluate.accuracy.estimators import thresholded_confidence as thresholded_confidence
from dalib.evaluate.accuracy.estimators import transport as transport
from dalib.evaluate.accuracy.expected import ESTIMATORS as ESTIMATORS
from dalib.evaluate.accuracy.expected import Estimator as Estimator
from dalib.evaluate.accuracy.expected import Expected as Expected
from dalib.evaluate.accuracy.expected import expected_accuracy as expected_accuracy
from dalib.evaluate.accuracy.label_shift import Shift as Shift
from dalib.evaluate.accuracy.label_shift import bbse as bbse
from dalib.evaluate.accuracy.label_shift import corrected as corrected
from dalib.evaluate.accuracy.label_shift import mlls as mlls
from dalib.evaluate.accuracy.shipping import Shipping as Shipping
from dalib.evaluate.accuracy.shipping import shipping as shipping
