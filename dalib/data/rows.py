"""Row numbers of the training stream, for examples that lie on the device already."""

from typing import NamedTuple

import numpy as np

from dalib.checks import input_error
from dalib.data.domain import check_seed
from dalib.data.order import EndlessOrder, endless_order
from dalib.data.stream import SHOTS, SOURCE, TARGET


class RowStream(NamedTuple):
    """The order in which one run visits its examples; see :func:`stream_rows`."""

    source_order: EndlessOrder
    target_order: EndlessOrder
    shots_order: EndlessOrder | None = None

    def __call__(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """Rows of the steps ``start``, …, ``stop`` − 1: int32 ``[steps, n]`` of the source, ``[steps, m]`` of the
        target and, where there are shots, ``[steps, s]`` of these."""
        return tuple(_rows(order, start, stop) for order in self if order is not None)


def stream_rows(
    source_size: int,
    target_size: int,
    *,
    batch_size: int,
    target_batch_size: int | None = None,
    shots_size: int | None = None,
    shots_batch_size: int | None = None,
    seed: int,
) -> RowStream:
    """The rows that :func:`dalib.data.paired_stream` reads for one source, one process and ``remainder="wrap"``.

    Args:
        source_size, target_size: examples in the training splits.
        batch_size: source examples in a step, and target ones unless said otherwise.
        target_batch_size: target examples in a step.
        shots_size: labelled target examples, a domain of their own; None for no such stream.
        shots_batch_size: of these in a step; ``batch_size``, or all if they are fewer, by default.
        seed: of the stream.

    Raises:
        InputError: a batch that is larger than its domain, or a bad seed.
    """
    check_seed(seed)
    target_batch = batch_size if target_batch_size is None else target_batch_size
    streams = [
        ("batch_size", batch_size, source_size, SOURCE),
        ("target_batch_size", target_batch, target_size, TARGET),
    ]
    if shots_size is not None:
        shots_batch = min(batch_size, shots_size) if shots_batch_size is None else shots_batch_size
        streams.append(("shots_batch_size", shots_batch, shots_size, SHOTS))
    for argument, batch, size, _ in streams:
        if not 1 <= batch <= size:
            raise input_error(argument, got=batch, expected=f"between 1 and {size}, the number of examples")
    return RowStream(*(endless_order(n, batch_size=b, seed=seed, domain=role) for _, b, n, role in streams))


def _rows(order: EndlessOrder, start: int, stop: int) -> np.ndarray:
    positions = [order.positions(step) for step in range(start, stop)]
    flat = np.concatenate(positions) if positions else np.empty(0, np.int64)
    return order.rows(flat).astype(np.int32).reshape(stop - start, order.batch_size)
