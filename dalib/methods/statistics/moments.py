"""Methods that match moments of features: Deep CORAL, Log-CORAL, CMD and HoMM."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from dalib import discrepancy
from dalib.core.options import Count, OneOf, Positive, Share, Weight, checked
from dalib.core.types import Array, Metrics, Params, PyTree
from dalib.discrepancy import coral
from dalib.methods.base import Method, Needs, term, weigh
from dalib.methods.view import Layer, Spec, View


@checked
def deep_coral(*, weight: Weight = 1.0, layer: Layer = "logits", mean_term: bool = False) -> Method:
    """Task loss + λ · ‖C_s − C_t‖²_F / 4d² (Sun, Saenko, ECCV-W 2016, arXiv 1607.01719, eq. 1 and 6).

    Args:
        weight: λ, in the paper such that both losses end at the same order. With 1/4d² it must grow with d² for another
            layer.
        layer: "logits" as in the paper (d = C), or "features" as in later libraries.
        mean_term: adds ‖μ_s − μ_t‖²/d and drops the factor 1/4, as TLlib computes it.
    """

    def distance(view: View) -> Array:
        return coral(getattr(view.source, layer), getattr(view.target, layer), mean_term=mean_term)

    return term("deep_coral", distance, weight=weight)


@checked
def log_coral(*, weight: Weight = 1.0, layer: Layer = "features", epsilon: Positive = 1e-2) -> Method:
    """Task loss + λ · ‖log(C_s + εI) − log(C_t + εI)‖²_F / 4d² (Wang, Li, Dai, Van Gool, ICCV-W 2017, arXiv 1707.09842;
    Morerio, Cavazza, Murino, ICLR 2018, arXiv 1711.10288, eq. 4). It sees relative differences of variances, small
    directions included, and costs two eigendecompositions of ``[d, d]``: d up to some hundreds. Metrics:
    ``loss/log_coral`` before weighting; 0 with gradient 0 for two constant samples. A batch of one row raises an
    InputError.

    Args:
        weight: λ; Morerio et al. choose it by the smallest entropy of the target predictions, which
            ``combine(log_coral(), entmin())`` adds to the loss.
        layer: "features" or "logits".
        epsilon: ε relative to the mean variance; without it fewer rows than features have none. The float32 gradient's
            error grows as 1/ε.
    """

    def distance(view: View) -> Array:
        return discrepancy.log_coral(getattr(view.source, layer), getattr(view.target, layer), epsilon=epsilon)

    return term("log_coral", distance, weight=weight)


SQUASHES: dict[str, tuple[Callable[[Array], Array], tuple[float, float] | None]] = {
    "sigmoid": (jax.nn.sigmoid, (0.0, 1.0)),
    "tanh": (jnp.tanh, (-1.0, 1.0)),
    "none": (lambda x: x, None),
}
"""Functions that bound the features before their moments are taken, and the interval [a, b] that they map to."""


@checked
def cmd(
    *,
    weight: Weight = 1.0,
    order: Count = 5,
    squash: Annotated[str, OneOf(SQUASHES)] = "sigmoid",
    interval: tuple[float, float] = (0.0, 1.0),
) -> Method:
    """Task loss + λ · central moment discrepancy of the features (Zellinger, Grubinger, Lughofer, Natschläger,
    Saminger-Platz, ICLR 2017, arXiv 1702.08811, definition 2), for classification and regression. The moments are of
    features in [a, b], as after the paper's sigmoid layer. dalib's encoders end in ReLU, so this term alone sees a
    sigmoid of them. Metrics: ``loss/cmd`` before weighting; 0 with gradient 0 at equal moments.

    Args:
        weight: λ.
        order: K, the highest moment.
        squash: "sigmoid" ([0, 1]), "tanh" ([−1, 1]) or "none" for a net with bounded features.
        interval: (a, b), a < b, of the features with ``squash="none"``; otherwise not used.
    """
    bound, fixed = SQUASHES[squash]

    def moments(view: View) -> Array:
        source, target = bound(view.source.features), bound(view.target.features)
        return discrepancy.cmd(source, target, order=order, interval=fixed or interval)

    return term("cmd", moments, weight=weight)


@checked
def homm(
    *,
    weight: Weight = 1e4,
    order: Count = 3,
    clustering: Weight = 0.0,
    threshold: Share = 0.9,
    centre_rate: Share = 0.5,
) -> Method:
    """Task loss + λ · ‖E s^{⊗p} − E t^{⊗p}‖²/d^p of centred features (Chen, Fu, Chen, Jin, Cheng, Jin, Hua, AAAI 2020,
    arXiv 1912.11976, eqs. 4, 9).

    A polynomial kernel gives all d^p moments; the authors' code samples them from order 4 up. Means are not matched, as
    each sample is centred at its own. Features should be bounded and of both signs: the authors warn against ReLU in
    the adapted layer and use tanh. The paper's best rows add a clustering of the target features, ``λ_c · mean over
    target rows of 1[max p > η] · ‖f − c_ŷ‖²``, ŷ the predicted class. Metrics: ``loss/homm`` before weighting; with
    clustering ``loss/homm_clustering`` and ``homm/kept``, the share of target rows.

    Args:
        weight: λ, large as the value is small: 1e4 belongs to order 3, 1e7 to order 4.
        order: p ≥ 1.
        clustering: λ_c, a number, a traced scalar or a function of the view; 0 for none. The authors' digit script
            divides the term by C as well, has 0.1, and switches it on at step 30,000: early clusters are wrong.
        threshold: η; 0.9 in the authors' digit script at first, 0.92 later.
        centre_rate: α of the centres' steps.
    """
    # A literal 0 costs no state; a traced 0 does, as its value is not known here.
    clusters = not (isinstance(clustering, int | float) and clustering == 0)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        return {}, {"centres": jnp.zeros((spec.num_classes, spec.width))} if clusters else {}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.target.features
        moments = discrepancy.homm(view.source.features, features, order=order)
        value = weigh(weight, view) * moments
        if not clusters:
            return value, view, {"loss/homm": moments}
        p = jax.nn.softmax(jax.lax.stop_gradient(view.target.logits))
        kept = (p.max(1) > threshold).astype(features.dtype)
        apart, new = cluster(features, p.argmax(1), kept, view.state["centres"], rate=centre_rate)
        metrics = {"loss/homm": moments, "loss/homm_clustering": apart, "homm/kept": kept.mean()}
        return value + weigh(clustering, view) * apart, view.keep({"centres": new}), metrics

    return Method("homm", init=init, penalties=(penalty,), needs=Needs(classes=True))


def cluster(features: Array, labels: Array, kept: Array, centres: Array, *, rate: Any) -> tuple[Array, Array]:
    """Mean over rows ``[n, d]`` of ``kept · ‖f − c_label‖²``, and the centres ``[C, d]`` moved towards them. ``kept``
    holds factors 0 or 1, ``rate`` is α; the gradient reaches the features alone."""
    centres = jax.lax.stop_gradient(centres)
    away = features - centres.astype(features.dtype)[labels]
    value = (kept * jnp.square(away).sum(1)).mean()
    shares = kept[:, None] * jax.nn.one_hot(labels, centres.shape[0], dtype=features.dtype)
    sums = jnp.matmul(shares.T, jax.lax.stop_gradient(away), precision=jax.lax.Precision.HIGHEST)
    # Centre k moves by α · Σ (f − c_k) / (1 + n_k) over the n_k rows kept for it; all start at 0.
    step = rate * sums / (1 + shares.sum(0))[:, None]
    return value, centres + step.astype(centres.dtype)
