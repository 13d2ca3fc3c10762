"""Training on the source alone: the row that every other method is compared with."""

from dalib.methods.base import Method, Needs


def source_only() -> Method:
    """Empirical risk minimisation on the labelled source; the target has no influence, not even on BatchNorm."""
    return Method("source_only", needs=Needs(batch_norm="source", per_example=True))
