"""Domains of arrays in memory, checked on entry."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.options import checked
from dalib.data.domain import UNLABELLED, Domain, check_range, counted_names

LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Examples in memory: ``inputs`` ``[n, ...]`` and ``labels``, int32 ``[n]``, or float32 ``[n]`` or ``[n, k]``.

    Inputs may be a matrix in scipy's CSR form ``[n, d]``, of which only the rows that are asked for become dense.
    """

    inputs: Any
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(indices, np.intp)
        inputs = self.inputs[rows]
        return inputs.toarray() if is_sparse(inputs) else inputs, self.labels[rows]

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, dtype and bytes of inputs and labels."""
        digest = hashlib.sha256()
        x = self.inputs
        parts = (np.array(x.shape), x.indptr, x.indices, x.data) if is_sparse(x) else (x,)
        for array in (*parts, self.labels):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def is_sparse(x: Any) -> bool:
    """Tell whether ``x`` is one of scipy's sparse matrices or arrays."""
    return hasattr(x, "tocsr")


@checked
def from_arrays(
    name: str,
    splits: Mapping[str, tuple[Any, Any]],
    *,
    class_names: Sequence[str] | None = None,
) -> Domain:
    """Make a domain from arrays, held as read-only views without copying.

    Args:
        name: the domain's name.
        splits: for each split its inputs ``[n, ...]`` (numbers, or a sparse matrix of scipy ``[n, d]``) and labels
            ``[n]`` (integers in [0, C)). None as labels means unknown; such a split serves as target and in unlabelled
            passes only.
        class_names: names of the C classes. Default: ``"0"``, ``"1"``, … up to the largest label of any split.
            ``()`` means real-valued labels, ``[n]`` or ``[n, k]``.

    Raises:
        InputError: empty splits, lengths that differ, labels that are not integers or out of range, inputs that are
            complex, not finite in float32, or integers outside int32 (with the first bad row), or unknown classes.
    """
    # Real-valued labels have no classes, and other rules.
    pairs = {split: _pair(f"{name}/{split}", xy) for split, xy in splits.items()}
    if class_names is not None and len(class_names) == 0 and not isinstance(class_names, str):
        return Domain(name, (), {split: ArraySplit(*_real(f"{name}/{split}", *xy)) for split, xy in pairs.items()})
    arrays = {split: _checked(f"{name}/{split}", *xy) for split, xy in pairs.items()}
    # The names come from the largest label of any split, so that train and test agree on them.
    largest = max((int(y.max()) for _, y in arrays.values()), default=UNLABELLED)
    if class_names is None:
        if largest == UNLABELLED:
            raise input_error(
                "class_names",
                got=f"None, and domain {name!r} has no labels",
                expected="the names of the classes",
                todo="pass class_names=(…), usually those of the source",
            )
        class_names = counted_names(largest)
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


def _inputs(where: str, inputs: Any) -> Any:
    """Check the inputs and return a read-only view; a sparse matrix in CSR form."""
    if is_sparse(inputs):
        return _sparse_inputs(where, inputs)
    try:
        x = np.asarray(inputs).view()
    except ValueError:  # rows of several lengths
        raise input_error(f"inputs of {where}", got="rows of several shapes", expected="one array [n, ...]") from None
    if x.ndim < 1 or x.size == 0:
        raise input_error(f"inputs of {where}", got=f"shape {x.shape}", expected="at least one example, [n, ...]")
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool) or x.dtype.kind == "c":
        todo = "encode the inputs as numbers first; of complex numbers for example real and imaginary part"
        raise input_error(f"inputs of {where}", got=f"dtype {x.dtype}", expected="real numbers", todo=todo)
    # Later, NaN would be a loss that is not finite, far from the row that it came from.
    if jnp.issubdtype(x.dtype, jnp.inexact):
        if len(bad := not_finite(x)):
            raise non_finite(where, int(bad[0]))
    elif x.dtype.itemsize == 8:
        check_range(f"inputs of {where}", x)  # JAX would wrap them to 32 bits
    # A view that someone writes to would change numbers without changing the fingerprint taken of them.
    x.flags.writeable = False
    return x


def _sparse_inputs(where: str, inputs: Any) -> Any:
    if inputs.ndim != 2 or 0 in inputs.shape or inputs.dtype.kind not in "biuf":
        got = f"a sparse matrix of shape {inputs.shape}, dtype {inputs.dtype}"
        raise input_error(f"inputs of {where}", got=got, expected="real numbers [n, d], n ≥ 1")
    rows = inputs.tocsr()
    if not rows.has_canonical_format:  # or equal matrices would have different fingerprints
        rows = rows.copy()
        rows.sum_duplicates()
    if rows.dtype.kind == "f" and len(bad := not_finite(rows.data)):
        raise non_finite(where, int(np.searchsorted(rows.indptr, bad[0], side="right")) - 1)
    if rows.dtype.itemsize == 8 and rows.dtype.kind in "iu" and rows.nnz:
        check_range(f"inputs of {where}", rows.data)
    return rows


def _real(where: str, inputs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, and real-valued labels as float32, both checked."""
    x = _inputs(where, inputs)
    if labels is None:
        return x, np.full(x.shape[0], np.nan, np.float32)
    y = np.asarray(labels)
    if y.ndim not in (1, 2) or len(y) != x.shape[0] or y.size == 0:
        expected = f"shape ({x.shape[0]},) or ({x.shape[0]}, k)"
        raise input_error(f"labels of {where}", got=f"shape {y.shape} for inputs {x.shape}", expected=expected)
    # Integers are refused: they may be classes that somebody forgot to name.
    if y.dtype.kind != "f":
        todo = "labels.astype('float32'), or name the classes"
        raise input_error(f"labels of {where}", got=f"dtype {y.dtype}", expected="real numbers", todo=todo)
    if len(bad := not_finite(y)):
        got = f"NaN, infinity or too large for float32, first in row {bad[0]}"
        raise input_error(f"labels of {where}", got=got, expected="finite numbers", todo="repair or drop the row")
    return x, y.astype(np.float32)


def _checked(where: str, inputs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    x = _inputs(where, inputs)
    y = np.full(x.shape[0], UNLABELLED, np.int32) if labels is None else np.asarray(labels)
    if y.shape != (x.shape[0],):
        raise input_error(
            f"labels of {where}", got=f"shape {y.shape} for inputs {x.shape}", expected=f"shape ({x.shape[0]},)"
        )
    # Floats would be cut to classes without a word.
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
    check_range(f"labels of {where}", y)
    return x, y.astype(np.int32)


def not_finite(x: np.ndarray) -> np.ndarray:
    """List the numbers of rows ``[n, …]`` with NaN, infinity, or a number too large for float32; read in blocks."""
    bad = [np.empty(0, np.intp)]
    for start in range(0, len(x), 1024):
        block = np.abs(x[start : start + 1024])
        bad.append(start + np.flatnonzero(~(block <= LARGEST).reshape(len(block), -1).all(axis=1)))
    return np.concatenate(bad)


def non_finite(where: str, row: int) -> InputError:
    """Make the error for NaN or infinity in the inputs of ``where`` (``domain/split``), first met in ``row``."""
    return input_error(
        f"inputs of {where}",
        got=f"NaN, infinity or too large for float32, first in row {row}",
        expected="finite numbers",
        todo="repair or drop the row",
    )
