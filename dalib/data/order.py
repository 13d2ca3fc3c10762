"""Endless order of rows in a training stream, and the reading of records by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.core.types import Source
from dalib.data.domain import Domain, Split, as_labels, unlabelled
from dalib.data.transforms import Transform

# The order of a training stream: a pure function of the position.


ORDER, AUGMENTATION = 0, 1
"""Purposes of random numbers; a generator's seed joins it to seed, domain and epoch or step."""
CACHED_EPOCHS = 4


@dataclass(frozen=True, eq=False)
class EndlessOrder:
    """Order of visits to one domain's ``n`` examples, epoch after epoch without end.

    Every epoch has its own permutation, drawn from (seed, domain, epoch). Position p is the (p mod n)-th example of
    epoch p div n.
    """

    n: int
    batch_size: int
    remainder: str
    permutation: Callable[[int], np.ndarray]

    @property
    def steps_per_epoch(self) -> int:
        return self.n // self.batch_size if self.remainder == "drop" else -(-self.n // self.batch_size)

    def positions(self, step: int) -> np.ndarray:
        """Return the positions of the global batch of ``step``, ``[b]``."""
        start = step * self.batch_size
        if self.remainder == "drop":
            epoch, within = divmod(step, self.steps_per_epoch)
            start = epoch * self.n + within * self.batch_size
        return np.arange(start, start + self.batch_size)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Return the row numbers of the examples at these positions."""
        epochs, offsets = np.divmod(positions, self.n)
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows[here] = self.permutation(int(epoch))[offsets[here]]
        return rows


def endless_order(n: int, *, batch_size: int, seed: int, domain: int, remainder: str = "wrap") -> EndlessOrder:
    """Order ``n`` examples in batches; see :class:`EndlessOrder` and :func:`dalib.data.paired_stream`."""

    # Permutations by the epoch, not grain's shuffle by the element: that took 0.9 ms for 64 look-ups on one CPU core,
    # which two domains would pay on every step; this is a slice.
    @lru_cache(maxsize=CACHED_EPOCHS)
    def permutation(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, domain, ORDER, epoch]).permutation(n)

    return EndlessOrder(n, batch_size, remainder, permutation)


# Reading batches: a gather from a record source, and one or several domains in their endless orders.


def read(
    where: str,
    split: Split,
    rows: Sequence[int] | np.ndarray,
    transform: Transform | None,
    rng: Callable[[int], np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """Read examples ``rows`` as one array ``[b, ...]``, and their labels, int32 or float32.

    Args:
        where: ``domain/split``, for error messages.
        split: the record source.
        rows: b row numbers.
        transform: applied to every example with a generator of its own; None leaves the raw inputs.
        rng: generator for the i-th of the b examples; called only where there is a transform.

    Raises:
        InputError: examples of one batch that differ in shape.
    """
    inputs, labels = split.__getitems__(rows)  # type: ignore[arg-type]
    if transform is not None:
        inputs = [transform(example, rng(i)) for i, example in enumerate(inputs)]
    # A list of arrays that agree in shape is stacked; one compiled step has one shape.
    if not isinstance(inputs, np.ndarray):
        shapes = sorted({np.shape(example) for example in inputs})
        if len(shapes) > 1:
            raise input_error(
                f"inputs of {where}",
                got=f"examples of shapes {', '.join(map(str, shapes[:5]))} in one batch",
                expected="one shape",
                todo="pass a transform that resizes, for example dalib.data.readers.images.eval_transform(224)",
            )
        inputs = np.stack(inputs)
    return inputs, as_labels(labels)


class Reader(NamedTuple):
    """One domain as an endless sequence of batches.

    Attributes:
        where: ``domain/split``, for error messages.
        steps_per_epoch: steps that go through the split once.
        batch: ``step -> Source``, this process's part of the batch as numpy arrays.
    """

    where: str
    steps_per_epoch: int
    batch: Callable[[int], Source]


def endless_reader(
    domain: Domain,
    role: int,
    *,
    size: int,
    part: slice,
    argument: str,
    transform: Transform | None,
    split: str,
    seed: int,
    remainder: str,
) -> Reader:
    """Read a domain in its endless order (:func:`dalib.data.order.endless_order`).

    Args:
        domain: what to read; its labels are read too.
        role: number of the domain in the random numbers.
        size: examples of this domain in the global batch.
        part: the part of these that this process reads.
        argument: name of the argument that set ``size``, for error messages.
        transform: applied to each example.
        split, seed, remainder: as in :func:`dalib.data.paired_stream`.

    Raises:
        InputError: a batch larger than the split.
    """
    records = domain.split(split)
    where, n = f"{domain.name}/{split}", len(records)
    if size > n:
        raise input_error(
            argument, got=f"{size} for {where} with {n} examples", expected=f"at most {n}", todo="take a smaller batch"
        )
    order = endless_order(n, batch_size=size, seed=seed, domain=role, remainder=remainder)

    def batch(step: int) -> Source:
        positions = order.positions(step)[part]
        rows: Any = order.rows(positions)

        # Drawn from the example's position: a resumed run and another number of processes draw the same.
        def rng(i: int) -> np.random.Generator:
            return np.random.default_rng([seed, role, AUGMENTATION, int(positions[i])])

        inputs, labels = read(where, records, rows, transform, rng)
        return Source(inputs, labels, rows.astype(np.int32))  # type: ignore[arg-type]

    return Reader(where, order.steps_per_epoch, batch)


def labelled(reader: Reader, argument: str) -> Reader:
    """Make the reader refuse examples without a label."""

    def batch(step: int) -> Source:
        found = reader.batch(step)
        integers = found.labels.dtype.kind == "i"
        if found.labels.min() < 0 if integers else unlabelled(np.asarray(found.labels)).any():
            raise input_error(argument, got=f"an unlabelled example in {reader.where}", expected="labels for all")
        return found

    return reader._replace(batch=batch)


def interleave(parts: Sequence[Source], start: int, names: Sequence[str]) -> Source:
    """Interleave examples of k domains to one batch: example r of the global batch comes from domain r mod k.

    Args:
        parts: of each domain, in order.
        start: place of the first of these examples in the global batch.
        names: of the domains, for the message.

    Raises:
        InputError: for domains of several shapes or dtypes.
    """
    if len(parts) == 1:
        return parts[0]
    # One compiled step has one shape, whichever source a row is from.
    forms = {(part.inputs.shape[1:], part.inputs.dtype) for part in parts}
    if len(forms) > 1:
        raise input_error(
            f"inputs of {', '.join(names)}",
            got=f"examples of {' and '.join(f'shape {s} dtype {d}' for s, d in sorted(forms, key=str))}",
            expected="one shape and dtype in all sources",
            todo="pass a source_transform that makes them alike",
        )
    k, n = len(parts), sum(len(part.labels) for part in parts)

    def column(*columns: Any) -> Any:
        # Place r of the global batch is domain r mod k; this process's part begins at ``start``.
        whole = np.empty((n, *columns[0].shape[1:]), columns[0].dtype)
        for i, own in enumerate(columns):
            whole[(i - start) % k :: k] = own
        return whole

    return Source(*(column(*columns) for columns in zip(*parts, strict=True)))
