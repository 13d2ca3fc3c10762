"""Methods that ask for predictions that do not change in a small ball: VAT and VADA."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dalib.core.options import Count, NonNegative, Weight, Widths, checked
from dalib.core.types import Array, Metrics
from dalib.discrepancy import safe_norm
from dalib.methods.adversarial.domain_classifier import dann
from dalib.methods.base import Method, Needs, weigh
from dalib.methods.combine import combine
from dalib.methods.parts.augmentation import draw_rows
from dalib.methods.self_training.entropy import entmin
from dalib.methods.view import View


def adversarial_perturbation(
    logits_of: Callable[[Array], Array], x: Array, start: Array, *, radius: Any, iterations: int = 1
) -> Array:
    """The perturbation of norm ``radius`` that changes each prediction most, by power iteration.

    Args:
        logits_of: ``x -> logits [n, C]``.
        x: ``[n, ...]``.
        start: ``[n, ...]`` random directions.
        radius: ε ≥ 0, the Euclidean norm of each example's perturbation.
        iterations: of the power method, ≥ 1.

    Returns: ``[n, ...]``, without gradient; 0 where no direction changes the prediction.
    """
    direction = _unit(start)
    for _ in range(iterations):
        # Near x, KL(p(x) ‖ p(x + r)) = ½ rᵀ Jᵀ(diag p − p pᵀ)J r. The authors approximate the product by a gradient at
        # a distance ξ = 1e-6, a difference that float32 mostly loses; here it is exact.
        logits, change = jax.jvp(logits_of, (x,), (direction,))
        p = jax.nn.softmax(logits)
        fisher = p * (change - jnp.sum(p * change, axis=1, keepdims=True))
        (product,) = jax.vjp(logits_of, x)[1](fisher)
        direction = _unit(product)
    return lax.stop_gradient(radius * direction)


def virtual_adversarial_loss(
    logits_of: Callable[[Array], Array], x: Array, start: Array, *, radius: Any, iterations: int = 1
) -> Array:
    """Mean over rows of KL(sg p(x) ‖ p(x + r)) with r from :func:`adversarial_perturbation`; scalar ≥ 0."""
    still = lambda z: lax.stop_gradient(logits_of(z))  # noqa: E731
    perturbation = adversarial_perturbation(
        logits_of, lax.stop_gradient(x), start, radius=radius, iterations=iterations
    )
    log_p = jax.nn.log_softmax(still(x))
    log_q = jax.nn.log_softmax(logits_of(x + perturbation.astype(x.dtype)))
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1))


@checked
def vat(*, weight: Weight = 1.0, source: Weight = 0.0, radius: NonNegative = 3.5, iterations: Count = 1) -> Method:
    """Task loss + λ · VAT(target) + λ_s · VAT(source) (Miyato, Maeda, Koyama, Ishii, TPAMI 2018, arXiv 1704.03976, eqs.
    5 to 8), a part of VADA.

    It also serves semi-supervised learning. Integers (tokens) cannot be moved a little: for them the features are
    perturbed, before the head. Passes are in training mode with one dropout mask for all and leave the running
    statistics alone; each domain is normalised by its own batch. Since it became a penalty its random numbers differ
    from those of older runs. Metrics: ``loss/vat`` (target), ``vat/source``, mean KL in nats; 0 for constant
    predictions.

    Args:
        weight: λ on the target.
        source: λ_s on the source.
        radius: ε in the units of the inputs, to be set for the data; 3.5 is VADA's for 32×32×3 images in [−1, 1].
        iterations: of the power method; 1 in the papers.
    """

    def smoothness(view: View, domain: str, number: int) -> Array:
        keys = [jax.random.fold_in(view.key, 2 + 2 * number + i) for i in range(2)]
        inputs = getattr(view.batch, domain).inputs

        def of_inputs(x: Array) -> Array:
            logits = view.again(x, domain, key=keys[0])[0].logits
            assert logits is not None
            return logits

        def of_features(x: Array) -> Array:
            return view.head(x, keys[0])

        floating = jnp.issubdtype(inputs.dtype, jnp.floating)
        x = inputs if floating else getattr(view, domain).features
        # Drawn by example, so that a row's direction does not depend on its place in the batch.
        start = draw_rows(jax.random.normal, keys[1], inputs, x.shape[1:], dtype=jnp.float32).astype(x.dtype)
        logits_of = of_inputs if floating else of_features
        return virtual_adversarial_loss(logits_of, x, start, radius=radius, iterations=iterations)

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        on_target = smoothness(view, "target", 0)
        # A source weight of the number 0 costs no passes; a traced one does.
        skip = isinstance(source, int | float) and source == 0
        on_source = jnp.zeros_like(on_target) if skip else smoothness(view, "source", 1)
        total = weigh(source, view) * on_source + weigh(weight, view) * on_target
        return total, view, {"loss/vat": on_target, "vat/source": on_source}

    return Method("vat", penalties=(penalty,), needs=Needs(classes=True))


def _unit(x: Array) -> Array:
    """Examples ``[n, ...]`` scaled to norm 1; zeros stay."""
    norm = safe_norm(x.reshape(x.shape[0], -1)).reshape(-1, *[1] * (x.ndim - 1))
    return x / jnp.where(norm > 0, norm, 1).astype(x.dtype)


@checked
def vada(
    *,
    adversarial: Weight = 1e-2,
    source: Weight = 1.0,
    target: Weight = 1e-2,
    radius: NonNegative = 3.5,
    hidden: Widths = (100,),
) -> Method:
    """Task loss + λ_d · DANN + λ_s · VAT(source) + λ_t · (VAT(target) + mean H(p_t)) (Shu, Bui, Narui, Ermon, ICLR
    2018, arXiv 1802.08735, eq. 9). A sum of :func:`dann`, :func:`vat` and :func:`entmin`, with their metrics and
    weights of their own. The authors train the discriminator by an update of its own; here a reversal by λ_d gives the
    same gradients in one.

    Args:
        adversarial: λ_d, on the features' path only.
        source: λ_s.
        target: λ_t.
        radius: ε of VAT, see there; it belongs to the scale of the inputs.
        hidden: widths of the discriminator.
    """
    return combine(
        dann(reversal=adversarial, hidden=hidden),
        vat(weight=target, source=source, radius=radius),
        entmin(weight=target),
        name="vada",
    )
