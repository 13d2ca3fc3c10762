"""BN-norm: batch statistics of the test data, mixed with those of the source."""

from typing import Any

from dalib.methods.test_time import Apply, TestTime, check_statistics, report
from dalib.types import Array, Outputs, PyTree


def bn_norm(apply: Apply, *, prior: Any = 16.0, collapse_share: float = 0.9) -> TestTime:
    """Every BatchNorm uses ``N/(N+n) · source + n/(N+n) · batch`` for mean and variance (Schneider et al., NeurIPS
    2020, arXiv 2006.16971, eq. 2; Nado et al. 2020, arXiv 2006.10963 for N = 0). Test-time; nothing is trained.

    Each batch is normalised anew, so there is nothing to reset. The batch's variance is the biased one.

    Args:
        apply: see :mod:`dalib.methods.test_time`.
        prior: N ≥ 0, the source statistics' worth in test examples: 0 takes the batch alone, ∞ would be the plain net.
        collapse_share: of the collapse flag.

    Raises:
        InputError: from ``init``, for a net without BatchNorm statistics.
    """

    def init(variables: PyTree) -> PyTree:
        check_statistics(variables)
        return {"params": variables["params"], "batch_stats": variables["batch_stats"]}

    def step(state: PyTree, inputs: Array):
        outputs = predict(state, inputs)
        return state, outputs, report(outputs, collapse_share=collapse_share)

    def predict(state: PyTree, inputs: Array) -> Outputs:
        weight = prior / (prior + inputs.shape[0])
        return apply(state["params"], state["batch_stats"], inputs, weight)[0]

    return TestTime("bn_norm", init, step, predict)
