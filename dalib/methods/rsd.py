"""RSD: representation subspace distance, for regression."""

from typing import Any

from dalib import discrepancy
from dalib.methods.base import Method, Needs, View, term
from dalib.types import Array


def rsd(*, weight: Any = 0.001, bases_weight: Any = 0.1) -> Method:
    """Task loss + λ · (Σ sin of principal angles + β · mismatch of the bases) between the spans of the features (Chen,
    Wang, Wang, Long, ICML 2021, eqs. 5 and 7).

    It turns subspaces and leaves the scale of the features alone. Equal subspaces give 0,
    with a finite gradient at the kink of the bases' mismatch. Needs fewer rows than features in at least one domain's
    batch.

    Args:
        weight: λ; the authors' scripts have 0.001.
        bases_weight: β of the bases mismatch; 0.1 in the authors' scripts (0.01 for one of the dSprites tasks) and in
            TLlib.

    Metrics: ``loss/rsd``, the term before λ.

    Raises:
        InputError: at the first step, for batches with as many rows as features in both domains.
    """

    def between_spans(view: View) -> Array:
        return discrepancy.rsd(view.source.features, view.target.features, weight=bases_weight)

    return term("rsd", between_spans, weight=weight, needs=Needs("regression"))
