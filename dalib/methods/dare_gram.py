"""DARE-GRAM: alignment of inverse Gram matrices, for regression."""

from typing import Any

from dalib import discrepancy
from dalib.methods.base import Method, Needs, View, term
from dalib.types import Array


def dare_gram(
    *, weight: Any = 1.0, threshold: Any = 0.9, angle_weight: Any = 0.05, scale_weight: Any = 0.001
) -> Method:
    """Task loss + λ · (α · angles between inverse Gram matrices + γ · gaps between their spectra) of the features
    (Nejjar, Wang, Fink, CVPR 2023, arXiv 2303.13325).

    Least squares solves with the inverse Gram matrix, so this aligns that matrix and not the features.

    Args:
        weight: λ of the whole term; 1 leaves the paper's α and γ as they are.
        threshold: share of the spectrum that the pseudo-inverse keeps.
        angle_weight: α.
        scale_weight: γ.

    Metrics: ``loss/dare_gram``, the term before λ; 0 for equal samples.

    Raises:
        InputError: at the first step, for a batch of one row.
    """

    def between_inverses(view: View) -> Array:
        return discrepancy.dare_gram(
            view.source.features,
            view.target.features,
            threshold=threshold,
            angle_weight=angle_weight,
            scale_weight=scale_weight,
        )

    return term("dare_gram", between_inverses, weight=weight, needs=Needs("regression"))
