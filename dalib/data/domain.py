"""A domain: one named distribution of labelled examples with random access, in splits.

Any object with the members of :class:`Split` is a record source. Arrays, folders, list files and tensorflow-datasets
have readers in :mod:`dalib.data.readers`.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dalib.core.checks import choose, input_error

INT32 = np.iinfo(np.int32)
UNLABELLED = -1
"""Label of an example of unknown class; an unknown real-valued label is NaN."""
MOST_CLASSES = 100_000
"""Most classes that are named by counting up to the largest label; more need names."""


class Split(Protocol):
    """Random access to the raw examples of one split.

    A split may also have an attribute ``labels`` (``[n]`` int32); without it, labels are read with the inputs.
    """

    def __len__(self) -> int:
        """Number of examples n, at least 1."""
        ...

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray | list[np.ndarray], np.ndarray]:
        """Examples at ``indices`` (b of them), in that order.

        Returns:
            Raw inputs: one array ``[b, ...]``, or a list of b arrays of several shapes (images of several sizes). Then
            int32 labels ``[b]``, :data:`UNLABELLED` where unknown; real-valued ones are float32 ``[b]`` or ``[b, k]``,
            NaN where unknown.
        """
        ...

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the contents; each reader documents what it hashes."""
        ...


@dataclass(frozen=True)
class Domain:
    """One distribution of examples with a name.

    Attributes:
        name: for tables and error messages, for example ``"amazon"``.
        class_names: names of the classes 0 … C − 1, all different; ``()`` for real-valued labels.
        splits: record sources by name, usually ``train`` and ``test``.

    Raises:
        InputError: no name, repeated class names, no class names for class labels, no splits, or an empty split.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]

    def __post_init__(self) -> None:
        if not self.name:
            raise input_error("name", got=repr(self.name), expected="a name for the domain")
        if not self.class_names and not (self.splits and all(map(_real_valued, self.splits.values()))):
            raise input_error("class_names", got="no classes", expected=f"at least one class in domain {self.name!r}")
        repeated = sorted(name for name, times in Counter(self.class_names).items() if times > 1)
        if repeated:
            raise input_error("class_names", got=f"repeated {', '.join(repeated)}", expected="different names")
        if not self.splits:
            raise input_error("splits", got="none", expected=f"at least one split in domain {self.name!r}")
        empty = [name for name, split in self.splits.items() if len(split) == 0]
        if empty:
            raise input_error(
                "splits",
                got=f"no examples in {', '.join(empty)} of domain {self.name!r}",
                expected="at least one example in every split",
            )

    def split(self, name: str) -> Split:
        """Return the record source called ``name``; an unknown name raises an InputError with the nearest names."""
        return choose(f"split of domain {self.name!r}", name, self.splits)

    def labels(self, split: str) -> np.ndarray:
        """Return a split's labels, int32 ``[n]``, float32 ``[n]`` or ``[n, k]``; inputs stay undecoded if possible."""
        return split_labels(self.split(split))

    @property
    def columns(self) -> int:
        """Return the number of a net's outputs for these labels: C classes, or k real numbers."""
        if self.class_names:
            return len(self.class_names)
        return max(1 if np.ndim(self.labels(split)) == 1 else self.labels(split).shape[1] for split in self.splits)

    def counts(self, split: str) -> np.ndarray:
        """Count examples of each class in a split, ``[C]``, without unlabelled ones."""
        labels = self.labels(split)
        return np.bincount(labels[labels != UNLABELLED], minlength=len(self.class_names))

    def fingerprint(self) -> str:
        """Return the SHA-256 (hexadecimal) of the name, the class names in order and the fingerprint of every split."""
        parts = [self.name, *self.class_names]
        parts += [f"{name}={self.splits[name].fingerprint()}" for name in sorted(self.splits)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def as_labels(values: Any) -> np.ndarray:
    """Convert labels to a net's type: float32 for real numbers, int32 for classes.

    Raises:
        InputError: for an integer that int32 would wrap to another class.
    """
    found = np.asarray(values)
    if np.issubdtype(found.dtype, np.floating):
        return found.astype(np.float32, copy=False)
    check_range("labels", found)
    return found.astype(np.int32, copy=False)


def check_range(argument: str, integers: np.ndarray) -> None:
    """Check that integers ``[n, …]`` keep their values in int32, and name the first row that does not."""
    dtype = integers.dtype
    if integers.size == 0 or not np.issubdtype(dtype, np.integer) or np.can_cast(dtype, np.int32):
        return
    bad = ((integers > INT32.max) | (integers < INT32.min)).reshape(len(np.atleast_1d(integers)), -1)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        got = f"{np.reshape(integers, bad.shape)[row][bad[row]][0]} in row {row}"
        raise input_error(argument, got=got, expected=f"integers from {INT32.min} to {INT32.max}")


def counted_names(largest: int) -> tuple[str, ...]:
    """Make class names ``"0"``, ``"1"``, … up to the largest label.

    Raises:
        InputError: for more than :data:`MOST_CLASSES`, usually one wrong label.
    """
    if largest >= MOST_CLASSES:
        raise input_error(
            "labels",
            got=f"label {largest}, and no class names",
            expected=f"labels below {MOST_CLASSES:,}",
            todo="correct the label, number the classes from 0, or pass class_names",
        )
    return tuple(map(str, range(largest + 1)))


def unlabelled(labels: np.ndarray) -> np.ndarray:
    """Return booleans ``[n]``, true for examples without a label; takes labels as :func:`as_labels` returns them."""
    if np.issubdtype(labels.dtype, np.floating):
        return np.isnan(labels).reshape(len(labels), -1).any(1)
    return labels == UNLABELLED


def _real_valued(split: Split) -> bool:
    labels = getattr(split, "labels", None)
    return labels is not None and np.issubdtype(np.asarray(labels).dtype, np.floating)


def split_labels(split: Split) -> np.ndarray:
    """Return all labels of a record source, int32 ``[n]``, or float32 ``[n]`` or ``[n, k]``."""
    labels = getattr(split, "labels", None)
    if labels is not None:
        return as_labels(labels)
    chunks = [range(start, min(start + 1024, len(split))) for start in range(0, len(split), 1024)]
    return as_labels(np.concatenate([split.__getitems__(list(chunk))[1] for chunk in chunks]))


def check_seed(seed: object) -> None:
    """Check that ``seed`` is an integer ≥ 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise input_error("seed", got=repr(seed), expected="an integer ≥ 0")


def stratified_holdout(labels: np.ndarray, fraction: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into two parts that hold every class in the same proportion.

    Args:
        labels: ``[n]`` integers.
        fraction: share of each class for the second part, rounded to whole examples; each part gets at least one.
        seed: the same seed gives the same parts.

    Returns:
        Sorted row indices of the first (kept) and of the second (held-out) part.

    Raises:
        InputError: ``fraction`` is not in (0, 1), or a class has a single example.
    """
    if not 0 < fraction < 1:
        raise input_error("holdout", got=fraction, expected="a share in (0, 1), for example 0.2")
    check_seed(seed)
    held = []
    # Class by class with a seed of its own, so that a class more leaves the division of the others as it was.
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise input_error(
                "holdout",
                got=f"class {label} with a single example",
                expected="at least 2 examples of every class, one for either part",
            )
        size = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held.append(np.random.default_rng([seed, int(label)]).permutation(rows)[:size])
    test = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), test), test


def random_holdout(count: int, fraction: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split ``count`` rows into two parts at random, for real-valued labels.

    Returns:
        Sorted row indices of the first (kept) and of the second (held-out) part, at least one in each.

    Raises:
        InputError: ``fraction`` is not in (0, 1), or there is a single row.
    """
    if not 0 < fraction < 1:
        raise input_error("holdout", got=fraction, expected="a share in (0, 1), for example 0.2")
    if count < 2:
        raise input_error("holdout", got=f"{count} example", expected="at least 2, one for either part")
    check_seed(seed)
    size = min(max(round(fraction * count), 1), count - 1)
    test = np.sort(np.random.default_rng(seed).permutation(count)[:size])
    return np.setdiff1d(np.arange(count), test), test


def pool(name: str, class_names: Sequence[str], split: Split) -> Domain:
    """Make a domain that is training data and test set at once."""
    return Domain(name, tuple(class_names), {"train": split, "test": split})
