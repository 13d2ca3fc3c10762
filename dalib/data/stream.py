"""The training stream: labelled source and unlabelled target batches as a pure function of (seed, step, process).

Every example carries its row number in its domain's split, so that a method may keep something for each of them.

Nothing about the stream is ever saved: a resumed run asks for ``stream[step]`` again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.core.options import Count, Natural, checked
from dalib.core.types import Batch, Source, Target
from dalib.data.domain import Domain, check_seed
from dalib.data.order import EndlessOrder, Reader, endless_order, endless_reader, interleave, labelled
from dalib.data.transforms import Transform

SOURCE, TARGET = 0, 1
MORE_SOURCES = 2
"""Role of the second source domain in the random numbers; the next ones follow."""
SHOTS = 2**32 - 1
"""Role of the labelled target examples: the largest that numpy's seeds take as one word, which no source reaches."""


@dataclass(frozen=True, eq=False)
class PairedStream:
    """Endless stream of training batches; see :func:`paired_stream`.

    Attributes:
        steps_per_epoch: steps of one pass through the source: n / b, rounded up with
            ``remainder="wrap"`` and down with ``"drop"``. With several sources that of the longest.
    """

    steps_per_epoch: int
    _source: Callable[[int], Source]
    _target: Callable[[int], Target]
    _shots: Callable[[int], Source] | None = None

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of ``step`` ≥ 0: this process's rows of the global batch, as numpy arrays.

        Raises:
            InputError: a negative step, or an unlabelled example in the source or the shots.
        """
        if step < 0:
            raise input_error("step", got=step, expected="a step ≥ 0 (the stream has no end to count from)")
        step = int(step)
        shots = None if self._shots is None else self._shots(step)
        return Batch(self._source(step), self._target(step), shots)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(
        self, start: int = 0, stop: int | None = None, *, threads: int = 0, prefetch: int = 16
    ) -> Iterator[Batch]:
        """Yield batches of the steps ``start``, …, ``stop`` − 1 in order; without ``stop`` there is no end.

        Args:
            start: first step.
            stop: one after the last step.
            threads: 0 computes each batch when it is asked for, which is best for arrays in memory; more read ahead in
                that many threads (by grain), which is best where files are decoded.
            prefetch: number of batches that may be ready ahead, with threads.
        """
        if threads < 0 or prefetch < 1 or start < 0:
            raise input_error(
                "batches", got=f"start {start}, threads {threads}, prefetch {prefetch}", expected="≥ 0, ≥ 0, ≥ 1"
            )
        stop = 2**62 if stop is None else stop
        if threads == 0:
            return (self[step] for step in range(start, stop))
        # Imported late: arrays in memory need no reading ahead, and grain takes long to import.
        import grain

        steps = grain.MapDataset.range(start, max(stop, start)).map(self.__getitem__)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads))
        return iter(steps.to_iter_dataset(options))


@checked
def paired_stream(
    source: Domain | Sequence[Domain],
    target: Domain,
    *,
    batch_size: int,
    target_batch_size: Count | None = None,
    shots: Domain | None = None,
    shots_batch_size: Count | None = None,
    seed: int,
    split: str = "train",
    source_transform: Transform | None = None,
    target_transform: Transform | None = None,
    remainder: str = "wrap",
    process_index: Natural = 0,
    process_count: Count = 1,
) -> PairedStream:
    """Pair two domains into one stream of batches; ``stream[step]`` depends on (seed, step, process) alone.

    Each domain goes through its own endless order: all its examples once an epoch, reshuffled every epoch, independent
    of the other domain, which may have another length (the shorter one repeats more often). Random
    transforms are drawn from (seed, domain, position), so that they too are the same after a resume. The target's
    labels are dropped here.

    Several sources are interleaved: row r of the global batch comes from source r mod k, each with b/k rows and an
    endless order of its own. The first one's order is what it would be alone with b/k rows.

    Each example comes with its row: its index in its own domain's split, whatever the order, the share of a process or
    the policy at the end of an epoch.

    Args:
        source: labelled domain, or a sequence of k of them with the same class names in the same order.
        target: domain used without labels.
        batch_size: examples of the source, or of all sources together, in the global batch over all processes.
        target_batch_size: the same for the target; ``batch_size`` by default.
        shots: labelled target examples for ``Batch.shots``, a domain of their own with the source's class names. They
            follow an endless order of their own and leave those of source and target as they are.
        shots_batch_size: the same for the shots; ``batch_size``, or all of them if they are fewer, by default.
        seed: an integer ≥ 0.
        split: the split of all domains to train on.
        source_transform, target_transform: ``f(example, rng) -> array``, applied to each example; the shots take the
            target's.
        remainder: ``"wrap"``: a batch may cross the end of an epoch, nothing is left out, and an example may then
            be in a batch twice; ``"drop"``: what does not fill a batch at the end of an epoch is left out of this
            epoch (other examples each time).
        process_index, process_count: process p of P gets rows [p·b/P, (p+1)·b/P) of the global batch, so that the
            processes' rows one after the other are the one-process batch, in the same order.

    Raises:
        InputError: an unknown split or policy, a batch larger than its domain or not divisible by the number of
            processes or of sources, a process index out of range, sources that are none, repeated, or of different
            class names, or shots of other class names.
    """
    # Arguments first: a fault must show before any thread or file is opened.
    sources = _check_sources(source)
    if remainder not in ("wrap", "drop"):
        raise input_error("remainder", got=repr(remainder), expected="'wrap' or 'drop'")
    check_seed(seed)
    if not 0 <= process_index < process_count:
        raise input_error("process_index", got=f"{process_index} of {process_count}", expected="0 ≤ index < count")

    common: Any = {"split": split, "seed": int(seed), "remainder": remainder}

    def share(size: Any, argument: str, parts: int = 1) -> slice:
        """This process's rows of a global batch."""
        _check_divisible(argument, size, process_count, parts)
        return slice(process_index * size // process_count, (process_index + 1) * size // process_count)

    # Sources: each has an order of its own, and this process's share of every source's rows.
    k = len(sources)
    mine = share(batch_size, "batch_size", k)
    readers = []
    for i, domain in enumerate(sources):
        role = SOURCE if i == 0 else MORE_SOURCES + i - 1
        # Row r is example r div k of domain r mod k.
        part = slice(-((i - mine.start) // k), -((i - mine.stop) // k))
        own: Any = {"size": batch_size // k, "part": part, "argument": "batch_size"}
        readers.append(labelled(endless_reader(domain, role, transform=source_transform, **own, **common), "source"))
        if part.start < part.stop:
            continue
        raise input_error(
            "batch_size",
            got=f"{batch_size} over {process_count} processes: some have no row of {domain.name}",
            expected=f"at least {k * process_count}, so that every process has rows of all {k} sources",
        )

    def of_target(domain: Domain, role: int, size: int, argument: str) -> Reader:
        part = share(size, argument)
        own: Any = {"size": size, "part": part, "argument": argument, "transform": target_transform}
        return endless_reader(domain, role, **own, **common)

    # The target's size may differ from the source's; its labels are read and dropped below.
    size = batch_size if target_batch_size is None else target_batch_size
    unread = of_target(target, TARGET, size, "batch_size" if target_batch_size is None else "target_batch_size")
    few = None
    # Shots have a role of their own in the random numbers, so they change no other order.
    if shots is not None:
        _check_shots(shots, sources[0])
        size = min(batch_size, len(shots.split(split))) if shots_batch_size is None else shots_batch_size
        few = labelled(of_target(shots, SHOTS, size, "shots_batch_size"), "shots").batch

    def from_source(step: int) -> Source:
        return interleave([reader.batch(step) for reader in readers], mine.start, [domain.name for domain in sources])

    def from_target(step: int) -> Target:
        found = unread.batch(step)
        return Target(found.inputs, found.rows)  # the labels end here

    return PairedStream(max(reader.steps_per_epoch for reader in readers), from_source, from_target, few)


def _check_sources(source: Domain | Sequence[Domain]) -> list[Domain]:
    sources = [source] if isinstance(source, Domain) else list(source)
    if not sources or not all(isinstance(domain, Domain) for domain in sources):
        got = ", ".join(type(domain).__name__ for domain in sources) or "an empty sequence"
        raise input_error("source", got=got, expected="a Domain, or a sequence of one or more of them")
    names = [domain.name for domain in sources]
    if len(set(names)) < len(names):
        raise input_error("source", got=f"domains {', '.join(names)}", expected="domains of different names")
    for domain in sources[1:]:
        if domain.class_names != sources[0].class_names:
            raise input_error(
                "source",
                got=f"other class names in {domain.name!r} than in {names[0]!r}",
                expected="the same classes in the same order in all sources",
                todo="dalib.data.match_classes brings two domains to their common classes",
            )
    return sources


def _check_shots(shots: Domain, source: Domain) -> None:
    if shots.class_names != source.class_names:
        raise input_error(
            "shots",
            got=f"other class names in {shots.name!r} than in {source.name!r}",
            expected="the same classes in the same order",
            todo="dalib.data.match_classes gives the target's classes the source's order",
        )


def _check_divisible(argument: str, size: Any, process_count: int, sources: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise input_error(argument, got=repr(size), expected="a whole number ≥ 1")
    if size % process_count:
        raise input_error(
            argument, got=f"{size} over {process_count} processes", expected=f"a multiple of {process_count}"
        )
    if size % sources:
        raise input_error(
            argument, got=f"{size} over {sources} sources", expected=f"a multiple of {sources}: equal shares"
        )


# Row numbers of the training stream, for examples that are on the device already.


class RowStream(NamedTuple):
    """Order of one run's examples; see :func:`stream_rows`."""

    source_order: EndlessOrder
    target_order: EndlessOrder
    shots_order: EndlessOrder | None = None

    def __call__(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """Return the rows of the steps ``start``, …, ``stop`` − 1, int32.

        They are ``[steps, n]`` of the source, ``[steps, m]`` of the target and ``[steps, s]`` of shots, if any."""
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
    """Return the rows that :func:`dalib.data.paired_stream` reads for one source, one process and ``remainder="wrap"``.

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
    # Checked here as by the full stream, which draws the same orders.
    for argument, batch, size, _ in streams:
        if not 1 <= batch <= size:
            raise input_error(argument, got=batch, expected=f"between 1 and {size}, the number of examples")
    return RowStream(*(endless_order(n, batch_size=b, seed=seed, domain=role) for _, b, n, role in streams))


def _rows(order: EndlessOrder, start: int, stop: int) -> np.ndarray:
    positions = [order.positions(step) for step in range(start, stop)]
    flat = np.concatenate(positions) if positions else np.empty(0, np.int64)
    return order.rows(flat).astype(np.int32).reshape(stop - start, order.batch_size)
