"""FixMatch: certain predictions on a weak view are labels for the strong view."""

from typing import Any

from dalib.discrepancy import confident, pseudo_label_loss
from dalib.methods.augmentation import Augment, default_strong, default_weak
from dalib.methods.base import Method, Needs, View, weigh
from dalib.methods.views import teach
from dalib.types import Array, Metrics


def fixmatch(
    *, weight: Any = 1.0, threshold: Any = 0.95, weak: Augment = default_weak, strong: Augment = default_strong
) -> Method:
    """Task loss + λ · mean over all target rows of 1[max p^weak > τ] · CE(g^strong, argmax p^weak) (Sohn et al., 2020,
    NeurIPS, arXiv 2001.07685, eqs. 3 and 4). It is also for semi-supervised learning.

    The labels have no gradient. The paper takes τ 0.95, λ 1, seven times as many unlabelled rows and an average of the
    weights (0.999) at evaluation; TLlib's adaptation form takes τ 0.9 and as many rows of each domain. The labelled
    rows, and the target in the common pass, go in as the stream gives them; both views are further passes. BatchNorm
    normalises each pass by its own batch (TLlib). The method confirms its own mistakes: choose the checkpoint with a
    validator. Since it became a penalty its random numbers and running statistics differ from those of older runs.

    Args:
        weight: λ.
        threshold: τ.
        weak: view ``(key, inputs) -> inputs`` that makes the labels; ``identity`` if the stream is augmented already.
        strong: view that is trained.

    Metrics: ``loss/fixmatch`` (0 when no row is kept), ``fixmatch/kept`` (share of the rows).
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        logits, teacher, view = teach(view, weak=weak, strong=strong)
        value = pseudo_label_loss(logits, teacher, threshold=threshold)
        kept = confident(teacher, threshold=threshold).mean(dtype=value.dtype)
        return weigh(weight, view) * value, view, {"loss/fixmatch": value, "fixmatch/kept": kept}

    return Method("fixmatch", penalties=(penalty,), needs=Needs(batch_norm="separate"))
