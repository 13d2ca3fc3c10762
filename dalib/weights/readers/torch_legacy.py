"""torch's ``.pth`` and ``.th`` before 1.6: five pickles in a row, then the storages as raw bytes."""

import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.checks import input_error
from dalib.weights.readers import torch_tensors as tensors
from dalib.weights.readers.pickles import read_pickle

START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle: torch's magic number."""
PROTOCOL = 1001


class _Shape(NamedTuple):
    dtype: np.dtype
    length: int


def read_torch_legacy(path: str | os.PathLike[str]) -> Any:
    """The object that an older ``torch.save`` wrote, with numpy arrays for tensors.

    The storages come after the pickle that refers to them, so it is read twice: for their types, then for the object.

    Raises:
        InputError: for a damaged or truncated file, or a pickle that asks for more than data.
    """
    name = str(path)
    with Path(path).open("rb") as file:
        magic = file.read(len(START))
        if magic != START or read_pickle(file, {}, name=name) != PROTOCOL:
            raise input_error("path", got=name, expected="torch's older format", todo="fetch the file again")
        system = read_pickle(file, {}, name=name)
        if not (isinstance(system, dict) and system.get("little_endian", True)):
            raise input_error("path", got=f"{name}, written on a big-endian machine", expected="little-endian storages")
        begin = file.tell()
        shapes: dict[str, _Shape] = {}

        def note(identity: Any) -> None:
            key, storage, count, view = _identity(identity)
            if view is not None:
                raise ValueError("a view of a storage, as of torch 0.1")
            shapes[key] = _Shape(tensors.storage_type(storage, name).dtype, count)

        first = tensors.allowed() | {name: lambda *arguments: None for name in tensors.REBUILD}
        read_pickle(file, first, name=name, persistent=note)
        keys = read_pickle(file, {}, name=name)
        if not isinstance(keys, list) or any(not isinstance(k, str) for k in keys) or set(keys) != set(shapes):
            raise input_error("path", got=f"{name}, whose list of storages does not fit", expected="a complete file")
        storages = {key: tensors.Storage(_storage(file, key, shapes[key], name)) for key in keys}
        file.seek(begin)
        find = lambda identity: storages[_identity(identity)[0]]  # noqa: E731
        return read_pickle(file, tensors.allowed(), name=name, persistent=find)


def _identity(identity: Any) -> tuple[str, Any, int, Any]:
    kind, storage, key, _, count, *view = identity
    if kind != "storage" or not isinstance(key, str) or not isinstance(count, int) or count < 0:
        raise ValueError("a persistent id of something else than a storage")
    return key, storage, count, view[0] if view else None


def _storage(file: Any, key: str, shape: _Shape, name: str) -> np.ndarray:
    head = file.read(8)
    size = shape.length * shape.dtype.itemsize
    rest = os.fstat(file.fileno()).st_size - file.tell()
    if len(head) < 8 or struct.unpack("<q", head)[0] != shape.length or rest < size:
        raise input_error(
            "path",
            got=f"{name}, which ends or is damaged in storage {key} ({rest} of {size} bytes left)",
            expected="a complete file",
            todo="fetch it again",
        )
    return np.frombuffer(file.read(size), shape.dtype)
