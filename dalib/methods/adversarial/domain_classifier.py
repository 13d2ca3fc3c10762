"""Methods with a domain classifier and gradient reversal: DANN, CDAN, BSP and domain confusion."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from dalib import discrepancy
from dalib.core.options import Count, OneOf, Rate, Weight, Widths, checked
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.discrepancy import entropies
from dalib.methods.base import Method, Needs, Update, supervised_loss, term, weigh
from dalib.methods.combine import combine
from dalib.methods.parts.nets import Discriminator, Reversal, dann_schedule, discriminate_both, domain_loss, reverse_by
from dalib.methods.view import Spec, View

# DANN: domain-adversarial training by gradient reversal.


@checked
def dann(
    *,
    weight: Weight = 1.0,
    reversal: Reversal = dann_schedule,
    hidden: Widths = (1024, 1024),
    norm: bool = False,
    dropout: Rate = 0.0,
) -> Method:
    """Task loss + λ · domain loss of reversed features (Ganin et al., JMLR 2016, arXiv 1505.07818, eq. 10–18). The
    coefficient acts on the features' path only: the discriminator learns at full rate from the first step, while the
    encoder's adversarial gradient ramps up from exactly 0. Metrics: ``loss/dann`` (ln 2 at equilibrium),
    ``dann/domain_accuracy`` (0.5 there), ``dann/reversal``.

    Args:
        weight: λ of the whole domain loss; it slows the discriminator as well. 1 in the paper.
        reversal: the reversal's coefficient: a function of the view or a number.
        hidden: widths of the discriminator.
        norm: BatchNorm in the discriminator over both domains' rows together (TLlib has it, the paper does not).
        dropout: rate in the discriminator.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"discriminator": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        (source, target), coefficient = reverse_by(reversal, view, features)
        loss, accuracy = domain_loss(*discriminate_both(net, view.params["discriminator"], source, target, view.key))
        metrics = {"loss/dann": loss, "dann/domain_accuracy": accuracy, "dann/reversal": coefficient}
        return weigh(weight, view) * loss, view, metrics

    return Method("dann", init=init, penalties=(penalty,), needs=Needs(per_example=not norm))


# CDAN: conditional domain-adversarial training on features times predictions.


NORMALISATIONS = {
    "per_domain": "weights of mean 1 within each domain, as the authors' code",
    "joint": "weights of mean 1 over both domains together, as TLlib",
}


def multilinear_map(features: Array, p: Array) -> Array:
    """``p ⊗ f`` of each row, flattened class by class. ``[n, d], [n, C] -> [n, C·d]``."""
    return (p[:, :, None] * features[:, None, :]).reshape(features.shape[0], -1)


def randomized_map(features: Array, p: Array, maps: PyTree) -> Array:
    """``(f R_f) ⊙ (p R_g) / √R`` of each row, ``[n, d], [n, C] -> [n, R]``; estimates ``p ⊗ f``."""
    return (features @ maps["features"]) * (p @ maps["predictions"]) * maps["features"].shape[1] ** -0.5


def certainty(logits: Array) -> Array:
    """CDAN+E's weights before normalisation, ``1 + e^{−H(p)}`` of each row ``[n]``, without gradient."""
    return jax.lax.stop_gradient(1 + jnp.exp(-entropies(logits)))


@checked
def cdan(
    *,
    weight: Weight = 1.0,
    entropy: bool = False,
    normalisation: Annotated[str, OneOf(NORMALISATIONS)] = "per_domain",
    randomized: Count | None = None,
    reversal: Reversal = dann_schedule,
    hidden: Widths = (1024, 1024),
    norm: bool = False,
    dropout: Rate = 0.0,
) -> Method:
    """Task loss + λ · domain loss of the reversed product of features and predictions. Source: Long, Cao, Wang, Jordan,
    NeurIPS 2018, arXiv 1705.10667, section 3. The discriminator sees ``p ⊗ f`` with the predictions p fixed: its
    reversed gradient reaches the features, never the head. One-hot predictions make it one discriminator per class.
    Metrics: ``loss/cdan``, ``cdan/domain_accuracy``, ``cdan/reversal``, as in :func:`dann`.

    Args:
        weight: λ of the whole domain loss.
        entropy: CDAN+E: each row's loss is weighted by ``1 + e^{−H(p)}``, without gradient (the authors' code also
            reverses a gradient through H; TLlib does not).
        normalisation: of CDAN+E's weights: "per_domain" (the authors) or "joint" (TLlib's published rows).
        randomized: width R of fixed random maps for large C·d (the paper: above 4096, R = 1024); None for the full
            product. The maps are part of the method's state and of checkpoints.
        reversal: the reversal's coefficient: a function of the view or a number.
        hidden, norm, dropout: of the discriminator, as in :func:`dann`.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        width = randomized or spec.width * spec.num_classes
        keys = jax.random.split(key, 3)
        params = {"discriminator": net.init(keys[0], jnp.zeros((2, width)))["params"]}
        # The full product needs no maps, so no state.
        if not randomized:
            return params, {}
        features = jax.random.normal(keys[1], (spec.width, randomized), jnp.float32)
        return params, {
            "features": features,
            "predictions": jax.random.normal(keys[2], (spec.num_classes, randomized), jnp.float32),
        }

    def product(outputs: Outputs, maps: PyTree) -> Array:
        assert outputs.logits is not None
        # Fixed predictions: with a gradient the head could please the discriminator by its own logits.
        p = jax.lax.stop_gradient(jax.nn.softmax(outputs.logits))
        return randomized_map(outputs.features, p, maps) if randomized else multilinear_map(outputs.features, p)

    def weights(view: View) -> dict[str, Array]:
        of_source, of_target = certainty(view.source.logits), certainty(view.target.logits)
        if normalisation == "joint":
            # One mean over both: the more certain domain then weighs more as a whole.
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

    needs = Needs(per_example=not (norm or entropy), classes=True)
    return Method("cdan", init=init, penalties=(penalty,), needs=needs)


# BSP: batch spectral penalisation of an adversarial method.


@checked
def spectral_penalty(*, weight: Weight = 2e-4, count: Count = 1) -> Method:
    """Task loss + β · sum of the ``count`` largest squared singular values of each domain's features. It is
    :func:`bsp`'s penalty without an adversary. Metrics: ``loss/spectral``, the term before weighting.

    Args:
        weight: β, see :func:`bsp`.
        count: k, at most the number of rows and of features.
    """

    def spectral(view: View) -> Array:
        return discrepancy.bsp(view.source.features, count=count) + discrepancy.bsp(view.target.features, count=count)

    return term("spectral", spectral, weight=weight)


@checked
def bsp(
    *, weight: Weight = 1.0, strength: Weight = 2e-4, count: Count = 1, adversary: Callable[..., Method] = dann
) -> Method:
    """DANN + BSP: task loss + λ · (domain loss of reversed features + β · :func:`spectral_penalty`'s term). It keeps a
    few leading directions from carrying all that transfers (Chen, Wang, Long, Wang, ICML 2019, eq. 6). At ties the
    gradient is a subgradient; features of 0 give 0. Metrics: the adversary's, and ``loss/spectral``.

    Args:
        weight: λ of everything but the task loss.
        strength: β of a sum over the batch: TLlib's 2e-4 (1e-4 for digits) belongs to 32 rows per domain (128).
        count: k, singular values of each domain; more than its rows or features raise an InputError at the first step.
        adversary: the adversarial method, ``weight=... -> Method``: ``cdan`` gives the paper's CDAN + BSP.
    """

    def spectral_weight(view: View) -> Any:
        return weigh(weight, view) * weigh(strength, view)

    return combine(adversary(weight=weight), spectral_penalty(weight=spectral_weight, count=count), name="bsp")


@checked
def confusion(
    *,
    weight: Weight = 0.01,
    hidden: Widths = (1024, 1024),
    norm: bool = False,
    dropout: Rate = 0.0,
) -> Method:
    """Task loss + λ · confusion, the cross-entropy between a discriminator's output and a coin.

    Source: Tzeng, Hoffman, Darrell, Saenko, ICCV 2015, arXiv 1510.02192, section 3.1. A step makes two updates:
    ``discriminator`` on the domain loss of fixed features, then ``task`` with the discriminator fixed. Confusion is
    least, ln 2, at indifference; reversal would send the encoder past it to swapped domains. The paper's soft labels
    are not included.

    Metrics: ``discriminator/loss/domain`` and ``discriminator/confusion/domain_accuracy`` (ln 2 and 0.5 at
    equilibrium), ``task/loss/confusion`` (≥ ln 2).

    Args:
        weight: λ; the paper's is 0.01.
        hidden, norm, dropout: of the discriminator, as in :func:`dann`; no hidden layer, (), in the paper.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"discriminator": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def discriminator_loss(view: View) -> tuple[Array, View, Metrics]:
        # The running statistics advance once per step, in the update of the net.
        seen = view.pair()
        source, target = jax.lax.stop_gradient((seen.source.features, seen.target.features))
        key = jax.random.fold_in(view.key, 1)
        loss, accuracy = domain_loss(*discriminate_both(net, view.params["discriminator"], source, target, key))
        return loss, view, {"loss/domain": loss, "confusion/domain_accuracy": accuracy}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        source, target = discriminate_both(net, view.params["discriminator"], *features, view.key)
        # −½ ln D − ½ ln(1 − D) from logits.
        halves = [(0.5 * (jax.nn.softplus(z) + jax.nn.softplus(-z))).mean() for z in (source, target)]
        value = 0.5 * (halves[0] + halves[1])
        return weigh(weight, view) * value, view, {"loss/confusion": value}

    return Method(
        "confusion",
        init=init,
        penalties=(penalty,),
        updates=(
            Update("discriminator", discriminator_loss, ("discriminator",), joins=False),
            Update("task", supervised_loss, ("encoder", "bottleneck", "head")),
        ),
        needs=Needs(per_example=not norm),
    )
