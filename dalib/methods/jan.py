"""JAN: joint adaptation network, MMD of the joint distribution of features and predictions."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.discrepancy import joint_mmd2
from dalib.methods.base import Method, Spec, View, term
from dalib.methods.reversal import reverse_gradient
from dalib.types import Array, Outputs, Params, PyTree


def jan(*, weight: Any = 1.0, adversarial: bool = False, estimator: str = "unbiased") -> Method:
    """Task loss + λ · joint MMD² of features and softmax outputs (Long, Zhu, Wang, Jordan, ICML 2017, arXiv 1605.06636,
    eq. 9).

    Five adaptive kernels on the features are multiplied by one of fixed width on the predictions; the gradient reaches
    the head through the predictions. With equal rows everywhere the term is constant, gradient 0.

    JAN-A (``adversarial=True``) puts a linear map of each layer before the kernels, starting as the identity. The
    features minimise the joint MMD of the mapped layers. The maps (group ``theta``) maximise it, by gradient reversal
    on both sides of each map.

    Args:
        weight: λ.
        adversarial: JAN-A.
        estimator: of :func:`dalib.discrepancy.joint_mmd2`. "unbiased" and "linear" may be negative. TLlib's script
            runs "linear" and adds 2/(n − 1), which has no gradient and is left out here.

    Metrics: ``loss/jan``, the term before weighting.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        if not adversarial:
            return {}, {}
        widths = {"features": spec.width, "predictions": spec.num_classes}
        return {"theta": {name: {"kernel": jnp.eye(d), "bias": jnp.zeros(d)} for name, d in widths.items()}}, {}

    def layers(outputs: Outputs, params: Params) -> tuple[Array, ...]:
        assert outputs.logits is not None
        plain = {"features": outputs.features, "predictions": jax.nn.softmax(outputs.logits)}
        if not adversarial:
            return tuple(plain.values())

        def mapped(x: Array, theta: Params) -> Array:
            # Two reversals keep the sign of the layer's gradient; one turns the map's round.
            return reverse_gradient(reverse_gradient(x) @ theta["kernel"] + theta["bias"][None])

        return tuple(mapped(x, params["theta"][name]) for name, x in plain.items())

    def joint(view: View) -> Array:
        return joint_mmd2(layers(view.source, view.params), layers(view.target, view.params), estimator=estimator)

    return term("jan", joint, weight=weight)._replace(init=init)
