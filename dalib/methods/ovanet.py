"""OVANet: universal adaptation by one binary head a class, for a target with missing and with unknown classes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dalib.methods.base import Forward, Hooks, Method, Needs, Spec, View, weigh
from dalib.methods.rejection import append_unknown
from dalib.types import Array, Metrics, Outputs, Params, PyTree


def one_vs_all_loss(logits: Array, labels: Array) -> Array:
    """``[n]``: ``−ln p_y − min over j ≠ y of ln(1 − p_j)`` with ``p = sigmoid(logits)``, hard negative sampling.

    Only the own class and the nearest other one learn from an example.

    Args:
        logits: ``[n, C]``, one binary logit a class, positive for "of this class".
        labels: ``[n]``.
    """
    own = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    positive = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    hardest = jnp.where(own, jnp.finfo(logits.dtype).min / 2, logits).max(1)
    return jax.nn.softplus(-positive) + jax.nn.softplus(hardest)


def binary_entropy(logits: Array) -> Array:
    """Entropy in nats of ``sigmoid(logits)``, elementwise, finite for any logits."""
    return optax.sigmoid_binary_cross_entropy(logits, jax.nn.sigmoid(logits))


def ovanet(*, weight: Any = 1.0, source: Any = 0.5, entropy: Any = 0.1) -> Method:
    """Universal adaptation with one-vs-all heads.

    The penalty is ``λ · (a · mean one_vs_all_loss(source) + b · mean binary_entropy(target))``. Each class's binary
    head learns from the source what is not of this class, and the target's rows are drawn to either side of every
    head. The usual head says which class is the likeliest; where that class's binary head disagrees (p < ½) the
    prediction is "unknown". It needs no threshold and trains nothing adversarial, so it is dalib's universal method.
    UAN's threshold would have to be chosen without target labels. Setting: closed, partial, open or both at once.

    **Predictions have C + 1 columns**, the last being unknown, while the net and ``num_classes`` have C. The binary
    heads are one linear layer with one logit a class; the authors' has two outputs a class and normalises its rows.

    Args:
        weight: λ of both terms.
        source: a; ½ in the authors' code, which averages its positive and negative parts (the paper's equation adds
            them: 1).
        entropy: b; 0.1 in the paper. It multiplies the mean over rows and classes.

    Metrics: ``loss/ovanet`` (one-vs-all, source), ``loss/open_entropy`` (target), ``ovanet/unknown`` (share of target
    rows predicted as unknown).

    References:
        Saito, Saenko, OVANet, ICCV 2021, arXiv 2104.03344, section 3.
    """
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
        return append_unknown(outputs.logits, judge(params, outputs)[1])

    needs = Needs(setting="universal", per_example=True, rejects=True)
    return Method("ovanet", init=init, penalties=(penalty,), needs=needs, hooks=Hooks(predict=predict))
