"""CDAN: conditional domain-adversarial training on features times predictions."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import choose, input_error
from dalib.discrepancy import entropies
from dalib.methods.base import Method, Needs, Spec, View, weigh
from dalib.methods.discriminator import Discriminator, discriminate_both, domain_loss
from dalib.methods.reversal import Reversal, dann_schedule, reverse_by
from dalib.types import Array, Metrics, Outputs, Params, PyTree

NORMALISATIONS = {
    "per_domain": "weights of mean 1 within each domain, as the authors' code",
    "joint": "weights of mean 1 over both domains together, as TLlib",
}


def multilinear_map(features: Array, p: Array) -> Array:
    """``p ⊗ f`` of each row, flattened class by class. ``[n, d], [n, C] -> [n, C·d]``."""
    return (p[:, :, None] * features[:, None, :]).reshape(features.shape[0], -1)


def randomized_map(features: Array, p: Array, maps: PyTree) -> Array:
    """``(f R_f) ⊙ (p R_g) / √R`` of each row. ``[n, d], [n, C] -> [n, R]``; estimates inner products of
    :func:`multilinear_map`."""
    return (features @ maps["features"]) * (p @ maps["predictions"]) * maps["features"].shape[1] ** -0.5


def certainty(logits: Array) -> Array:
    """CDAN+E's weights before normalisation, ``1 + e^{−H(p)}`` of each row ``[n]``, without gradient."""
    return jax.lax.stop_gradient(1 + jnp.exp(-entropies(logits)))


def cdan(
    *,
    weight: Any = 1.0,
    entropy: bool = False,
    normalisation: str = "per_domain",
    randomized: int | None = None,
    reversal: Reversal = dann_schedule,
    hidden: Sequence[int] = (1024, 1024),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Task loss + λ · domain loss of the reversed product of features and predictions.

    The discriminator sees ``p ⊗ f`` with the predictions p held fixed: its reversed gradient reaches the features
    alone, never the head. One-hot predictions make it one discriminator per class.

    Args:
        weight: λ of the whole domain loss.
        entropy: CDAN+E: each row's loss is weighted by ``1 + e^{−H(p)}``, without gradient (the authors' code also
            reverses a gradient through H; TLlib does not).
        normalisation: of CDAN+E's weights: "per_domain" (the authors) or "joint" (TLlib's published rows).
        randomized: width R of the random maps for large C·d (the paper takes them above 4096, R = 1024); None for the
            full product. The maps never change; they are part of the method's state and of checkpoints.
        reversal: the reversal's coefficient: a function of the view or a number.
        hidden: widths of the discriminator.
        norm: BatchNorm in the discriminator over both domains' rows together, as in TLlib.
        dropout: rate in the discriminator.

    Metrics: ``loss/cdan`` (ln 2 at equilibrium), ``cdan/domain_accuracy`` (0.5 at equilibrium), ``cdan/reversal``.

    Raises:
        InputError: for another normalisation, or ``randomized`` that is no integer ≥ 1.

    References:
        Long, Cao, Wang, Jordan, NeurIPS 2018, arXiv 1705.10667, section 3.
    """
    choose("normalisation", normalisation, NORMALISATIONS)
    if randomized is not None and (not isinstance(randomized, int) or randomized < 1):
        raise input_error("randomized", got=randomized, expected="an integer R ≥ 1, or None")
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        width = randomized or spec.width * spec.num_classes
        keys = jax.random.split(key, 3)
        params = {"discriminator": net.init(keys[0], jnp.zeros((2, width)))["params"]}
        if not randomized:
            return params, {}
        features = jax.random.normal(keys[1], (spec.width, randomized), jnp.float32)
        return params, {
            "features": features,
            "predictions": jax.random.normal(keys[2], (spec.num_classes, randomized), jnp.float32),
        }

    def product(outputs: Outputs, maps: PyTree) -> Array:
        assert outputs.logits is not None
        p = jax.lax.stop_gradient(jax.nn.softmax(outputs.logits))
        return randomized_map(outputs.features, p, maps) if randomized else multilinear_map(outputs.features, p)

    def weights(view: View) -> dict[str, Array]:
        of_source, of_target = certainty(view.source.logits), certainty(view.target.logits)
        if normalisation == "joint":
            mean = 0.5 * (of_source.mean() + of_target.mean())
            return {"source_weights": of_source / mean, "target_weights": of_target / mean}
        return {"source_weights": of_source / of_source.mean(), "target_weights": of_target / of_target.mean()}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        products = product(view.source, view.state), product(view.target, view.state)
        (source, target), coefficient = reverse_by(reversal, view, products)
        logits = discriminate_both(net, view.params["discriminator"], source, target, view.key)
        loss, accuracy = domain_loss(*logits, **(weights(view) if entropy else {}))
        metrics = {"loss/cdan": loss, "cdan/domain_accuracy": accuracy, "cdan/reversal": coefficient}
        return weigh(weight, view) * loss, view, metrics

    needs = Needs(per_example=not (norm or entropy))
    return Method("cdan", init=init, penalties=(penalty,), needs=needs)
