"""Row numbers of the training stream, for examples that lie on the device already."""

from typing import NamedTuple

import numpy as np

from dalib.checks import input_error
from dalib.data.domain import check_seed
from dalib.data.order import EndlessOrder, endless_order
from dalib.data.stream import SOURCE, TARGET


class RowStream(NamedTuple):
    """The order in which one run visits its examples; see :func:`stream_rows`."""

    source_order: EndlessOrder
    target_order: EndlessOrder

    def __call__(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the steps ``start``, …, ``stop`` − 1: int32 ``[steps, n]`` of the source, ``[steps, m]`` of the
        target."""
        return _rows(self.source_order, start, stop), _rows(self.target_order, start, stop)


def stream_rows(
    source_size: int, target_size: int, *, batch_size: int, target_batch_size: int | None = None, seed: int
) -> RowStream:
    """The rows that :func:`dalib.data.paired_stream` reads for one source, one process and ``remainder="wrap"``.

    Args:
        source_size, target_size: examples in the training splits.
        batch_size: source examples in a step, and target ones unless said otherwise.
        target_batch_size: target examples in a step.
        seed: of the stream.

    Raises:
        InputError: a batch that is larger than its domain, or a bad seed.
    """
    check_seed(seed)
    target_batch = batch_size if target_batch_size is None else target_batch_size
    for argument, batch, size in (
        ("batch_size", batch_size, source_size),
        ("target_batch_size", target_batch, target_size),
    ):
        if not 1 <= batch <= size:
            raise input_error(argument, got=batch, expected=f"between 1 and {size}, the number of examples")
    return RowStream(
        endless_order(source_size, batch_size=batch_size, seed=seed, domain=SOURCE),
        endless_order(target_size, batch_size=target_batch, seed=seed, domain=TARGET),
    )


def _rows(order: EndlessOrder, start: int, stop: int) -> np.ndarray:
    positions = [order.positions(step) for step in range(start, stop)]
    flat = np.concatenate(positions) if positions else np.empty(0, np.int64)
    return order.rows(flat).astype(np.int32).reshape(stop - start, order.batch_size)
