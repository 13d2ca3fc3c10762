"""HoMM: higher-order moment matching."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib import discrepancy
from dalib.methods.base import Method, Spec, View, weigh
from dalib.types import Array, Metrics, Params, PyTree


def homm(
    *,
    weight: Any = 1e4,
    order: int = 3,
    clustering: Any = 0.0,
    threshold: Any = 0.9,
    centre_rate: Any = 0.5,
) -> Method:
    """Task loss + λ · ‖E s^{⊗p} − E t^{⊗p}‖²/d^p of the centred features (Chen, Fu, Chen, Jin, Cheng, Jin, Hua,
    AAAI 2020, arXiv 1912.11976, eqs. 4 and 9).

    A polynomial kernel gives all d^p moments; the authors' code draws a sample of them from order 4 up. The value is
    small and λ large: 1e4 belongs to order 3, 1e7 to order 4. Means are not matched, as each sample is centred at its
    own. The features should be bounded and of both signs: the authors warn against ReLU in the adapted layer and use
    tanh.

    The paper's best rows add a clustering of the target features, ``λ_c · mean over target rows of 1[max p > η] ·
    ‖f − c_ŷ‖²`` with ŷ the predicted class and centres c held fixed in the gradient. After each step the centre of
    class k moves by ``α · Σ (f − c_k) / (1 + n_k)`` over the n_k rows that are kept and predicted as k; centres start
    at 0.

    Args:
        weight: λ.
        order: p ≥ 1.
        clustering: λ_c, a number, a traced scalar or a function of the view; 0 for none. The authors' digit script
            divides the term by C as well, has 0.1, and switches it on late (step 30,000): early predictions make wrong
            clusters.
        threshold: η; 0.9 in the authors' digit script at first, 0.92 later.
        centre_rate: α.

    Metrics: ``loss/homm``, the term before weighting, 0 with gradient 0 for two constant samples; with clustering
    ``loss/homm_clustering`` and ``homm/kept``, the share of target rows.

    Raises:
        InputError: for an order that is no integer ≥ 1.
    """
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

    return Method("homm", init=init, penalties=(penalty,))


def cluster(features: Array, labels: Array, kept: Array, centres: Array, *, rate: Any) -> tuple[Array, Array]:
    """Mean over all rows of ``kept · ‖f − c_label‖²``, and the centres after a step towards the rows kept.

    Args:
        features: ``[n, d]``.
        labels: ``[n]`` integers.
        kept: ``[n]`` factors of the rows, 0 or 1.
        centres: ``[C, d]``.
        rate: α.

    Returns:
        Scalar, whose gradient reaches the features alone, and ``[C, d]``.
    """
    centres = jax.lax.stop_gradient(centres)
    away = features - centres.astype(features.dtype)[labels]
    value = (kept * jnp.square(away).sum(1)).mean()
    shares = kept[:, None] * jax.nn.one_hot(labels, centres.shape[0], dtype=features.dtype)
    sums = jnp.matmul(shares.T, jax.lax.stop_gradient(away), precision=jax.lax.Precision.HIGHEST)
    step = rate * sums / (1 + shares.sum(0))[:, None]
    return value, centres + step.astype(centres.dtype)
