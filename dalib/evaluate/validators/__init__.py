"""Validators: scores of a model that use no target labels, all of them in :data:`VALIDATORS`."""

from dalib.evaluate.validators.at_evaluation import TARGET_SCORES as TARGET_SCORES
from dalib.evaluate.validators.at_evaluation import cluster_agreement as cluster_agreement
from dalib.evaluate.validators.at_evaluation import target_scores as target_scores
from dalib.evaluate.validators.clusters import Agreement as Agreement
from dalib.evaluate.validators.clusters import agreement as agreement
from dalib.evaluate.validators.clusters import class_agreement as class_agreement
from dalib.evaluate.validators.clusters import silhouette as silhouette
from dalib.evaluate.validators.consensus import ensemble_agreement as ensemble_agreement
from dalib.evaluate.validators.consensus import mix_accuracy as mix_accuracy
from dalib.evaluate.validators.consensus import reverse_accuracy as reverse_accuracy
from dalib.evaluate.validators.domains import proxy_a_distance as proxy_a_distance
from dalib.evaluate.validators.evidence import Evidence as Evidence
from dalib.evaluate.validators.features import rank_me as rank_me
from dalib.evaluate.validators.features import transfer_score as transfer_score
from dalib.evaluate.validators.predictions import corr_c as corr_c
from dalib.evaluate.validators.predictions import mano as mano
from dalib.evaluate.validators.predictions import spread as spread
from dalib.evaluate.validators.registry import PRIMARY as PRIMARY
from dalib.evaluate.validators.registry import VALIDATORS as VALIDATORS
from dalib.evaluate.validators.registry import Validator as Validator
from dalib.evaluate.validators.risk import Risk as Risk
from dalib.evaluate.validators.risk import density_ratio as density_ratio
from dalib.evaluate.validators.risk import dev_risk as dev_risk
from dalib.evaluate.validators.scoring import Scored as Scored
from dalib.evaluate.validators.scoring import scores as scores
