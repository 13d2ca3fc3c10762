"""Files of named arrays: safetensors, NumPy's npz and pickles, and model folders of the Hugging Face hub."""

import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.encoders.checkpoints.pickles import Foreign, Setter, pairs, read_pickle

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
MOST_UNPACKED, MOST_RATIO = 2**26, 100
"""Bytes that an ``.npz`` may unpack to, and the ratio allowed above that: weights hardly compress."""
LARGEST_INDEX = 64 << 20
"""Bytes of an index; the index of a model of 100,000 arrays has 10 MB."""


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a safetensors file's arrays as read-only views of a memory map.

    Raises:
        InputError: for a damaged or truncated file (the library checks the header), or a dtype that numpy lacks.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    # The library checks the header and every range in it; the views below rely on that.
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        got = f"{path} ({str(error)[:200]})"
        raise input_error(
            "path", got=got, expected="a complete safetensors file", todo="write or fetch it again"
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
            raise input_error(
                "path", got=f"{path}, with {name[:80]} of dtype {entry['dtype']}", expected=", ".join(DTYPES)
            )
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        arrays[name] = np.ndarray(shape, dtype, buffer=data, offset=entry["data_offsets"][0])
    return arrays


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the numeric arrays of an ``.npz`` file; strings are left out.

    Raises:
        InputError: for a damaged file, one that unpacks to far more than it holds, or an array of objects, which only a
            pickle can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max(MOST_UNPACKED, MOST_RATIO * os.path.getsize(path)):
            raise ValueError(f"{unpacked:,} bytes when unpacked")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy, zipfile, zlib and struct have errors of their own for damaged bytes
        raise input_error(
            "path",
            got=f"{path} ({str(error)[:200]})",
            expected="a complete .npz file of numbers",
            todo="fetch it again; an array of objects is refused, since reading it would execute code",
        ) from None
    return {name: x for name, x in arrays.items() if isinstance(x, np.ndarray) and x.dtype.kind in "biufc"}


# Pickles of numpy arrays in dictionaries and lists, and numpy's part of torch's pickles.


def read_numpy_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of numpy arrays, numbers, strings and containers; a damaged one is an InputError."""
    with Path(path).open("rb") as file:
        return read_pickle(file, allowed(), name=str(path))


def allowed() -> dict[str, Callable[..., Any]]:
    """Map the globals of numpy's pickles and dictionaries to the functions that replace them."""
    table: dict[str, Callable[..., Any]] = {"numpy.dtype": _dtype, "numpy.ndarray": _not_called}
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray._reconstruct"] = lambda kind, shape, code: Setter(_array)
        table[f"{core}.multiarray.scalar"] = _scalar
        table[f"{core}.numeric._frombuffer"] = _from_buffer
    table |= {"collections.OrderedDict": _ordered_dict, "collections.defaultdict": lambda *factory: {}}
    # Bytes in a pickle of protocol 2.
    return table | {"_codecs.encode": _encode}


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    if not isinstance(items, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in items
    ):
        raise ValueError("a dictionary of something else than pairs")
    return pairs([part for pair in items for part in pair])


OTHER = Foreign("numpy.dtype of other than numbers")


def _dtype(code: Any, *flags: Any) -> Any:
    del flags  # whether to align and copy
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biufc][0-9]{1,2}|\?)", code):
        return OTHER

    def state(values: Any) -> Any:
        order, *structure = values[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            return OTHER
        return np.dtype(code).newbyteorder(order)

    return Setter(state, np.dtype(code))


def _made(data: Any, dtype: Any, make: Callable[[np.dtype], Any]) -> Any:
    """Make an array of numbers from bytes; one of anything else (strings, objects) is foreign."""
    dtype = dtype.value if isinstance(dtype, Setter) else dtype
    if isinstance(dtype, Foreign):
        return Foreign("numpy.ndarray of other than numbers")
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray):
        raise ValueError("an array without a dtype or bytes")
    return make(dtype)


def _array(values: Any) -> Any:
    _, shape, dtype, fortran, data = values
    order: Any = "F" if fortran else "C"
    return _made(data, dtype, lambda dtype: np.frombuffer(data, dtype).reshape(_sizes(shape), order=order))


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _made(data, dtype, lambda dtype: np.frombuffer(data, dtype, 1)[0])


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    if order not in ("C", "F"):
        raise ValueError("an array in an unknown order")
    return _made(data, dtype, lambda dtype: np.frombuffer(data, dtype).reshape(_sizes(shape), order=order))


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > 64 or not all(isinstance(n, int) and 0 <= n < 2**63 for n in shape):
        raise ValueError("an array with a shape that is no counts")
    return shape


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin-1")


def _not_called(*arguments: Any) -> Any:
    raise ValueError("numpy.ndarray is called")


# A model's folder in the layout of the Hugging Face hub: one file, or shards with an index.
NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files looked for, in this order."""


def read_folder(path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Read the arrays of a model's folder; ``read`` reads one file.

    Raises:
        InputError: for a folder without weights, or an index that is damaged, names missing or foreign files or other
            arrays than the shards hold.
    """
    found = next((path / name for name in NAMES if (path / name).is_file()), None)
    if found is None:
        raise input_error(
            "path", got=f"the folder {path}", expected=f"one of {', '.join(NAMES)} in it", todo="name the file itself"
        )
    if found.suffix != ".json":
        return read(found)
    index = _weight_map(found)
    # An index comes with the file and may name anything: only files of this folder are opened.
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(set(index.values())):
        if shard != Path(shard).name or shard in ("", ".", "..") or "\\" in shard or not os.path.isfile(path / shard):
            got = f"{found}, which names the file {shard[:80]!r}"
            raise input_error("path", got=got, expected="files that are in the same folder")
        for name, x in read(path / shard).items():
            if index.get(name) != shard:
                got, where = f"{name[:80]} in {path / shard}", index.get(name, "no shard")[:80]
                raise input_error("path", got=got, expected=f"it in {where}, as {found} says")
            arrays[name] = x
    # A shard that was cut short shows only against the index.
    if missing := sorted(index.keys() - arrays.keys()):
        shown = ", ".join(name[:80] for name in missing[:10]) + f" … ({len(missing)} in all)" * (len(missing) > 10)
        raise input_error("path", got=f"shards of {found} without {shown}", expected="all that it lists")
    return arrays


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > LARGEST_INDEX:
        got = f"{path} of {path.stat().st_size >> 20} MiB"
        raise input_error("path", got=got, expected=f"an index of at most {LARGEST_INDEX >> 20} MiB")
    try:
        # A foreign index may be anything: its size is bounded above, and its form is checked before it is used.
        index: Any = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        got = f"{path} ({str(error)[:200] or type(error).__name__})"
        raise input_error("path", got=got, expected="an index with a weight_map") from None
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise input_error("path", got=path, expected="a weight_map from names of arrays to names of files")
    return index
