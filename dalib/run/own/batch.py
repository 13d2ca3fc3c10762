"""Check of the batch size against the numbers of examples, before any is decoded or goes through a pretrained net."""

from collections.abc import Sequence

import numpy as np

from dalib.core.checks import input_error
from dalib.data.domain import random_holdout, stratified_holdout
from dalib.data.readers.places import Raw
from dalib.run.config import needs_of
from dalib.run.grid import fixed
from dalib.run.own.options import Own


def training_rows(labels: Sequence[str] | np.ndarray, holdout: float) -> int:
    """Count the examples of a source that train, after a share ``holdout`` of every class is held out."""
    if holdout == 0:
        return len(labels)
    if isinstance(labels, np.ndarray):
        return len(random_holdout(len(labels), holdout, seed=0)[0])
    return len(stratified_holdout(np.unique(labels, return_inverse=True)[1].astype(np.int32), holdout, seed=0)[0])


def check_batch(options: Own, nets: Sequence[str], sources: Sequence[Raw], target: Raw) -> None:
    """Check that a batch of every net is at most as large as each domain.

    Args:
        options: of the command.
        nets: methods that train a net.
        sources: what was read of each source.
        target: what was read of the target's pool.

    Raises:
        InputError: for a batch that is too large; the message names the largest that fits.
    """
    # A source with a test of its own holds nothing out.
    holdout = 0.0 if options.source_test else options.holdout
    rows = [training_rows(raw.labels, holdout) for raw in sources if raw.labels is not None]
    for name in nets:
        size, pool = fixed(options, name).batch_size, len(target.inputs)
        # Sources that are interleaved fill equal parts of a batch.
        source = len(rows) * min(rows) if needs_of(name).interleaves else sum(rows)
        if size > min(source, pool):
            held = f" (a share {holdout:g} of the source's classes is held out)" if holdout else ""
            raise input_error(
                "batch-size",
                got=f"{size}, for {source} training examples of the source{held} and {pool} of the target",
                expected=f"at most {min(source, pool)}",
                todo=f"add --batch-size {1 << (min(source, pool).bit_length() - 1)}",
            )
