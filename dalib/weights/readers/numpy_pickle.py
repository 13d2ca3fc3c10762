"""Pickles of numpy arrays in dictionaries and lists, and what they and torch's pickles build of numpy."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dalib.weights.readers.pickles import Setter, read_pickle


def read_numpy_pickle(path: str | os.PathLike[str]) -> Any:
    """The object of a pickle that holds numpy arrays, numbers, strings and containers of them.

    Raises:
        InputError: for a damaged pickle, or one that asks for more than data.
    """
    with Path(path).open("rb") as file:
        return read_pickle(file, allowed(), name=str(path))


def allowed() -> dict[str, Callable[..., Any]]:
    """The globals of numpy's pickles with our stand-ins, a new table for every file."""
    table: dict[str, Callable[..., Any]] = {"numpy.dtype": _dtype, "numpy.ndarray": _not_called}
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray._reconstruct"] = lambda kind, shape, code: Setter(_array)
        table[f"{core}.multiarray.scalar"] = _scalar
        table[f"{core}.numeric._frombuffer"] = _from_buffer
    # Bytes in a pickle of protocol 2.
    return table | {"_codecs.encode": _encode}


def _dtype(code: Any, align: Any = False, copy: Any = False) -> Setter:
    del align, copy
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biufc][0-9]{1,2}|\?)", code):
        raise ValueError("an array of other than numbers")

    def state(values: Any) -> Setter:
        order, *structure = values[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise ValueError("an array of a structured dtype")
        return Setter(state, np.dtype(code).newbyteorder(order))

    return Setter(state, np.dtype(code))


def _finished(dtype: Any) -> np.dtype:
    if not isinstance(dtype, Setter) or not isinstance(dtype.value, np.dtype):
        raise ValueError("an array without a dtype")
    return dtype.value


def _array(values: Any) -> np.ndarray:
    _, shape, dtype, fortran, data = values
    if not isinstance(data, bytes) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("an array of objects")
    return np.frombuffer(data, _finished(dtype)).reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return np.frombuffer(data, _finished(dtype), 1)[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if order not in ("C", "F"):
        raise ValueError("an array in an unknown order")
    return np.frombuffer(bytes(data), _finished(dtype)).reshape(shape, order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin-1")


def _not_called(*arguments: Any) -> Any:
    raise ValueError("numpy.ndarray is called")
