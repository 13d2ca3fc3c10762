"""Methods that set two heads against each other: MCD and MDD."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dalib.core.options import Count, NonNegative, Positive, Weight, checked
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.discrepancy import classifier_discrepancy, margin_disparity
from dalib.methods.base import Hooks, Method, Needs, Update, term, weigh
from dalib.methods.parts.nets import Reversal, dann_schedule, reverse_by
from dalib.methods.view import Forward, Spec, View

# MCD: maximum classifier discrepancy, three updates in one step.


@checked
def mcd(*, weight: Weight = 1.0, repeats: Count = 4, balance: NonNegative = 0.0) -> Method:
    """Train two heads to disagree about the target, and an encoder to make them agree. Source: Saito, Watanabe, Ushiku,
    Harada, CVPR 2018, arXiv 1712.02560, §3.2. A trains everything on the source's task loss of both heads. B trains the
    heads on the task loss minus λ times their discrepancy on the target, the mean over examples and classes of |p₁ −
    p₂| (eq. 9). C trains the encoder (with its bottleneck) on λ times the discrepancy. The mean of both heads' logits
    predicts.
    Metrics: ``A/loss/task``, ``A/accuracy/source``, ``B/loss/mcd``, ``C/loss/mcd`` (0 when the heads agree).

    Args:
        weight: λ of the discrepancy; the paper's is 1, TLlib has 10 (Office-31), 30 (Office-Home) and 120 (DomainNet).
        repeats: k, C's updates in a step.
        balance: weight of ``−mean_k ln(p̄_k + 1e-6)`` of each head on the target, in A and B: paper 0, TLlib 0.01.
    """

    def discrepancy(logits_1: Array, logits_2: Array, key: Array) -> Array:
        del key
        return classifier_discrepancy(logits_1, logits_2)

    # The mean prediction in the balance is one of a batch.
    alone = isinstance(balance, int | float) and balance == 0
    return two_heads("mcd", discrepancy, weight=weight, repeats=repeats, balance=balance, per_example=alone)


def two_heads(
    name: str,
    discrepancy: Callable[[Array, Array, Array], Array],
    *,
    weight: Any,
    repeats: int,
    balance: Any = 0.0,
    per_example: bool = False,
) -> Method:
    """MCD's three updates for any ``discrepancy``: ``(logits_1, logits_2, key) -> []`` on the target."""

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"second_head": spec.init_head(key)}, {}

    def heads(view: View, outputs: Outputs, key: Array) -> tuple[Array, Array]:
        assert outputs.logits is not None
        return outputs.logits, view.net.head(view.params["second_head"], outputs.features, key)

    def both(view: View) -> tuple[View, tuple[Array, Array], Any, Any, Array]:
        """The common pass, the source's logits by both heads, task loss, task loss with balance, discrepancy."""
        view = view.pair()
        # Every update makes its own pass: the one before it has changed the parameters.
        keys = jax.random.split(jax.random.fold_in(view.key, 1), 3)
        source = heads(view, view.source, keys[0])
        target = heads(view, view.target, keys[1])
        task = sum(view.task_loss(logits).mean() for logits in source)
        disagreement = discrepancy(*target, keys[2])
        # Least for evenly spread predictions: no class should end up empty.
        spread = sum(-jnp.log(jax.nn.softmax(logits).mean(0) + 1e-6).mean() for logits in target)
        return view, source, task, task + balance * spread, disagreement

    def task_loss(view: View) -> tuple[Array, View, Metrics]:
        view, source, task, supervised, _ = both(view)
        accuracy = ((source[0] + source[1]).argmax(-1) == view.labels).mean()
        return supervised, view, {"loss/task": task, "accuracy/source": accuracy}

    def heads_loss(view: View) -> tuple[Array, View, Metrics]:
        view, _, task, supervised, disagreement = both(view)
        value = supervised - weigh(weight, view) * disagreement
        return value, view, {"loss/task": task, f"loss/{name}": disagreement}

    def encoder_loss(view: View) -> tuple[Array, View, Metrics]:
        view, *_, disagreement = both(view)
        return weigh(weight, view) * disagreement, view, {f"loss/{name}": disagreement}

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        assert outputs.logits is not None
        return 0.5 * (outputs.logits + forward.head(params["second_head"], outputs.features, None))

    return Method(
        name,
        init=init,
        updates=(
            Update("A", task_loss, ("encoder", "bottleneck", "head", "second_head")),
            Update("B", heads_loss, ("head", "second_head"), joins=False),
            Update("C", encoder_loss, ("encoder", "bottleneck"), repeats=repeats, joins=False),
        ),
        needs=Needs(batch_norm="separate", per_example=per_example, classes=True),
        hooks=Hooks(predict=predict),
    )


# MDD: margin disparity discrepancy between the head and an adversary.


def mdd_schedule(time: Any) -> Array:
    """:func:`dann_schedule` from 0 to 0.1."""
    return dann_schedule(time, high=0.1)


@checked
def mdd(
    *, weight: Weight = 1.0, margin: Positive = 4.0, reversal: Reversal = mdd_schedule, shift: NonNegative | None = None
) -> Method:
    """Task loss − λ · margin disparity of a reversed adversarial head (Zhang, Liu, Long, Jordan, ICML 2019, arXiv
    1904.05801, eq. 26–30). The adversary (group ``adversary``, of the head's form) learns to agree with the head's
    pseudo-labels on the source, γ-fold, and to disagree on the target; the reversed gradient makes the encoder undo it.
    Pseudo-labels are arg-maxima, so only the task loss trains the head. Metrics: ``loss/mdd`` (its negative, ≥ 0),
    ``mdd/reversal``.

    Args:
        weight: λ of the whole disparity, the adversary's learning included.
        margin: γ; 4 in the paper (TLlib: 2 for ImageNet-Sketch).
        reversal: coefficient, a function of the view or a number. The default equals the paper's in 10,000 steps.
        shift: 1e-6 for TLlib's logarithm, ``ln(min(1 − p + 1e-6, 1))``; None for the exact one, always finite.
    """
    disparity = partial(margin_disparity, margin=margin, shift=shift)
    needs = Needs(per_example=True, classes=True)
    return adversarial_head("mdd", disparity, weight=weight, reversal=reversal, needs=needs)


def adversarial_head(
    name: str,
    disparity: Callable[[Array, Array, Array, Array], Array],
    *,
    weight: Any,
    reversal: Reversal,
    needs: Needs,
) -> Method:
    """A second head that maximises ``disparity(source, source_adversary, target, target_adversary)`` of both heads'
    outputs, and an encoder that minimises it through gradient reversal."""

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"adversary": spec.init_head(key)}, {}

    def loss(view: View) -> tuple[Array, Metrics]:
        keys = jax.random.split(view.key)

        def adversary(features: Array, key: Array) -> tuple[Array, Array]:
            features, coefficient = reverse_by(reversal, view, features)
            return view.net.head(view.params["adversary"], features, key), coefficient

        source, coefficient = adversary(view.source.features, keys[0])
        target, _ = adversary(view.target.features, keys[1])
        # Minus: the adversary descends on it, and the reversal turns the encoder's sign.
        value = -disparity(view.source.logits, source, view.target.logits, target)
        return value, {f"{name}/reversal": coefficient}

    return term(name, loss, weight=weight, needs=needs)._replace(init=init)
