"""CC-loss: two views with the same class confusion."""

from typing import Any

from dalib.discrepancy import confident, confusion_consistency, mcc
from dalib.methods.augmentation import Augment, default_strong, default_weak
from dalib.methods.base import Method, Needs, View, weigh
from dalib.methods.views import teach
from dalib.types import Array, Metrics


def cc_loss(
    *,
    weight: Any = 1.0,
    confusion: Any = 1.0,
    temperature: Any = 2.5,
    threshold: Any = 0.95,
    epsilon: float = 0.0,
    weak: Augment = default_weak,
    strong: Augment = default_strong,
) -> Method:
    """Task loss + λ · (‖M(sg weak) − M(strong)‖²_F / C · kept/n + μ · MCC(strong)), the consistency of class confusion
    matrices, with MCC, as TLlib has it (Jin, Wang, Long, Wang, ECCV 2020, arXiv 1912.03699 for M).

    TLlib runs all views in one pass over the mixture. Here both views are further passes, BatchNorm normalises each
    pass by its own batch, and MCC is taken on the strong view, the one with a gradient. Defaults are TLlib's: T 2.5,
    τ 0.95 (DomainNet 0.7). Since it became a penalty its random numbers and running statistics differ from those of
    older runs.

    Args:
        weight: λ of both.
        confusion: μ of MCC, 0 for the consistency alone.
        temperature: T > 0 of M.
        threshold: τ of the weak view's largest probability at temperature T.
        epsilon: inside the logarithm of the certainty weights; TLlib has 1e-5.
        weak: view without gradient.
        strong: view that is trained.

    Metrics: ``loss/cc_loss`` (the consistency; 0 when no row is kept), ``loss/mcc``, ``cc_loss/kept``.

    Raises:
        InputError: at the first step, for T ≤ 0.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        logits, teacher, view = teach(view, weak=weak, strong=strong)
        value = confusion_consistency(logits, teacher, temperature=temperature, threshold=threshold, epsilon=epsilon)
        confused = mcc(logits, temperature=temperature, epsilon=epsilon)
        kept = confident(teacher, threshold=threshold, temperature=temperature).mean(dtype=value.dtype)
        metrics = {"loss/cc_loss": value, "loss/mcc": confused, "cc_loss/kept": kept}
        return weigh(weight, view) * (value + confusion * confused), view, metrics

    return Method("cc_loss", penalties=(penalty,), needs=Needs(batch_norm="separate"))
