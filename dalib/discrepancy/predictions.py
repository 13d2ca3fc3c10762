"""Penalties on unlabelled predictions: entropies, class confusion, nuclear norms.

All take logits ``[n, C]`` and work with their log-softmax: one-hot predictions and logits of ±1e4 give finite values
and gradients. Means are over the rows given: under data parallelism, over the global batch.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp

from dalib.core.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import at_least_float32, safe_norm
from dalib.discrepancy.spectral import HIGHEST, nuclear_norm


def entropies(logits: Array, *, epsilon: float = 0.0) -> Array:
    """Shannon entropy of each prediction ``[n]``, ``H(p) = −Σ_k p_k ln p_k``, in nats, from 0 to ln C. ``epsilon`` is
    added inside the logarithm; TLlib's numbers have 1e-5 there, which costs 5e-5 at worst."""
    log_p = _log_softmax(logits)
    p = jnp.exp(log_p)
    return -jnp.sum(p * (jnp.log(p + epsilon) if epsilon else log_p), axis=1)


def mean_entropy(logits: Array, *, epsilon: float = 0.0) -> Array:
    """Mean of :func:`entropies`: the term of entropy minimisation (Grandvalet, Bengio, NIPS 2004)."""
    return jnp.mean(entropies(logits, epsilon=epsilon))


def mutual_information(logits: Array) -> Array:
    """``H(p̄) − mean H(p)``, from 0 to ln C: certain predictions, evenly spread over the classes. Information
    maximisation, and SHOT's first term, **minimise its negative**. It presumes roughly balanced classes. Source:
    Krause, Perona, Gomes, NIPS 2010. Liang, Hu, Feng, ICML 2020, arXiv 2002.08546."""
    log_mean = _log_mean_probability(_log_softmax(logits))
    return -jnp.sum(jnp.exp(log_mean) * log_mean) - mean_entropy(logits)


def class_confusion(
    logits: Array, *, weights: Array | None = None, temperature: float | Array = 1.0, mask: Array | None = None
) -> Array:
    """Class confusion matrix ``[C, C]`` with rows summing to 1: ``M_cc' = Σ_i w_i p_ic p_ic' / Σ_i w_i p_ic``.

    Args:
        logits: ``[n, C]``.
        weights: ``[n]`` > 0, of any scale; None for equal ones.
        temperature: T > 0 of ``p = softmax(logits / T)``.
        mask: ``[n]`` booleans, rows to keep; None for all. With none kept the matrix is that of all rows.
    """
    check_positive(temperature=temperature)
    log_p = _log_softmax(logits, temperature)
    for name, rows in (("weights", weights), ("mask", mask)):
        if rows is not None and rows.shape != log_p.shape[:1]:
            raise input_error(name, got=f"shape {rows.shape}", expected=f"one for each row, shape {log_p.shape[:1]}")
    # The quotient is a softmax over examples, so a class of vanishing mass has a row too: the formula's limit.
    shares = log_p if weights is None else log_p + jnp.log(weights)[:, None]
    if mask is not None:
        shares = jnp.where(mask[:, None] | ~jnp.any(mask), shares, jnp.finfo(shares.dtype).min / 2)
    return jnp.matmul(jax.nn.softmax(shares, axis=0).T, jnp.exp(log_p), precision=HIGHEST)


def certainty_weights(logits: Array, *, temperature: float | Array = 1.0, epsilon: float = 0.0) -> Array:
    """MCC's weights ``[n]``, ``1 + e^{−H(p_i)}`` scaled to the mean 1, without gradient."""
    raw = 1 + jnp.exp(-entropies(at_least_float32(logits) / temperature, epsilon=epsilon))
    return lax.stop_gradient(raw / jnp.mean(raw))


def mcc(logits: Array, *, temperature: float | Array = 2.5, epsilon: float = 0.0) -> Array:
    """Minimum class confusion: the off-diagonal sum of the class confusion matrix over C, from 0 to (C − 1)/C.
    ``temperature`` is T > 0; ``epsilon`` is inside the entropy's logarithm of the weights (1e-5 in TLlib's numbers). A
    class that no row predicts counts as wholly confused, 1/C, as in the limit. Source: Jin, Wang, Long, Wang, ECCV
    2020, arXiv 1912.03699."""
    weights = certainty_weights(logits, temperature=temperature, epsilon=epsilon)
    confusion = class_confusion(logits, weights=weights, temperature=temperature)
    off_diagonal = jnp.where(jnp.eye(confusion.shape[0], dtype=bool), 0, confusion)
    return jnp.sum(off_diagonal) / confusion.shape[0]


def bnm(logits: Array) -> Array:
    """Batch nuclear-norm maximisation: ``−‖softmax(logits)‖_* / n``, a scalar < 0 to minimise. Some code averages the
    singular values instead, which is this times ``n / min(n, C)``. Source: Cui, Wang, Zhuo, Li, Huang, Tian, CVPR 2020,
    arXiv 2003.12237."""
    return -nuclear_norm(jnp.exp(_log_softmax(logits))) / logits.shape[0]


def fbnm(logits: Array) -> Array:
    """Fast BNM: minus the sum of the min(n, C) largest column norms of the predictions, over n; no SVD. Source: Cui,
    Wang, Zhuo, Li, Huang, Tian, 2021, arXiv 2107.06154."""
    norms = safe_norm(jnp.exp(_log_softmax(logits)), axis=0)
    return -jnp.sum(lax.top_k(norms, min(logits.shape))[0]) / logits.shape[0]


def class_balance(logits: Array) -> Array:
    """Mean over classes of the binary cross-entropy between the mean prediction and 1/C. It is least (not 0) for
    balanced predictions. Source: French, Mackiewicz, Fisher, ICLR 2018, arXiv 1706.05208."""
    log_mean = _log_mean_probability(_log_softmax(logits))
    share = 1 / logits.shape[1]
    # 1 − p̄ without cancellation, and at least rounding, where one class takes all.
    rest = jnp.maximum(-jnp.expm1(log_mean), jnp.finfo(log_mean.dtype).eps)
    return -jnp.mean(share * log_mean + (1 - share) * jnp.log(rest))


def _log_softmax(logits: Array, temperature: float | Array = 1.0) -> Array:
    check_samples(logits=logits)
    if logits.shape[1] < 2:
        raise input_error("logits", got=f"shape {logits.shape}", expected="[n, C] with C ≥ 2 classes")
    return jax.nn.log_softmax(at_least_float32(logits) / temperature, axis=1)


def _log_mean_probability(log_p: Array) -> Array:
    """Logarithm of the batch mean of probabilities, ``[n, C] -> [C]``, finite where the mean itself underflows."""
    return logsumexp(log_p, axis=0) - math.log(log_p.shape[0])
