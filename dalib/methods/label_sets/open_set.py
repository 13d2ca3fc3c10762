"""Open-set and universal adaptation, where the target has unknown classes: OSBP, OVANet and rejection."""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dalib.core.options import NonNegative, Number, Share, Weight, checked
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.discrepancy import log_one_minus_probability
from dalib.methods.base import Hooks, Method, Needs, weigh
from dalib.methods.parts.nets import Reversal, reverse_by
from dalib.methods.view import Forward, Spec, View

# Predictions that may answer "unknown", in the form of one more class.


def append_unknown(logits: Array, margin: Array) -> Array:
    """Logits ``[n, C + 1]`` with an unknown class at the end that wins exactly where ``margin`` ``[n]`` < 0."""
    return jnp.concatenate([logits, (logits.max(-1) - margin)[:, None]], axis=1)


@checked
def with_rejection(method: Method, *, threshold: Share = 0.8) -> Method:
    """Add one predicted class: unknown where the largest softmax probability is below ``threshold``. The baseline
    around source-only or DANN (TLlib: 0.8; Office-31 0.9). Training and the C known columns are unchanged."""

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        own = method.hooks.predict
        logits = outputs.logits if own is None else own(params, outputs, forward)
        assert logits is not None
        return append_unknown(logits, jax.nn.softmax(logits).max(-1) - threshold)

    needs, hooks = method.needs._replace(rejects=True), method.hooks._replace(predict=predict)
    return method._replace(needs=needs, hooks=hooks)


# OSBP: open-set adaptation by back-propagation, one more output for what is unknown.


def unknown_cross_entropy(logits: Array, *, boundary: float | Array = 0.5) -> Array:
    """``−t · mean ln p_unknown − (1 − t) · mean ln(1 − p_unknown)`` of ``[n, C + 1]``, t = ``boundary`` in (0, 1). It
    is least (ln 2 for t = ½) where p_unknown = t, and finite for any logits; TLlib adds 1e-6 inside both logarithms."""
    unknown = jax.nn.log_softmax(logits)[:, -1]
    known = log_one_minus_probability(logits, jnp.full(logits.shape[:1], logits.shape[1] - 1))
    return -(boundary * unknown + (1 - boundary) * known).mean()


@checked
def osbp(
    *,
    weight: Weight = 1.0,
    boundary: Annotated[Any, Number(0, 1, open_low=True, open_high=True)] = 0.5,
    reversal: Reversal = 1.0,
) -> Method:
    """Open-set adaptation: the head pulls the target's unknown probability to t, the encoder pushes it away from t.
    Source: Saito, Yamamoto, Ushiku, Harada, ECCV 2018, arXiv 1804.10427, section 3. **The net has C + 1 outputs**, all
    in the task loss: ``num_classes`` counts the unknown class, the last one; source labels are in [0, C), target
    examples of private classes are evaluated as class C (:mod:`dalib.evaluate.scores`). Metrics: ``loss/osbp``,
    ``osbp/unknown_probability`` (mean over the target), ``osbp/unknown`` (share predicted so), ``osbp/reversal``.

    Args:
        weight: λ of the adversarial term; 1 in the paper.
        boundary: t, where the head pulls the unknown probability to.
        reversal: the reversal's coefficient, a number (1 in the paper and TLlib) or a function of the view.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        turned, coefficient = reverse_by(reversal, view, view.target.features)
        # A head with dropout draws it anew for this pass.
        logits = view.head(turned, view.key)
        loss = unknown_cross_entropy(logits, boundary=boundary)
        metrics = {
            "loss/osbp": loss,
            "osbp/unknown_probability": jax.nn.softmax(logits)[:, -1].mean(),
            "osbp/unknown": (logits.argmax(-1) == logits.shape[1] - 1).mean(),
            "osbp/reversal": coefficient,
        }
        return weigh(weight, view) * loss, view, metrics

    needs = Needs(setting="open", batch_norm="separate", per_example=True, extra_outputs=1, rejects=True)
    return Method("osbp", penalties=(penalty,), needs=needs)


# OVANet: universal adaptation by one binary head a class, for a target with missing and with unknown classes.


def one_vs_all_loss(logits: Array, labels: Array) -> Array:
    """``[n]``: ``−ln p_y − min over j ≠ y of ln(1 − p_j)`` with ``p = sigmoid(logits)``, ``[n, C]``. Hard negative
    sampling: only the own class and the nearest other one learn from an example."""
    own = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    positive = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    hardest = jnp.where(own, jnp.finfo(logits.dtype).min / 2, logits).max(1)
    return jax.nn.softplus(-positive) + jax.nn.softplus(hardest)


def binary_entropy(logits: Array) -> Array:
    """Entropy in nats of ``sigmoid(logits)``, elementwise, finite for any logits."""
    return optax.sigmoid_binary_cross_entropy(logits, jax.nn.sigmoid(logits))


@checked
def ovanet(*, weight: Weight = 1.0, source: NonNegative = 0.5, entropy: NonNegative = 0.1) -> Method:
    """Universal adaptation with one-vs-all heads (Saito, Saenko, OVANet, ICCV 2021, arXiv 2104.03344, section 3).

    The penalty is ``λ · (a · mean one_vs_all_loss(source) + b · mean binary_entropy(target))``. Each class's binary
    head learns from the source what is not of this class; target rows are drawn to either side of every head. It needs
    no threshold and no adversary, so it is dalib's universal method: UAN's threshold would need target labels. Closed,
    partial, open and universal label sets will do. **Predictions have C + 1 columns**, the last being unknown, while
    the net and ``num_classes`` have C. Metrics: ``loss/ovanet`` (source), ``loss/open_entropy`` (target),
    ``ovanet/unknown`` (share of target rows predicted so).

    Args:
        weight: λ of both terms.
        source: a; ½ in the authors' code, which averages its positive and negative parts (the paper adds them: 1).
        entropy: b; 0.1 in the paper. It multiplies the mean over rows and classes.
    """
    # One linear layer with one logit a class; the authors' has two outputs a class and normalises its rows.
    heads = nn.Dense

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        rows = jnp.zeros((2, spec.width))
        return {"open_heads": heads(spec.num_classes).init(key, rows)["params"]}, {}

    def judge(params: Params, outputs: Outputs) -> tuple[Array, Array]:
        """Binary logits ``[n, C]`` and, of the likeliest class, ``[n]``."""
        assert outputs.logits is not None
        logits: Any = heads(outputs.logits.shape[1]).apply({"params": params["open_heads"]}, outputs.features)
        best = outputs.logits.argmax(-1)
        return logits, jnp.take_along_axis(logits, best[:, None], axis=1)[:, 0]

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        on_source, _ = judge(view.params, view.source)
        on_target, margin = judge(view.params, view.target)
        one_vs_all = one_vs_all_loss(on_source, view.labels).mean()
        uncertainty = binary_entropy(on_target).mean()
        metrics = {"loss/ovanet": one_vs_all, "loss/open_entropy": uncertainty, "ovanet/unknown": (margin < 0).mean()}
        return weigh(weight, view) * (source * one_vs_all + entropy * uncertainty), view, metrics

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        del forward
        assert outputs.logits is not None
        # Unknown where the binary head of the likeliest class disagrees, p < ½.
        return append_unknown(outputs.logits, judge(params, outputs)[1])

    needs = Needs(setting="universal", per_example=True, rejects=True)
    return Method("ovanet", init=init, penalties=(penalty,), needs=needs, hooks=Hooks(predict=predict))
