"""Reading batches: a gather from a record source, and one or several domains in their endless orders."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.checks import input_error
from dalib.data.domain import Domain, Split
from dalib.data.order import AUGMENTATION, endless_order
from dalib.data.transforms import Transform
from dalib.types import Source


def read(
    where: str,
    split: Split,
    rows: Sequence[int] | np.ndarray,
    transform: Transform | None,
    rng: Callable[[int], np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """Examples ``rows`` as one array ``[b, ...]``, and their int32 labels ``[b]``.

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
    if not isinstance(inputs, np.ndarray):
        shapes = sorted({np.shape(example) for example in inputs})
        if len(shapes) > 1:
            raise input_error(
                f"inputs of {where}",
                got=f"examples of shapes {', '.join(map(str, shapes[:5]))} in one batch",
                expected="one shape",
                todo="pass a transform that resizes, for example dalib.data.views.eval_transform(224)",
            )
        inputs = np.stack(inputs)
    return inputs, np.asarray(labels, np.int32)


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
    """Reads a domain in its endless order (:func:`dalib.data.order.endless_order`).

    Args:
        domain: what to read; its labels are read too.
        role: number of the domain in the random numbers.
        size: examples of this domain in the global batch.
        part: which of these this process reads.
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

        def rng(i: int) -> np.random.Generator:
            return np.random.default_rng([seed, role, AUGMENTATION, int(positions[i])])

        inputs, labels = read(where, records, rows, transform, rng)
        return Source(inputs, labels, rows.astype(np.int32))  # type: ignore[arg-type]

    return Reader(where, order.steps_per_epoch, batch)


def labelled(reader: Reader, argument: str) -> Reader:
    """The same reader, which refuses examples without a label."""

    def batch(step: int) -> Source:
        found = reader.batch(step)
        if found.labels.min() < 0:
            raise input_error(argument, got=f"an unlabelled example in {reader.where}", expected="labels for all")
        return found

    return reader._replace(batch=batch)


def interleave(parts: Sequence[Source], start: int, names: Sequence[str]) -> Source:
    """Examples of k domains as one batch: example r of the global batch comes from domain r mod k.

    Args:
        parts: of each domain, in order.
        start: place of the first of these examples in the global batch.
        names: of the domains, for the message.

    Raises:
        InputError: for domains of several shapes or dtypes.
    """
    if len(parts) == 1:
        return parts[0]
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
        whole = np.empty((n, *columns[0].shape[1:]), columns[0].dtype)
        for i, own in enumerate(columns):
            whole[(i - start) % k :: k] = own
        return whole

    return Source(*(column(*columns) for columns in zip(*parts, strict=True)))
