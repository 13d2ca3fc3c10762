"""safetensors files as views of a memory map: an array's bytes are read when it is used."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dalib.checks import input_error

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
