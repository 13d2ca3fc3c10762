"""MDD: margin disparity discrepancy between the head and an adversary."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from dalib.discrepancy import margin_disparity
from dalib.methods.base import Method, Needs, Spec, View, term
from dalib.methods.reversal import Reversal, dann_schedule, reverse_by
from dalib.types import Array, Metrics, Params, PyTree


def mdd_schedule(time: Any) -> Array:
    """:func:`dann_schedule` from 0 to 0.1."""
    return dann_schedule(time, high=0.1)


def mdd(
    *, weight: Any = 1.0, margin: Any = 4.0, reversal: Reversal = mdd_schedule, shift: float | None = None
) -> Method:
    """Task loss − λ · margin disparity of an adversarial head after gradient reversal (Zhang, Liu, Long, Jordan,
    ICML 2019, arXiv 1904.05801, eqs. 26 to 30).

    The adversary (group ``adversary``, of the head's form) learns to agree with the head's pseudo-labels on the source,
    γ-fold, and to disagree on the target; the encoder undoes it by the reversed gradient. The pseudo-labels are
    arg-maxima, so only the task loss trains the head itself. The logarithm of 1 − p is exact and finite also for
    one-hot logits.

    Args:
        weight: λ of the whole disparity, the adversary's learning included.
        margin: γ; 4 in the paper (TLlib: 2 for ImageNet-Sketch).
        reversal: the reversal's coefficient: a function of the view or a number. The paper's ramp to 0.1 is
            in iterations and equals the default in a run of 10,000 steps.
        shift: 1e-6 for TLlib's logarithm, ``ln(min(1 − p + 1e-6, 1))``; None for the exact one.

    Metrics: ``loss/mdd``, minus the disparity (what the adversary minimises, ≥ 0), ``mdd/reversal``.
    """
    disparity = partial(margin_disparity, margin=margin, shift=shift)
    return adversarial_head("mdd", disparity, weight=weight, reversal=reversal, needs=Needs(per_example=True))


def adversarial_head(
    name: str,
    disparity: Callable[[Array, Array, Array, Array], Array],
    *,
    weight: Any,
    reversal: Reversal,
    needs: Needs,
) -> Method:
    """A second head that maximises ``disparity(source, source_adversary, target, target_adversary)`` of the outputs of
    both heads, and an encoder that minimises it through gradient reversal."""

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"adversary": spec.init_head(key)}, {}

    def loss(view: View) -> tuple[Array, Metrics]:
        keys = jax.random.split(view.key)

        def adversary(features: Array, key: Array) -> tuple[Array, Array]:
            features, coefficient = reverse_by(reversal, view, features)
            return view.net.head(view.params["adversary"], features, key), coefficient

        source, coefficient = adversary(view.source.features, keys[0])
        target, _ = adversary(view.target.features, keys[1])
        value = -disparity(view.source.logits, source, view.target.logits, target)
        return value, {f"{name}/reversal": coefficient}

    return term(name, loss, weight=weight, needs=needs)._replace(init=init)
