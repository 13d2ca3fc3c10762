"""Checks that all scores share: arrays become finite float64 or integers here.

Each raises an InputError for another rank or length, and for numbers that are not finite. ``name`` is the argument's,
for the error; ``rows`` and ``columns`` are the sizes of other arguments (None allows any), ``least`` the smallest n.
"""

from typing import Any

import numpy as np

from dalib.core.checks import input_error


def matrix(name: str, x: Any, *, rows: int | None = None, columns: int | None = None, least: int = 1) -> np.ndarray:
    """Return ``x`` as float64 ``[n, d]``, d ≥ 1."""
    x = np.asarray(x, np.float64)
    wanted = f"finite [{rows or 'n'}, {columns or 'd'}]" + (f" with n ≥ {least}" if least > 1 else "")
    fits = x.ndim == 2 and 0 not in x.shape and len(x) >= least
    if not fits or (rows or len(x)) != len(x) or (columns or x.shape[1]) != x.shape[1]:
        raise input_error(name, got=f"shape {x.shape}", expected=wanted)
    if not np.isfinite(x).all():
        raise input_error(name, got=f"{int((~np.isfinite(x)).sum())} numbers that are not finite", expected=wanted)
    return x


def class_scores(name: str, x: Any, *, rows: int | None = None, classes: int | None = None) -> np.ndarray:
    """Return logits as float64 ``[n, C]``, C ≥ 2."""
    x = matrix(name, x, rows=rows, columns=classes)
    if x.shape[1] < 2:
        raise input_error(name, got=f"shape {x.shape}", expected="[n, C] with C ≥ 2 classes")
    return x


def classes_of(name: str, y: Any, *, classes: int, rows: int | None = None) -> np.ndarray:
    """Return labels as integers ``[n]`` in [0, C); an InputError for other numbers."""
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y) or (rows or len(y)) != len(y):
        raise input_error(name, got=f"{y.dtype}{list(y.shape)}", expected=f"integers [{rows or 'n'}]")
    if y.min() < 0 or y.max() >= classes:
        raise input_error(name, got=f"classes {y.min()} … {y.max()}", expected=f"0 … {classes - 1}")
    return y.astype(np.int64)


def vector(name: str, x: Any, *, rows: int | None = None, least: int = 1) -> np.ndarray:
    """Return ``x`` as float64 ``[n]``."""
    x = np.asarray(x, np.float64)
    if x.ndim != 1 or len(x) < least or (rows or len(x)) != len(x) or not np.isfinite(x).all():
        expected = f"finite numbers [{rows or 'n'}]" + (f" with n ≥ {least}" if least > 1 else "")
        raise input_error(name, got=f"shape {x.shape}" + ", or not finite" * (x.ndim == 1), expected=expected)
    return x


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the softmax along the classes, finite for finite logits."""
    # Shifted first, or large logits overflow.
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities ``[n, C]``."""
    return np.exp(log_softmax(logits))


def entropy_of(q: np.ndarray, axis: int = -1) -> np.ndarray:
    """``−Σ q ln q`` along an axis, with 0 · ln 0 = 0."""
    return -(q * np.log(np.where(q > 0, q, 1))).sum(axis)
