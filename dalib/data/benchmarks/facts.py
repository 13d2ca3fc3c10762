"""Facts of a benchmark (classes, counts, licence, citation), and its reader's result.

The facts are in TOML files of the package (``dalib/data/manifests``),
each with the source of its counts in a comment.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from dalib.data.domain import Domain
from dalib.data.readers.raw_text import TaggedDomain

POOL = "all"
"""Name, in a manifest, of a domain's examples when they are both training data and test set."""
MOST_CLASSES, SHOWN = 10, 5
"""Most differing classes with a line each, and classes named in the one line for more."""


@dataclass(frozen=True)
class Facts:
    """The manifest of one data set.

    Attributes:
        name: the manifest's name.
        title, kind, homepage, licence, citation, notes: texts; ``kind`` is image, array, features, text, tokens, audio
            or series.
        classes: class names by domain, in the order of the labels.
        counts: by domain and split, examples of each class, or a single number where only the total is known. The
            split ``"all"`` is a domain that serves whole as training data and as test set.
        sizes: by domain and split, the number of examples where ``counts`` counts something else (entities).
        fingerprints: of domains that were at hand when the manifest was made, unless they depend on places of files.
            The same counts with another fingerprint are another version of the data.
    """

    name: str
    title: str
    kind: str
    homepage: str
    licence: str
    citation: str
    notes: str
    classes: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, Mapping[str, tuple[int, ...] | int]]
    sizes: Mapping[str, Mapping[str, int]]
    fingerprints: Mapping[str, str]

    @property
    def domains(self) -> tuple[str, ...]:
        """Return the names of the domains."""
        return tuple(self.counts)


@lru_cache
def read_facts(name: str) -> Facts:
    """Read the manifest called ``name``."""
    table = tomllib.loads((files("dalib.data") / "manifests" / f"{name}.toml").read_text(encoding="utf-8"))
    counts = {
        domain: {split: n if isinstance(n, int) else tuple(n) for split, n in splits.items()}
        for domain, splits in table["counts"].items()
    }
    named = table["classes"]
    classes = {domain: tuple(named[domain] if isinstance(named, dict) else named) for domain in counts}
    texts = {key: table[key] for key in ("title", "kind", "homepage", "licence", "citation", "notes")}
    rest = {key: table.get(key, {}) for key in ("sizes", "fingerprints")}
    return Facts(name=name, **texts, classes=classes, counts=counts, **rest)


def wrong_counts(facts: Facts, domain: str, split: str, counts: np.ndarray, size: int | None = None) -> list[str]:
    """List differences from the manifest, one line a class; one in all for over :data:`MOST_CLASSES`, or for the total.

    Args:
        facts: the manifest.
        domain, split: the counts to compare.
        counts: ``[C]``, examples found of each class.
        size: number of examples found, for manifests that know it.
    """
    expected = facts.counts[domain].get(split)
    where = domain if split == POOL else f"{domain}, {split}"
    if expected is None:
        return [f"{where}: a split that is not known; known: {', '.join(facts.counts[domain])}"]
    faults = []
    # Some publications give totals alone.
    if isinstance(expected, int):
        if int(counts.sum()) != expected:
            faults.append(f"{where}: {int(counts.sum())} examples, expected {expected}")
    else:
        both = zip(facts.classes[domain], counts.tolist(), expected, strict=True)
        wrong = [(name, n, wanted) for name, n, wanted in both if n != wanted]
        faults += [f"{where}, class {name}: {n} found, expected {wanted}" for name, n, wanted in wrong]
        # A wrong version differs in nearly every class: one line says more than a hundred.
        if len(wrong) > MOST_CLASSES:
            some = ", ".join(f"{name} {n} of {wanted}" for name, n, wanted in wrong[:SHOWN])
            total = f"{int(counts.sum())} examples, expected {sum(expected)}"
            faults = [f"{where}: {total}; {len(wrong)} of {len(expected)} classes differ: {some}, …"]
    wanted_size = facts.sizes.get(domain, {}).get(split)
    if size is not None and wanted_size is not None and size != wanted_size:
        faults.append(f"{where}: {size} examples, expected {wanted_size}")
    return faults


AnyDomain = Domain | TaggedDomain


class Reading(NamedTuple):
    """Result of a reader: domains by name, and faults, one line each."""

    domains: dict[str, AnyDomain]
    faults: list[str]
