"""Benchmarks by name: reading, checking against the manifest, instructions to get the data.

A benchmark's reader collects faults instead of stopping at the first fault, so that one error names everything.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dalib.core.checks import InputError, choose, input_error
from dalib.data.benchmarks.facts import POOL, AnyDomain, Facts, Reading, read_facts, wrong_counts
from dalib.data.benchmarks.images import undecodable
from dalib.data.domain import Domain
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.raw_text import TaggedDomain

MOST_SHOWN = 200
MOST_DECODED = 20_000


@dataclass(frozen=True)
class Benchmark:
    """One data set of the field.

    Attributes:
        name: the name on the command line.
        manifest: name of its manifest, or the manifest itself.
        read: ``(facts, data_dir, domains) -> Reading``; reads the named domains and never raises for bad data.
        layout: the accepted layouts below ``data_dir``, as text.
        optional: domains that may be absent as long as nobody asks for them by name.
    """

    name: str
    manifest: str | Facts
    read: Callable[[Facts, Path, tuple[str, ...]], Reading]
    layout: str
    optional: frozenset[str] = frozenset()

    @property
    def facts(self) -> Facts:
        """The manifest."""
        return read_facts(self.manifest) if isinstance(self.manifest, str) else self.manifest


class Row(NamedTuple):
    """One line of a check: a domain's split, its number of examples and the counts of each class."""

    domain: str
    split: str
    size: int
    counts: np.ndarray


class Report(NamedTuple):
    """Result of a check; without faults the data is as the manifest says (as far as the manifest goes).

    Attributes:
        rows: the counts found.
        fingerprints: by domain.
        absent: optional domains that are not there.
        faults: everything wrong.
    """

    rows: list[Row]
    fingerprints: dict[str, str]
    absent: list[str]
    faults: list[str]


def resolve_data_dir(data_dir: str | Path | None) -> Path:
    """Return ``data_dir``, or else the folder that the environment variable DALIB_DATA names."""
    chosen = data_dir or os.environ.get("DALIB_DATA")
    todo = "pass --data-dir or set DALIB_DATA to the folder that holds the unpacked archives"
    if not chosen:
        raise input_error("data-dir", got="no folder, and DALIB_DATA is not set", expected="a folder", todo=todo)
    root = Path(chosen).expanduser()
    if not root.is_dir():
        raise input_error("data-dir", got=f"{root} (no such folder)", expected="a folder", todo=todo)
    return root


def read(
    benchmark: Benchmark, data_dir: str | Path | None, domains: Sequence[str] | None = None
) -> tuple[Reading, list[str]]:
    """Read a benchmark's domains; missing ones and wrong counts are among the faults.

    Returns:
        The reading, and the optional domains that are not there.
    """
    # Names first: a misspelt domain is an error of its own, with the nearest name.
    facts = benchmark.facts
    for name in domains or ():
        choose(f"domains of {benchmark.name}", name, facts.counts)
    wanted = tuple(domains) if domains else facts.domains
    found, faults = benchmark.read(facts, resolve_data_dir(data_dir), wanted)
    # An optional domain may be absent, unless it was asked for by name.
    missing = [name for name in wanted if name not in found]
    absent = [name for name in missing if name in benchmark.optional and not domains]
    # Readers say more of a missing domain than this line would, so theirs stays alone.
    explained = {name for fault in faults for name in fault.partition(":")[0].split(", ")}
    faults = faults + [f"{name}: domain not found" for name in missing if name not in {*absent, *explained}]
    if not found and not faults:
        faults = ["none of its domains found"]
    # Order of the classes is part of the data: labels are places in it.
    for name, domain in found.items():
        if domain.class_names != facts.classes[name]:
            odd = sorted(set(domain.class_names) ^ set(facts.classes[name])) or ["their order"]
            faults.append(f"{name}: other class names than the manifest's: {', '.join(odd[:10])}")
            continue
        faults += [fault for row in rows(name, domain) for fault in _compared(facts, row)]
    return Reading(found, faults), absent


def rows(name: str, domain: AnyDomain) -> list[Row]:
    """Count every split; splits that are one and the same pool give one row, called ``all``."""
    if isinstance(domain, TaggedDomain):
        return [Row(name, split, domain.size(split), domain.counts(split)) for split in domain.splits]
    if is_pool(domain):
        first = next(iter(domain.splits))
        return [Row(name, POOL, len(domain.splits[first]), domain.counts(first))]
    return [Row(name, split, len(source), domain.counts(split)) for split, source in domain.splits.items()]


def is_pool(domain: Domain) -> bool:
    """Tell whether all splits are one object: the transductive protocol."""
    sources = list(domain.splits.values())
    return len(sources) > 1 and all(source is sources[0] for source in sources)


def _compared(facts: Facts, row: Row) -> list[str]:
    return wrong_counts(facts, row.domain, row.split, row.counts, row.size)


def load(
    benchmark: Benchmark,
    data_dir: str | Path | None = None,
    *,
    domains: Sequence[str] | None = None,
    decode: bool | None = None,
) -> dict[str, AnyDomain]:
    """Load the benchmark's domains by name, checked against its manifest; see :func:`dalib.data.benchmarks.load`."""
    (found, faults), _ = read(benchmark, data_dir, domains)
    paths = image_paths(found)
    if decode or (decode is None and len(paths) <= MOST_DECODED):
        faults = faults + [f"{path}: {reason}" for path, reason in undecodable(paths)]
    if faults:
        raise faulty(benchmark, faults)
    return found


def check(
    benchmark: Benchmark,
    data_dir: str | Path | None = None,
    *,
    domains: Sequence[str] | None = None,
    decode: bool = True,
) -> Report:
    """Read everything, compare it with the manifest and, unless ``decode`` is False, decode every image."""
    (found, faults), absent = read(benchmark, data_dir, domains)
    every = [row for name, domain in found.items() for row in rows(name, domain)]
    if decode:
        faults = faults + [f"{path}: {reason}" for path, reason in undecodable(image_paths(found))]
    fingerprints = {name: domain.fingerprint() for name, domain in found.items()} if not faults else {}
    return Report(every, fingerprints, absent, faults)


def image_paths(domains: Mapping[str, AnyDomain]) -> list[Path]:
    """List the image files of all domains, each once."""
    sources = {id(s): s for d in domains.values() for s in d.splits.values() if isinstance(s, ImageFiles)}
    return list(dict.fromkeys(source.root / path for source in sources.values() for path in source.paths))


def faulty(benchmark: Benchmark, faults: Sequence[str]) -> InputError:
    """Make one error for all faults."""
    shown = "".join(f"\n    {fault}" for fault in faults[:MOST_SHOWN])
    more = f"\n    … and {len(faults) - MOST_SHOWN} more" if len(faults) > MOST_SHOWN else ""
    return input_error(
        benchmark.name,
        got=f"{len(faults)} faults:{shown}{more}",
        expected=f"{benchmark.facts.title} as its manifest counts it",
        todo=f"python -m dalib.data how-to-get {benchmark.name} shows the official place and the layout",
    )


def how_to_get(benchmark: Benchmark) -> str:
    """Write the data's official place, its terms, and the layout that is read."""
    facts = benchmark.facts
    parts: Mapping[str, str] = {
        "title": facts.title,
        "official place": facts.homepage,
        "licence": facts.licence,
        "cite": facts.citation,
        "notes": facts.notes,
    }
    lines = [f"{key}: {text}" for key, text in parts.items() if text]
    layout = "\n".join(f"  {line}" for line in benchmark.layout.strip().splitlines())
    return "\n".join([*lines, "layout below --data-dir (or $DALIB_DATA), archives unpacked:", layout])
