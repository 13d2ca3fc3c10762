"""Files of named arrays: safetensors, NumPy's npz and pickles, and model folders of the Hugging Face hub."""

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.encoders.checkpoints.pickles import Setter, read_pickle

# safetensors files as views of a memory map: an array's bytes are read when it is used.


DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, read-only views of a memory map of it.

    Raises:
        InputError: for a damaged or truncated file (the library checks the header), or a dtype that numpy lacks.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise input_error(
            "path", got=f"{path} ({error})", expected="a complete safetensors file", todo="write or fetch it again"
        ) from None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    # An empty map is not allowed; a file without arrays has none to show.
    data: Any = np.memmap(path, np.uint8, "r", offset=8 + length) if path.stat().st_size > 8 + length else b""
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise input_error("path", got=f"{path}, with {name} of dtype {entry['dtype']}", expected=", ".join(DTYPES))
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        arrays[name] = np.ndarray(shape, dtype, buffer=data, offset=entry["data_offsets"][0])
    return arrays


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The numeric arrays of an ``.npz`` file; strings are left out.

    Raises:
        InputError: for a damaged file or an array of objects, which only a pickle can hold.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise input_error(
            "path",
            got=f"{path} ({error})",
            expected="a complete .npz file of numbers",
            todo="fetch it again; an array of objects is refused, since reading it would execute code",
        ) from None
    return {name: x for name, x in arrays.items() if isinstance(x, np.ndarray) and x.dtype.kind in "biufc"}


# Pickles of numpy arrays in dictionaries and lists, and what they and torch's pickles build of numpy.


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


# A model's folder in the layout of the Hugging Face hub: one file, or shards with an index.


NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files looked for, in this order."""
LARGEST_INDEX = 64 << 20
"""Bytes of an index; that of a model of 100,000 arrays has 10 MB."""


def read_folder(path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a model's folder.

    Args:
        path: the folder.
        read: reads one file of it.

    Raises:
        InputError: for a folder without weights, or an index that names missing or foreign files or other arrays than
            the shards hold.
    """
    found = next((path / name for name in NAMES if (path / name).is_file()), None)
    if found is None:
        raise input_error(
            "path", got=f"the folder {path}", expected=f"one of {', '.join(NAMES)} in it", todo="name the file itself"
        )
    if found.suffix != ".json":
        return read(found)
    index = _weight_map(found)
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(set(index.values())):
        if shard != Path(shard).name or shard in ("", ".", "..") or "\\" in shard:
            raise input_error(
                "path", got=f"{found}, which names the file {shard[:80]!r}", expected="files beside the index"
            )
        for name, x in read(path / shard).items():
            if index.get(name) != shard:
                where = index.get(name, "no shard")[:80]
                raise input_error("path", got=f"{name} in {path / shard}", expected=f"it in {where}, as {found} says")
            arrays[name] = x
    if missing := sorted(index.keys() - arrays.keys()):
        shown = ", ".join(name[:80] for name in missing[:10])
        got = f"shards of {found} without {shown}" + f" … ({len(missing)} in all)" * (len(missing) > 10)
        raise input_error("path", got=got, expected="all that it lists")
    return arrays


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > LARGEST_INDEX:
        got = f"{path} of {path.stat().st_size >> 20} MiB"
        raise input_error("path", got=got, expected=f"an index of at most {LARGEST_INDEX >> 20} MiB")
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise input_error("path", got=f"{path} ({str(error)[:200]})", expected="an index with a weight_map") from None
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise input_error("path", got=path, expected="a weight_map from names of arrays to names of files")
    return index
