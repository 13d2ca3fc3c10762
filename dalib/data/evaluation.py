"""Passes over a split for evaluation: batches of constant shape in which every example counts exactly once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dalib.core.checks import input_error
from dalib.data.domain import Domain, unlabelled
from dalib.data.order import read
from dalib.data.transforms import Transform

T = TypeVar("T")


class EvaluationBatch(NamedTuple):
    """``b`` examples: ``inputs`` ``[b, ...]``, ``labels`` ``[b]`` (int32, or float32 where they are no classes), and
    ``mask`` ``[b]``, False on padding."""

    inputs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


class UnlabelledBatch(NamedTuple):
    """``b`` examples without labels: ``inputs`` ``[b, ...]`` and ``mask`` ``[b]``, False on padding."""

    inputs: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Pass(Generic[T]):
    """One pass of ``len(self)`` batches; it may be iterated any number of times."""

    _steps: int
    _batch: Callable[[int], T]

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[T]:
        return (self._batch(step) for step in range(self._steps))


def evaluation_batches(
    domain: Domain,
    split: str,
    batch_size: int,
    transform: Transform | None = None,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Pass[EvaluationBatch]:
    """Read all examples of a split in their stored order, with labels.

    Every batch holds ``batch_size`` rows, so that one compiled function serves all; the last one is filled up by
    repeating rows, with ``mask`` False there. Sums over ``mask`` count every example exactly once.

    Args:
        domain: the domain.
        split: the name of its split.
        batch_size: rows b of a batch.
        transform: applied to each example; use one without randomness (its draws depend on the row alone).
        process_index, process_count: process p of P reads the inputs of rows [p·b/P, (p+1)·b/P) of each batch; those
            of the others are zeros to it. Labels and mask are whole.

    Raises:
        InputError: an unknown split, a batch size below 1 or not divisible by the number of processes; while
            iterating, an example without label, or examples of several shapes.
    """
    rows_of = _read_pass(domain, split, batch_size, transform, process_index, process_count)

    def batch(step: int) -> EvaluationBatch:
        inputs, labels, mask = rows_of(step)
        # A missing label would silently count as a wrong answer.
        if unlabelled(labels).any():
            raise input_error(
                "domain",
                got=f"examples without labels in {domain.name}/{split}",
                expected="labels for all",
                todo="evaluate on a labelled split, or use unlabelled_batches",
            )
        return EvaluationBatch(inputs, labels, mask)

    return Pass(-(-len(domain.split(split)) // batch_size), batch)


def unlabelled_batches(
    domain: Domain,
    split: str,
    batch_size: int,
    transform: Transform | None = None,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Pass[UnlabelledBatch]:
    """Make the pass of :func:`evaluation_batches` without labels, for statistics and scores that must not see them."""
    rows_of = _read_pass(domain, split, batch_size, transform, process_index, process_count)

    def batch(step: int) -> UnlabelledBatch:
        inputs, _, mask = rows_of(step)
        return UnlabelledBatch(inputs, mask)

    return Pass(-(-len(domain.split(split)) // batch_size), batch)


def _read_pass(
    domain: Domain, split: str, batch_size: int, transform: Transform | None, process: int, processes: int
) -> Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise input_error("batch_size", got=repr(batch_size), expected="a whole number ≥ 1")
    if not 0 <= process < processes or batch_size % processes:
        raise input_error(
            "batch_size",
            got=f"{batch_size} for process {process} of {processes}",
            expected="a multiple of the number of processes, of which this is one",
        )
    records = domain.split(split)
    n = len(records)
    own = slice(process * batch_size // processes, (process + 1) * batch_size // processes)
    # Only this process's inputs are read below; labels are small, and every process needs all of them.
    all_labels = domain.labels(split) if processes > 1 else None

    def rows_of(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        # Rows past the end begin again at the first: the mask leaves them out of every sum.
        rows = places % n
        mine = rows[own]
        inputs, labels = read(
            f"{domain.name}/{split}", records, mine, transform, lambda i: np.random.default_rng(int(mine[i]))
        )
        # The others' rows stay zeros: each process fills in its own part of the global array.
        if all_labels is not None:
            whole = np.zeros((batch_size, *inputs.shape[1:]), inputs.dtype)
            whole[own] = inputs
            inputs, labels = whole, all_labels[rows]
        return inputs, labels, places < n

    return rows_of
