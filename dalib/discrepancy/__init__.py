"""Discrepancies: pure functions of two samples ``[n, d]`` and ``[m, d]`` to a scalar of float32 or wider.

n and m may differ. Other shapes, dtypes or ranges than those stated raise an InputError, in every module here.
"""

from dalib.discrepancy.conditional_mmd import class_mmd2 as class_mmd2
from dalib.discrepancy.conditional_mmd import joint_mmd2 as joint_mmd2
from dalib.discrepancy.dare_gram import dare_gram as dare_gram
from dalib.discrepancy.disagreement import (
    classifier_discrepancy as classifier_discrepancy,
)
from dalib.discrepancy.disagreement import confident as confident
from dalib.discrepancy.disagreement import (
    confusion_consistency as confusion_consistency,
)
from dalib.discrepancy.disagreement import (
    log_one_minus_probability as log_one_minus_probability,
)
from dalib.discrepancy.disagreement import margin_disparity as margin_disparity
from dalib.discrepancy.disagreement import pseudo_label_loss as pseudo_label_loss
from dalib.discrepancy.disagreement import regression_disparity as regression_disparity
from dalib.discrepancy.disagreement import shift_log as shift_log
from dalib.discrepancy.disagreement import squared_consistency as squared_consistency
from dalib.discrepancy.distances import BANDWIDTHS as BANDWIDTHS
from dalib.discrepancy.distances import MULTIPLIERS as MULTIPLIERS
from dalib.discrepancy.distances import gaussian_gram as gaussian_gram
from dalib.discrepancy.distances import gaussian_mixture as gaussian_mixture
from dalib.discrepancy.distances import kernel_variance as kernel_variance
from dalib.discrepancy.distances import mean_squared_distance as mean_squared_distance
from dalib.discrepancy.distances import (
    median_squared_distance as median_squared_distance,
)
from dalib.discrepancy.distances import safe_norm as safe_norm
from dalib.discrepancy.distances import squared_distances as squared_distances
from dalib.discrepancy.mmd import linear_mmd2 as linear_mmd2
from dalib.discrepancy.mmd import mk_mmd as mk_mmd
from dalib.discrepancy.mmd import mmd2 as mmd2
from dalib.discrepancy.moments import cmd as cmd
from dalib.discrepancy.moments import coral as coral
from dalib.discrepancy.moments import covariance as covariance
from dalib.discrepancy.moments import homm as homm
from dalib.discrepancy.moments import log_coral as log_coral
from dalib.discrepancy.neighbours.nearest import Neighbours as Neighbours
from dalib.discrepancy.neighbours.nearest import nearest_neighbour_divergence as nearest_neighbour_divergence
from dalib.discrepancy.neighbours.nearest import nearest_neighbours as nearest_neighbours
from dalib.discrepancy.neighbours.nearest import same_sample_neighbours as same_sample_neighbours
from dalib.discrepancy.neighbours.soft import soft_neighbourhood_density as soft_neighbourhood_density
from dalib.discrepancy.predictions import bnm as bnm
from dalib.discrepancy.predictions import certainty_weights as certainty_weights
from dalib.discrepancy.predictions import class_balance as class_balance
from dalib.discrepancy.predictions import class_confusion as class_confusion
from dalib.discrepancy.predictions import entropies as entropies
from dalib.discrepancy.predictions import fbnm as fbnm
from dalib.discrepancy.predictions import mcc as mcc
from dalib.discrepancy.predictions import mean_entropy as mean_entropy
from dalib.discrepancy.predictions import mutual_information as mutual_information
from dalib.discrepancy.sliced import random_directions as random_directions
from dalib.discrepancy.sliced import sliced_wasserstein as sliced_wasserstein
from dalib.discrepancy.sliced import wasserstein_1d as wasserstein_1d
from dalib.discrepancy.spectral import afn as afn
from dalib.discrepancy.spectral import bsp as bsp
from dalib.discrepancy.spectral import bss as bss
from dalib.discrepancy.spectral import nuclear_norm as nuclear_norm
from dalib.discrepancy.spectral import rsd as rsd
from dalib.discrepancy.transport import Divergence as Divergence
from dalib.discrepancy.transport import Transport as Transport
from dalib.discrepancy.transport import sinkhorn as sinkhorn
from dalib.discrepancy.transport import sinkhorn_divergence as sinkhorn_divergence
