"""A domain: one named distribution of labelled examples with random access, in splits.

A record source is anything that has the members of :class:`Split`; the readers of this package (arrays, folders,
list files, tensorflow-datasets) each make one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, choose, input_error
from dalib.core.options import checked

UNLABELLED = -1
"""The label of an example whose class is not known; a real-valued label that is not known is NaN."""


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
            The raw inputs, one array ``[b, ...]`` or a list of b arrays whose shapes may differ (images of several
            sizes), and int32 labels ``[b]``, :data:`UNLABELLED` where the class is not known. Real-valued labels are
            float32 ``[b]`` or ``[b, k]``, NaN where they are not known.
        """
        ...

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of what the split holds; each reader says what of it is hashed."""
        ...


@dataclass(frozen=True)
class Domain:
    """One distribution of examples with a name.

    Attributes:
        name: for tables and error messages, for example ``"amazon"``.
        class_names: name of class 0, 1, …, C − 1, all different; none where the labels are real numbers.
        splits: record sources by name, usually ``train`` and ``test``.

    Raises:
        InputError: no name, repeated class names, none beside labels that are no real numbers, no splits, or an empty
            split.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]

    def __post_init__(self) -> None:
        if not self.name:
            raise input_error("name", got=repr(self.name), expected="a name for the domain")
        if not self.class_names and not (self.splits and all(map(_real_valued, self.splits.values()))):
            raise input_error("class_names", got="no classes", expected=f"at least one class in domain {self.name!r}")
        repeated = sorted({c for c in self.class_names if self.class_names.count(c) > 1})
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
        """The record source called ``name``; an unknown name raises an InputError with the nearest names."""
        return choose(f"split of domain {self.name!r}", name, self.splits)

    def labels(self, split: str) -> np.ndarray:
        """All labels of a split, int32 ``[n]``; without decoding inputs where the record source can.

        Real-valued ones are float32 ``[n]`` or ``[n, k]``.
        """
        return split_labels(self.split(split))

    @property
    def columns(self) -> int:
        """Outputs that a net for these labels has: C classes, or the k numbers of a real-valued label."""
        if self.class_names:
            return len(self.class_names)
        return max(1 if np.ndim(self.labels(split)) == 1 else self.labels(split).shape[1] for split in self.splits)

    def counts(self, split: str) -> np.ndarray:
        """Examples of each class in a split, ``[C]``; unlabelled examples are not counted."""
        labels = self.labels(split)
        return np.bincount(labels[labels != UNLABELLED], minlength=len(self.class_names))

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the name, the class names in order and the fingerprint of every split."""
        parts = [self.name, *self.class_names]
        parts += [f"{name}={self.splits[name].fingerprint()}" for name in sorted(self.splits)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def as_labels(values: Any) -> np.ndarray:
    """Labels in the type that a net takes: float32 for real numbers, int32 for classes."""
    found = np.asarray(values)
    return found.astype(np.float32 if np.issubdtype(found.dtype, np.floating) else np.int32, copy=False)


def unlabelled(labels: np.ndarray) -> np.ndarray:
    """Which examples have no label, ``[n]`` booleans, of labels in the type of :func:`as_labels`."""
    if np.issubdtype(labels.dtype, np.floating):
        return np.isnan(labels).reshape(len(labels), -1).any(1)
    return labels == UNLABELLED


def _real_valued(split: Split) -> bool:
    labels = getattr(split, "labels", None)
    return labels is not None and np.issubdtype(np.asarray(labels).dtype, np.floating)


def split_labels(split: Split) -> np.ndarray:
    """All labels of a record source, int32 ``[n]``, or float32 ``[n]`` or ``[n, k]``."""
    labels = getattr(split, "labels", None)
    if labels is not None:
        return as_labels(labels)
    chunks = [range(start, min(start + 1024, len(split))) for start in range(0, len(split), 1024)]
    return as_labels(np.concatenate([split.__getitems__(list(chunk))[1] for chunk in chunks]))


def check_seed(seed: object) -> None:
    """Checks that ``seed`` is an integer ≥ 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise input_error("seed", got=repr(seed), expected="an integer ≥ 0")


def stratified_holdout(labels: np.ndarray, fraction: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows into two parts that hold every class in the same proportion.

    Args:
        labels: ``[n]`` integers.
        fraction: share of each class, rounded to whole examples, that goes to the second part; at least one example
            of each class lands on either side.
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
    """Splits ``count`` rows into two parts at random, for labels that are no classes.

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
    """A domain that serves whole as training data and as test set."""
    return Domain(name, tuple(class_names), {"train": split, "test": split})


# Domains from arrays in memory.


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Examples in memory: ``inputs`` ``[n, ...]`` and ``labels``, int32 ``[n]``, or float32 ``[n]`` or ``[n, k]``."""

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(indices, np.intp)
        return self.inputs[rows], self.labels[rows]

    def fingerprint(self) -> str:
        """SHA-256 of shape, dtype and bytes of inputs and labels."""
        digest = hashlib.sha256()
        for array in (self.inputs, self.labels):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


@checked
def from_arrays(
    name: str,
    splits: Mapping[str, tuple[Any, Any]],
    *,
    class_names: Sequence[str] | None = None,
) -> Domain:
    """Domain from arrays.

    The arrays are not copied; the domain's view of them is read-only.

    Args:
        name: the domain's name.
        splits: for each split its inputs ``[n, ...]`` (numbers) and labels ``[n]`` (integers in [0, C)); None in the
            place of labels says that they are not known, which serves as target and in unlabelled passes only.
        class_names: names of the C classes; without them the classes are called ``"0"``, ``"1"``, … up to the largest
            label of any split. ``()`` says that the labels are real numbers, ``[n]`` or ``[n, k]``.

    Raises:
        InputError: empty splits, lengths that differ, labels that are not integers or out of range, NaN or infinity in
            the inputs (the first bad row is named), or no way to know the classes.
    """
    pairs = {split: _pair(f"{name}/{split}", xy) for split, xy in splits.items()}
    if class_names is not None and len(class_names) == 0 and not isinstance(class_names, str):
        return Domain(name, (), {split: ArraySplit(*_real(f"{name}/{split}", *xy)) for split, xy in pairs.items()})
    arrays = {split: _checked(f"{name}/{split}", *xy) for split, xy in pairs.items()}
    largest = max((int(y.max()) for _, y in arrays.values()), default=UNLABELLED)
    if class_names is None:
        if largest == UNLABELLED:
            raise input_error(
                "class_names",
                got=f"None, and domain {name!r} has no labels",
                expected="the names of the classes",
                todo="pass class_names=(…), usually those of the source",
            )
        class_names = [str(label) for label in range(largest + 1)]
    elif isinstance(class_names, str):
        raise input_error("class_names", got=f"the text {class_names!r}", expected="a sequence of names")
    for split, (_, labels) in arrays.items():
        bad = np.flatnonzero(labels >= len(class_names))
        if len(bad):
            raise input_error(
                f"labels of {name}/{split}",
                got=f"label {labels[bad[0]]} in row {bad[0]}",
                expected=f"integers in [0, {len(class_names)}), one for each of the {len(class_names)} class names",
            )
    return Domain(name, tuple(map(str, class_names)), {split: ArraySplit(*xy) for split, xy in arrays.items()})


def _pair(where: str, pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise input_error(f"splits, {where}", got=type(pair).__name__, expected="a pair (inputs, labels)")
    return pair[0], pair[1]


def _inputs(where: str, inputs: Any) -> np.ndarray:
    """The inputs as a read-only view, checked."""
    try:
        x = np.asarray(inputs).view()
    except ValueError:  # rows of several lengths
        raise input_error(f"inputs of {where}", got="rows of several shapes", expected="one array [n, ...]") from None
    if x.ndim < 1 or len(x) == 0:
        raise input_error(f"inputs of {where}", got=f"shape {x.shape}", expected="at least one example, [n, ...]")
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool) or x.dtype.kind == "c":
        raise input_error(
            f"inputs of {where}",
            got=f"dtype {x.dtype}",
            expected="real numbers",
            todo="encode the inputs as numbers first",
        )
    if jnp.issubdtype(x.dtype, jnp.inexact):
        _check_finite(where, x)
    x.flags.writeable = False
    return x


def _real(where: str, inputs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and real-valued labels as float32, both checked."""
    x = _inputs(where, inputs)
    if labels is None:
        return x, np.full(len(x), np.nan, np.float32)
    y = np.asarray(labels)
    if y.ndim not in (1, 2) or len(y) != len(x) or y.size == 0:
        expected = f"shape ({len(x)},) or ({len(x)}, k)"
        raise input_error(f"labels of {where}", got=f"shape {y.shape} beside inputs {x.shape}", expected=expected)
    if y.dtype.kind != "f":
        todo = "labels.astype('float32'), or name the classes"
        raise input_error(f"labels of {where}", got=f"dtype {y.dtype}", expected="real numbers", todo=todo)
    y = y.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(y).reshape(len(y), -1).all(1))
    if len(bad):
        got = f"NaN, infinity or too large for float32, first in row {bad[0]}"
        raise input_error(f"labels of {where}", got=got, expected="finite numbers", todo="repair or drop the row")
    return x, y


def _checked(where: str, inputs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    x = _inputs(where, inputs)
    y = np.full(len(x), UNLABELLED, np.int32) if labels is None else np.asarray(labels)
    if y.shape != (len(x),):
        raise input_error(
            f"labels of {where}", got=f"shape {y.shape} beside inputs {x.shape}", expected=f"shape ({len(x)},)"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise input_error(
            f"labels of {where}", got=f"dtype {y.dtype}", expected="integers", todo="labels.astype('int32')"
        )
    if labels is not None and y.min() < 0:
        row = int(np.flatnonzero(y < 0)[0])
        raise input_error(
            f"labels of {where}",
            got=f"label {y[row]} in row {row}",
            expected="integers ≥ 0",
            todo="for a split without labels pass None in their place",
        )
    return x, y.astype(np.int32)


def _check_finite(where: str, x: np.ndarray) -> None:
    for start in range(0, len(x), 4096):
        chunk = x[start : start + 4096]
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            raise non_finite(where, start + int(np.argmin(finite)))


def non_finite(where: str, row: int) -> InputError:
    """The error for NaN or infinity in the inputs of ``where`` (``domain/split``), first met in ``row``."""
    return input_error(
        f"inputs of {where}",
        got=f"NaN or infinity, first in row {row}",
        expected="finite numbers",
        todo="repair or drop the row",
    )
