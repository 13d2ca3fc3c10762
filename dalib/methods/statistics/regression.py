"""Methods for regression: RSD, DARE-GRAM and disparity discrepancy."""

from functools import partial

from dalib import discrepancy
from dalib.core.options import NonNegative, Positive, Share, Weight, checked
from dalib.core.types import Array
from dalib.discrepancy import regression_disparity
from dalib.methods.adversarial.two_heads import adversarial_head, mdd_schedule
from dalib.methods.base import Method, Needs, term
from dalib.methods.parts.nets import Reversal
from dalib.methods.view import View


@checked
def rsd(*, weight: Weight = 0.001, bases_weight: NonNegative = 0.1) -> Method:
    """Task loss + λ · (Σ sin of principal angles + β · mismatch of the bases) between the spans of the features (Chen,
    Wang, Wang, Long, ICML 2021, eqs. 5 and 7).

    It turns subspaces and leaves the features' scale alone. Equal subspaces give 0, with a finite gradient at the
    mismatch's kink. At least one domain needs fewer rows than features, or the first step raises an InputError.
    Metrics: ``loss/rsd`` before λ.

    Args:
        weight: λ; the authors' scripts have 0.001.
        bases_weight: β; 0.1 in TLlib and the authors' scripts (0.01 for one of the dSprites tasks).
    """

    def between_spans(view: View) -> Array:
        return discrepancy.rsd(view.source.features, view.target.features, weight=bases_weight)

    return term("rsd", between_spans, weight=weight, needs=Needs("regression"))


@checked
def dare_gram(
    *, weight: Weight = 1.0, threshold: Share = 0.9, angle_weight: NonNegative = 0.05, scale_weight: NonNegative = 0.001
) -> Method:
    """Task loss + λ · (α · angles between inverse Gram matrices + γ · gaps between their spectra) of the features
    (Nejjar, Wang, Fink, CVPR 2023, arXiv 2303.13325). Least squares solves with the inverse Gram matrix, so this aligns
    that matrix and not the features. Metrics: ``loss/dare_gram`` before λ; 0 for equal samples. A batch of one row
    raises an InputError.

    Args:
        weight: λ of the whole term; 1 leaves the paper's α and γ as they are.
        threshold: share of the spectrum that the pseudo-inverse keeps.
        angle_weight: α.
        scale_weight: γ.
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


@checked
def dd(*, weight: Weight = 1.0, margin: Positive = 1.0, reversal: Reversal = mdd_schedule) -> Method:
    """Task loss − λ · (mean|a_t − g_t| − γ · mean|a_s − g_s|) of an adversarial head a after gradient reversal (Zhang,
    Liu, Long, Jordan, ICML 2019, arXiv 1904.05801, section 3, with the absolute error as disparity). The head's outputs
    g ``[n, k]`` are the predictions of :func:`dalib.tasks.regression`, fixed here: only the task loss trains the head.
    Metrics: ``loss/dd``, minus the disparity (of either sign), ``dd/reversal``.

    Args:
        weight: λ of the whole disparity.
        margin: γ; 1 in TLlib's regression benchmarks.
        reversal: the reversal's coefficient: a function of the view or a number.
    """
    # MDD's construction with another disparity: only this line differs.
    disparity = partial(regression_disparity, margin=margin)
    needs = Needs("regression", per_example=True)
    return adversarial_head("dd", disparity, weight=weight, reversal=reversal, needs=needs)
