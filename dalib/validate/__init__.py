"""Validation without target labels. The oracle lives in :mod:`dalib.validate.oracle` and is not exported here."""

from dalib.validate.agreement import Agreement as Agreement
from dalib.validate.agreement import agreement as agreement
from dalib.validate.agreement import class_agreement as class_agreement
from dalib.validate.scores import Scores as Scores
from dalib.validate.scores import confusion_counts as confusion_counts
from dalib.validate.scores import score as score
from dalib.validate.selection import best as best
from dalib.validate.target_scores import TARGET_SCORES as TARGET_SCORES
from dalib.validate.target_scores import cluster_agreement as cluster_agreement
from dalib.validate.target_scores import target_scores as target_scores
from dalib.validate.unsupervised import Risk as Risk
from dalib.validate.unsupervised import corr_c as corr_c
from dalib.validate.unsupervised import dev_risk as dev_risk
from dalib.validate.unsupervised import rank_me as rank_me
