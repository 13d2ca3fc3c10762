"""Disagreement between two predictions of the same inputs: two heads, two views, or student and teacher.

Logits are ``[n, C]``; others of the same inputs have the same shape.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp

from dalib.core.checks import check_positive, check_samples, input_error
from dalib.discrepancy.distances import at_least_float32
from dalib.discrepancy.predictions import certainty_weights, class_confusion


def classifier_discrepancy(logits_1: Array, logits_2: Array) -> Array:
    """MCD's discrepancy: mean over rows and classes of ``|softmax(logits_1) − softmax(logits_2)|``, from 0 to 2/C.
    Source: Saito, Watanabe, Ushiku, Harada, CVPR 2018, arXiv 1712.02560."""
    first, second = _pair(logits_1=logits_1, logits_2=logits_2)
    return jnp.mean(jnp.abs(jax.nn.softmax(first) - jax.nn.softmax(second)))


def log_one_minus_probability(logits: Array, labels: Array) -> Array:
    """``ln(1 − softmax(logits)_y)`` per row ``[n]``, summed over the other classes: always finite. A label ``[n]``
    outside [0, C) names no class and has probability 0."""
    check_samples(logits=logits)
    logits = at_least_float32(logits)
    if logits.shape[1] < 2 or labels.shape != (logits.shape[0],):
        raise input_error(
            "logits, labels", got=f"shapes {logits.shape} and {labels.shape}", expected="[n, C] with C ≥ 2, and [n]"
        )
    # Masked by a finite number: with -inf the gradient of logsumexp would be NaN.
    chosen = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    return logsumexp(jnp.where(chosen, jnp.finfo(logits.dtype).min / 2, jax.nn.log_softmax(logits)), axis=1)


def shift_log(values: Array, *, shift: float | Array = 1e-6) -> Array:
    """``ln(min(x + shift, 1))``, how TLlib keeps the logarithm of a probability finite; elementwise."""
    return jnp.log(jnp.minimum(values + shift, 1.0))


def margin_disparity(
    source: Array,
    source_adversary: Array,
    target: Array,
    target_adversary: Array,
    *,
    margin: float | Array = 4.0,
    shift: float | None = None,
) -> Array:
    """MDD: ``−γ · CE(a_s, ŷ_s) + mean ln(1 − softmax(a_t)_{ŷ_t})`` with ``ŷ = argmax`` of the main head, a scalar ≤ 0.
    The adversarial head a **maximises** it (a method minimises its negative, with gradient reversal). Source: Zhang,
    Liu, Long, Jordan, ICML 2019, arXiv 1904.05801.

    Args:
        source, target: main head's logits ``[n, C]``, ``[m, C]``; only their argmax counts.
        source_adversary, target_adversary: adversarial head's logits of the same shapes.
        margin: γ.
        shift: None takes the target term's logarithm exactly; a number takes ``shift_log`` of 1 − p, 1e-6 in TLlib.
    """
    source, source_adversary = _pair(source=source, source_adversary=source_adversary)
    target, target_adversary = _pair(target=target, target_adversary=target_adversary)
    check_samples(source=source, target=target)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(source_adversary), jnp.argmax(source, axis=1)[:, None], axis=1)
    chosen = jnp.argmax(target, axis=1)
    other = log_one_minus_probability(target_adversary, chosen)
    if shift is not None:
        p = jnp.take_along_axis(jax.nn.softmax(target_adversary), chosen[:, None], axis=1)[:, 0]
        other = shift_log(1 - p, shift=shift)
    return margin * jnp.mean(log_p) + jnp.mean(other)


def regression_disparity(
    source: Array, source_adversary: Array, target: Array, target_adversary: Array, *, margin: float | Array = 1.0
) -> Array:
    """Disparity discrepancy for regression: ``−γ · mean|a_s − sg(g_s)| + mean|a_t − sg(g_t)|``, of either sign. Main
    head's outputs g are ``[n, k]``, ``[m, k]``, the adversary's a likewise; γ is ``margin``. Source: Zhang, Liu, Long,
    Jordan, ICML 2019, arXiv 1904.05801."""
    source, source_adversary = _pair(source=source, source_adversary=source_adversary)
    target, target_adversary = _pair(target=target, target_adversary=target_adversary)
    check_samples(source=source, target=target)
    on_source = jnp.mean(jnp.abs(source_adversary - lax.stop_gradient(source)))
    return jnp.mean(jnp.abs(target_adversary - lax.stop_gradient(target))) - margin * on_source


def confident(logits: Array, *, threshold: float | Array, temperature: float | Array = 1.0) -> Array:
    """Whether each row's largest softmax probability is at least ``threshold``, ``[n]`` booleans without gradient."""
    p = jax.nn.softmax(lax.stop_gradient(at_least_float32(logits)) / temperature)
    return jnp.max(p, axis=1) >= threshold


def pseudo_label_loss(logits: Array, teacher: Array, *, threshold: float | Array = 0.95) -> Array:
    """``mean over all rows of 1[max softmax(teacher) > τ] · CE(logits, argmax teacher)``; 0 when no row is kept.
    Dividing by all rows makes the term fade in as the teacher, which has no gradient and may be ``logits``, grows
    confident. With the weak view as ``teacher`` and the strong one as ``logits`` it is FixMatch's target term. Source:
    Lee, ICML Workshops 2013. Sohn et al. (FixMatch), NeurIPS 2020, arXiv 2001.07685."""
    logits, teacher = _pair(logits=logits, teacher=teacher)
    p = jax.nn.softmax(lax.stop_gradient(teacher))
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.argmax(p, axis=1)[:, None], axis=1)[:, 0]
    return -jnp.mean(jnp.where(jnp.max(p, axis=1) > threshold, log_p, 0))


def confusion_consistency(
    logits: Array,
    teacher: Array,
    *,
    temperature: float | Array = 2.5,
    threshold: float | Array = 0.95,
    epsilon: float = 0.0,
) -> Array:
    """CC-loss: ``‖M(teacher) − M(logits)‖²_F / C · (kept rows) / n``, class confusion matrices of the kept rows.

    Args:
        logits: the strong view.
        teacher: the weak view, without gradient. It keeps rows with a probability ≥ τ at temperature T and weighs them
            as :func:`~dalib.discrepancy.predictions.mcc`.
        temperature: T > 0.
        threshold: τ.
        epsilon: inside the entropy's logarithm of the weights; TLlib's numbers have 1e-5.

    Returns: scalar ≥ 0; 0 when no row is kept.
    """
    logits, teacher = _pair(logits=logits, teacher=teacher)
    check_positive(temperature=temperature)
    teacher = lax.stop_gradient(teacher)
    mask = confident(teacher, threshold=threshold, temperature=temperature)

    def matrix(z: Array) -> Array:
        weights = certainty_weights(z, temperature=temperature, epsilon=epsilon)
        return class_confusion(z, weights=weights, temperature=temperature, mask=mask)

    gap = jnp.sum(jnp.square(matrix(teacher) - matrix(logits))) / logits.shape[1]
    return gap * jnp.mean(mask.astype(gap.dtype))


def squared_consistency(logits: Array, teacher: Array) -> Array:
    """Mean over rows of ``Σ_k (softmax(logits) − softmax(teacher))²``, from 0 to 2; no stop_gradient in here. Source:
    Laine, Aila, ICLR 2017, arXiv 1610.02242."""
    first, second = _pair(logits=logits, teacher=teacher)
    return jnp.mean(jnp.sum(jnp.square(jax.nn.softmax(first) - jax.nn.softmax(second)), axis=1))


def _pair(**arrays: Array) -> tuple[Array, Array]:
    check_samples(**arrays)
    (name, first), (other, second) = arrays.items()
    if first.shape != second.shape:
        raise input_error(
            other, got=f"shape {second.shape}, and {name} has shape {first.shape}", expected="two arrays of one shape"
        )
    return at_least_float32(first), at_least_float32(second)
