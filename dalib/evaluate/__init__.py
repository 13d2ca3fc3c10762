"""Validation without target labels. The oracle lives in :mod:`dalib.evaluate.oracle` and is not exported here."""

from dalib.evaluate.scores import Scores as Scores
from dalib.evaluate.scores import confusion_counts as confusion_counts
from dalib.evaluate.scores import score as score
from dalib.evaluate.selection import best as best
from dalib.evaluate.validators import TARGET_SCORES as TARGET_SCORES
from dalib.evaluate.validators import VALIDATORS as VALIDATORS
from dalib.evaluate.validators import Agreement as Agreement
from dalib.evaluate.validators import Evidence as Evidence
from dalib.evaluate.validators import Risk as Risk
from dalib.evaluate.validators import agreement as agreement
from dalib.evaluate.validators import class_agreement as class_agreement
from dalib.evaluate.validators import cluster_agreement as cluster_agreement
from dalib.evaluate.validators import corr_c as corr_c
from dalib.evaluate.validators import dev_risk as dev_risk
from dalib.evaluate.validators import rank_me as rank_me
from dalib.evaluate.validators import target_scores as target_scores
