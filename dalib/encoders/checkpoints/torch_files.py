"""Checkpoints of PyTorch, in the zip format and the older one, read without PyTorch and without executing code."""

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.encoders.checkpoints import array_files
from dalib.encoders.checkpoints.pickles import read_pickle

# What torch's pickles build: tensors as views of storages, here numpy arrays over bytes.


DTYPES: dict[str, Any] = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": jnp.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
    "ComplexFloat": np.complex64,
    "ComplexDouble": np.complex128,
}


class StorageType(NamedTuple):
    """Stands in for ``torch.FloatStorage`` and its like."""

    dtype: np.dtype


class Storage(NamedTuple):
    """A flat array that tensors view."""

    array: np.ndarray


STORAGES: dict[str, StorageType] = {
    f"torch.{name}Storage": StorageType(np.dtype(dtype)) for name, dtype in DTYPES.items()
} | {"torch.storage.UntypedStorage": StorageType(np.dtype(np.uint8))}


def tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = None,
    hooks: Any = None,
    metadata: Any = None,
) -> np.ndarray:
    """A tensor ``[*size]`` as a read-only view of its storage; the view must lie inside it."""
    del requires_grad, hooks, metadata
    if not isinstance(storage, Storage) or not all(
        isinstance(n, int) and n >= 0 for n in (offset, *_numbers(size), *_numbers(stride))
    ):
        raise ValueError("a tensor of something else than a storage, an offset, sizes and strides")
    if len(size) != len(stride):
        raise ValueError(f"{len(size)} sizes and {len(stride)} strides")
    flat = storage.array
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, flat.dtype)
    if last >= flat.size or math.prod(size) > flat.size:
        raise ValueError(f"a tensor of {math.prod(size)} elements up to number {last} of a storage of {flat.size}")
    strides = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], tuple(size), strides, writeable=False)


def _numbers(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise ValueError("sizes and strides must be tuples")
    return tuple(value)


def parameter(data: Any, requires_grad: Any = None, hooks: Any = None, state: Any = None) -> Any:
    """``torch.nn.Parameter`` is its data."""
    del requires_grad, hooks, state
    return data


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


REBUILD: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
}


def allowed() -> dict[str, Callable[..., Any]]:
    """The globals of a ``state_dict`` with our stand-ins, a new table for every file."""
    table: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": _ordered_dict,
        "torch.Size": tuple,
        "torch.device": lambda *names: ":".join(map(str, names)),
    }
    return table | REBUILD | array_files.allowed() | {name: _not_called(name) for name in STORAGES}


def _not_called(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        raise ValueError(f"{name} is called")

    return call


def storage_type(value: Any, path: str) -> StorageType:
    """The dtype of a storage from the global that names it."""
    name = getattr(value, "name", None)
    if name not in STORAGES:
        raise input_error(
            "path", got=f"{path}, with a storage of type {name or type(value).__name__}", expected="torch's own types"
        )
    return STORAGES[name]


# torch's ``.pth`` and ``.th`` before 1.6: five pickles in a row, then the storages as raw bytes.


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
            shapes[key] = _Shape(storage_type(storage, name).dtype, count)

        first = allowed() | {name: lambda *arguments: None for name in REBUILD}
        read_pickle(file, first, name=name, persistent=note)
        keys = read_pickle(file, {}, name=name)
        if not isinstance(keys, list) or any(not isinstance(k, str) for k in keys) or set(keys) != set(shapes):
            raise input_error("path", got=f"{name}, whose list of storages does not fit", expected="a complete file")
        storages = {key: Storage(_storage(file, key, shapes[key], name)) for key in keys}
        file.seek(begin)
        find = lambda identity: storages[_identity(identity)[0]]  # noqa: E731
        return read_pickle(file, allowed(), name=name, persistent=find)


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


# torch's ``.pth`` since 1.6: a zip with ``data.pkl`` and one uncompressed member a storage.


def read_torch_zip(path: str | os.PathLike[str]) -> Any:
    """The object that ``torch.save`` wrote, with numpy arrays for tensors.

    Raises:
        InputError: for a damaged zip, a member outside the archive's folder, or a pickle that asks for more than data.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, error) from None
    with archive:
        check_members(archive, path)
        found = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(found) != 1:
            raise input_error("path", got=f"{path}, a zip without one data.pkl", expected="a file of torch.save")
        folder = found[0].split("/")[0]
        order = _member(archive, f"{folder}/byteorder", path) if f"{folder}/byteorder" in archive.namelist() else b""
        if order.strip() == b"big":
            raise input_error("path", got=f"{path}, written on a big-endian machine", expected="little-endian storages")
        storages: dict[str, Storage] = {}

        def persistent(identity: Any) -> Storage:
            kind, storage, key, _, count = identity
            if kind != "storage" or not isinstance(key, str) or "/" in key or not isinstance(count, int) or count < 0:
                raise ValueError("a persistent id of something else than a storage")
            if key not in storages:
                dtype = storage_type(storage, str(path)).dtype
                data = _member(archive, f"{folder}/data/{key}", path)
                size = count * dtype.itemsize
                if len(data) < size:
                    raise ValueError(f"storage {key} has {len(data)} bytes, its type and length ask for {size}")
                storages[key] = Storage(np.frombuffer(data, dtype, count))
            return storages[key]

        pickle = io.BytesIO(_member(archive, found[0], path))
        return read_pickle(pickle, allowed(), name=str(path), persistent=persistent)


def check_members(archive: zipfile.ZipFile, path: str | os.PathLike[str]) -> None:
    """Refuses names that would leave the folder they are unpacked into, although nothing here unpacks any."""
    for name in archive.namelist():
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
            raise input_error(
                "path",
                got=f"{path}, with a member named {name!r}",
                expected="members inside the archive's own folder",
                todo="do not trust the file",
            )


def _member(archive: zipfile.ZipFile, name: str, path: str | os.PathLike[str]) -> bytes:
    try:
        # torch stores without compressing: nothing can be longer than the file.
        if archive.getinfo(name).file_size > os.path.getsize(path):
            raise ValueError(f"the member {name} would unpack to more than the whole file")
        return archive.read(name)
    except (KeyError, zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str | os.PathLike[str], error: Exception) -> Exception:
    return input_error("path", got=f"{path} ({error})", expected="a complete zip file", todo="fetch it again")
