"""Methods that match samples by maximum mean discrepancy: DDC, DAN, JAN and DSAN."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from dalib.core.options import OneOf, Weight, checked
from dalib.core.types import Array, Outputs, Params, PyTree
from dalib.discrepancy import class_mmd2, joint_mmd2, linear_mmd2, mk_mmd
from dalib.discrepancy.mmd import ESTIMATORS
from dalib.methods.base import Method, Needs, term, weigh
from dalib.methods.parts.nets import Reversal, dann_schedule, reverse_gradient
from dalib.methods.view import Spec, View

Estimator = Annotated[str, OneOf(ESTIMATORS)]

# DDC: deep domain confusion, the distance between mean features.


@checked
def ddc(*, weight: Weight = 0.25) -> Method:
    """Task loss + λ · ‖mean of source features − mean of target features‖² (Tzeng, Hoffman, Zhang, Saenko, Darrell,
    arXiv 1412.3474, 2014, eqs. 1 and 2, here squared). It matches only means; the scale grows with the square of the
    features. The paper aligns an adaptation layer of 256 units after the encoder: the classifier's bottleneck. Metrics:
    ``loss/ddc`` before weighting.

    Args:
        weight: λ; the paper's is 0.25.
    """
    return term("ddc", lambda v: linear_mmd2(v.source.features, v.target.features), weight=weight)


# DAN: deep adaptation network, multi-kernel MMD on the features.


@checked
def dan(*, weight: Weight = 1.0, estimator: Estimator = "unbiased") -> Method:
    """Task loss + λ · MK-MMD² of the features (Long, Cao, Wang, Jordan, ICML 2015, arXiv 1502.02791, eq. 4). Five
    Gaussian kernels around the mean squared distance have equal weights; the paper learns them.

    Args:
        weight: λ.
        estimator: of :func:`dalib.discrepancy.mk_mmd`; "unbiased" may be negative.
    """
    return term("dan", lambda v: mk_mmd(v.source.features, v.target.features, estimator=estimator), weight=weight)


# JAN: joint adaptation network, MMD of the joint distribution of features and predictions.


@checked
def jan(*, weight: Weight = 1.0, adversarial: bool = False, estimator: Estimator = "unbiased") -> Method:
    """Task loss + λ · joint MMD² of features and softmax outputs (Long, Zhu, Wang, Jordan, ICML 2017, arXiv 1605.06636,
    eq. 9). Five adaptive kernels on the features are multiplied by one of fixed width on the predictions; through these
    the gradient reaches the head. Equal rows give a constant. Metrics: ``loss/jan`` before weighting.

    Args:
        weight: λ.
        adversarial: JAN-A: a linear map of each layer before the kernels, the identity at first. The features minimise
            the joint MMD of the mapped layers; the maps (group ``theta``) maximise it.
        estimator: of :func:`dalib.discrepancy.joint_mmd2`. "unbiased" and "linear" may be negative. TLlib's script runs
            "linear" and adds 2/(n − 1), which has no gradient and is left out here.
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

    return term("jan", joint, weight=weight, needs=Needs(classes=True))._replace(init=init)


# DSAN: deep subdomain adaptation, MMD class by class.


@checked
def dsan(*, weight: Weight = 0.5, ramp: Reversal = dann_schedule) -> Method:
    """Task loss + λ · ramp(progress) · local MMD² of features (Zhu, Zhuang, Wang, Ke, Chen, Bian, Xiong, He, TNNLS
    2020, arXiv 2106.09388, eqs. 6 to 8). Source rows count for their labels, target rows for each class by its
    predicted probability, without gradient. A batch in which no class has both gives 0. Metrics: ``loss/dsan``, before
    weight and ramp.

    Args:
        weight: λ; the authors' is 0.5.
        ramp: factor as a function of the view, 2/(1 + e^(−10p)) − 1; or a number, 1 for none.
    """

    def factor(view: View) -> Any:
        return weigh(weight, view) * weigh(ramp, view)

    def local(view: View) -> Array:
        probabilities = jax.nn.softmax(view.target.logits)
        return class_mmd2(view.source.features, view.target.features, view.labels, probabilities)

    return term("dsan", local, weight=factor, needs=Needs(classes=True))
