"""Scores of a model without target labels, at every evaluation of a run: pure, for ``jit`` and ``vmap``."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_samples, input_error
from dalib.discrepancy import bnm, mean_entropy, mutual_information, soft_neighbourhood_density
from dalib.discrepancy.distances import safe_norm

# What a run's unlabelled target examples say of it at each evaluation: scores to select by, higher is better.
#
# Scores of predictions alone (all but ``v_measure``) cannot tell a good model from one with permuted classes.
# ``entropy`` does not see a collapse onto one class and ``snd`` prefers one; ``im``, ``bnm`` and ``corr_c`` catch it,
# and presume classes of about equal frequency. Values of different n are not comparable.


TARGET_SCORES = ("v_measure", "im", "bnm", "corr_c", "entropy", "snd")
"""Names of the scores, in the order in which we would trust them."""
ROUNDS = 20


def target_scores(features: Array, logits: Array) -> dict[str, Array]:
    """All scores of :data:`TARGET_SCORES`, and the diagnostic ``largest_class``, as scalars by name.

    Features ``[n, d]`` and logits ``[n, C]`` are of the same n ≥ 2 target examples; an InputError for anything else.

    * ``v_measure``: agreement of predictions with clusters of the features, see :func:`cluster_agreement`, in [0, 1].
    * ``im``: H(p̄) − mean H(p), from 0 to ln C (Shi, Sha, ICML 2012).
    * ``bnm``: ‖P‖_* / √(n · min(n, C)), up to 1 (Cui et al., CVPR 2020; as a validator Musgrave et al. 2022).
    * ``corr_c``: tr(PᵀP) / ‖PᵀP‖_F, from 1 to √C (Tu et al. 2023).
    * ``entropy``: −mean H(p), from −ln C to 0.
    * ``snd``: soft neighbourhood density of P, T = 0.05, from 0 to ln(n − 1) (Saito et al., ICCV 2021).
    * ``largest_class``: share of the class predicted most often; near 1 the model has collapsed.
    """
    check_samples(features=features)
    check_samples(logits=logits)
    if features.shape[0] != logits.shape[0]:
        raise input_error("features", got=f"{features.shape[0]} rows, logits of {logits.shape[0]}", expected="one n")
    n, classes = logits.shape
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    p = jax.nn.softmax(logits)
    # Full precision: tensor cores would round the sums of a score that runs are compared by.
    gram = jnp.matmul(p.T, p, precision=lax.Precision.HIGHEST)
    predictions = logits.argmax(-1)
    return {
        "v_measure": cluster_agreement(features, predictions, classes),
        "im": mutual_information(logits),
        "bnm": -bnm(logits) * jnp.sqrt(n / min(n, classes)),
        "corr_c": jnp.trace(gram) / jnp.linalg.norm(gram),
        "entropy": -mean_entropy(logits),
        "snd": soft_neighbourhood_density(p),
        "largest_class": jnp.bincount(predictions, length=classes).max() / n,
    }


def cluster_agreement(features: Array, predictions: Array, classes: int) -> Array:
    """V-measure of predicted classes against k-means of the rows of unit length, begun at the classes' mean rows.

    ``2 I / (H(classes) + H(clusters))`` in [0, 1]; 0 where all predictions are one class, so that a collapse is not
    taken for agreement. Twenty rounds of Lloyd's algorithm with K = C; a class without rows begins at the origin. It is
    deterministic and needs neither labels nor the source; :func:`dalib.evaluate.class_agreement` adjusts for chance,
    with random starts. V-measure: Rosenberg, Hirschberg, EMNLP 2007; clusters of features as a validator: Musgrave,
    Belongie, Lim 2022, arXiv 2208.07360.
    """
    x = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    norm = safe_norm(x)[:, None]
    x = x / jnp.where(norm > 0, norm, 1)

    def means(labels: Array) -> Array:
        member = jax.nn.one_hot(labels, classes, dtype=x.dtype)
        return jnp.matmul(member.T, x) / jnp.maximum(member.sum(0), 1)[:, None]

    def nearest(centres: Array) -> Array:
        return (jnp.sum(centres**2, axis=1)[None] - 2 * jnp.matmul(x, centres.T)).argmin(1)

    # A fixed number of rounds, not a test of convergence: members under ``vmap`` would wait for the slowest.
    clusters = lax.fori_loop(0, ROUNDS, lambda _, labels: nearest(means(labels)), nearest(means(predictions)))
    # Whole counts first: sums of 1/n would give one class an entropy of 1e-7, and a collapse the agreement 1.
    joint = jnp.zeros((classes, classes), jnp.int32).at[predictions, clusters].add(1)
    of_class, of_cluster, of_both = (_entropy(c / x.shape[0]) for c in (joint.sum(1), joint.sum(0), joint.ravel()))
    value = 2 * (of_class + of_cluster - of_both) / jnp.where(of_class > 0, of_class + of_cluster, 1)
    return jnp.where(of_class > 0, jnp.clip(value, 0, 1), 0)


def _entropy(q: Array) -> Array:
    return -jnp.sum(q * jnp.log(jnp.where(q > 0, q, 1)))
