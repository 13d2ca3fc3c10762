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
from dalib.encoders.checkpoints.pickles import Global, read_pickle

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
STORAGES: dict[str, np.dtype] = {f"torch.{name}Storage": np.dtype(dtype) for name, dtype in DTYPES.items()}
STORAGES["torch.storage.UntypedStorage"] = np.dtype(np.uint8)
MOST_AXES = 64
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""End of the first pickle of the older format, torch's magic number, in every protocol from 2."""
PROTOCOL = 1001


class Storage(NamedTuple):
    """A flat array that tensors view."""

    array: np.ndarray


# Objects of torch's pickles: tensors as views of storages, here numpy arrays over bytes.


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """Return a tensor ``[*size]`` as a read-only view, which must be inside its storage."""
    del rest  # whether it has a gradient, and hooks
    if not isinstance(storage, Storage) or not isinstance(size, tuple | list) or not isinstance(stride, tuple | list):
        raise ValueError("a tensor of something else than a storage, an offset, sizes and strides")
    if not all(isinstance(n, int) and 0 <= n < 2**63 for n in (offset, *size, *stride)):
        raise ValueError("a tensor with an offset, size or stride that is no count")
    if len(size) != len(stride) or len(size) > MOST_AXES:
        raise ValueError(f"{len(size)} sizes and {len(stride)} strides")
    flat = storage.array
    if 0 in size:
        return np.zeros(size, flat.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= flat.size or math.prod(size) > flat.size:
        raise ValueError(f"a tensor of {math.prod(size)} elements up to number {last} of a storage of {flat.size}")
    strides = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], tuple(size), strides, writeable=False)


def _first(data: Any, *rest: Any) -> Any:
    """Return the data of a ``torch.nn.Parameter``."""
    del rest
    return data


def _of_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """Return the plain tensor of a subclass, or of one with attributes."""
    del kind, state
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise ValueError("a tensor of an unknown form")
    return function.call(*arguments)


def _device(*names: Any) -> str:
    return ":".join(str(name) for name in names if isinstance(name, str | int))


def _not_called(*arguments: Any) -> Any:
    raise ValueError("a type of torch is called")


REBUILD: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
}


def allowed() -> dict[str, Callable[..., Any]]:
    """Map a ``state_dict``'s globals to the functions that replace them, in a new table for every file."""
    table: dict[str, Callable[..., Any]] = {"torch.Size": tuple, "torch.device": _device}
    return table | REBUILD | array_files.allowed() | dict.fromkeys(STORAGES, _not_called)


class _Identity(NamedTuple):
    """Key, dtype and number of elements of a storage that a pickle refers to."""

    key: str
    dtype: np.dtype
    length: int


def _identity(identity: Any) -> _Identity:
    kind, storage, key, _, count, *view = identity
    if kind != "storage" or not isinstance(key, str) or "/" in key or not isinstance(count, int) or count < 0:
        raise ValueError("a persistent id of something else than a storage")
    if view and view[0] is not None:
        raise ValueError("a view of a storage, as of torch 0.1")
    name = getattr(storage, "name", type(storage).__name__)
    if name not in STORAGES:
        raise ValueError(f"a storage of type {name}, not one of torch's own")
    return _Identity(key, STORAGES[name], count)


# torch's ``.pth`` and ``.th`` before 1.6: five pickles in a row, then the storages as raw bytes.


def is_legacy(start: bytes) -> bool:
    """Tell whether a file that starts so is of the older format."""
    return start[:1] == b"\x80" and MAGIC in start


def read_torch_legacy(path: str | os.PathLike[str]) -> Any:
    """Read the object of an older ``torch.save``, with numpy arrays for tensors.

    The storages come after the pickle that refers to them, so it is read twice: for their types, then for the object.

    Raises:
        InputError: for a damaged or truncated file, or a pickle that asks for more than data.
    """
    name = str(path)
    # Three small pickles come first: a magic number, the version, and the machine that wrote it.
    with Path(path).open("rb") as file:
        read_pickle(file, {}, name=name)  # the magic number
        if read_pickle(file, {}, name=name) != PROTOCOL:
            raise input_error("path", got=name, expected="torch's older format", todo="fetch the file again")
        system = read_pickle(file, {}, name=name)
        if not (isinstance(system, dict) and system.get("little_endian", True)):
            raise input_error("path", got=f"{name}, written on a big-endian machine", expected="little-endian storages")
        begin = file.tell()
        found: dict[str, _Identity] = {}

        def note(identity: Any) -> None:
            one = _identity(identity)
            found[one.key] = one

        # First time through: tensors are dropped, and only the storages that they name are noted.
        first = allowed() | {name: lambda *arguments: None for name in REBUILD}
        read_pickle(file, first, name=name, persistent=note)
        keys = read_pickle(file, {}, name=name)
        if not isinstance(keys, list) or any(not isinstance(k, str) for k in keys) or set(keys) != set(found):
            raise input_error("path", got=f"{name}, with an unfit list of storages", expected="a complete file")
        # Now their sizes are known, so the bytes can be read and the pickle gone through again.
        storages = {key: Storage(_storage(file, found[key], name)) for key in keys}
        file.seek(begin)
        find = lambda identity: storages[_identity(identity).key]  # noqa: E731
        return read_pickle(file, allowed(), name=name, persistent=find)


def _storage(file: Any, wanted: _Identity, name: str) -> np.ndarray:
    head = file.read(8)
    size = wanted.length * wanted.dtype.itemsize
    # Compared with the rest of the file first: a damaged length must not allocate memory.
    rest = os.fstat(file.fileno()).st_size - file.tell()
    if len(head) < 8 or struct.unpack("<q", head)[0] != wanted.length or rest < size:
        raise input_error(
            "path",
            got=f"{name}, which ends or is damaged in storage {wanted.key[:80]} ({rest} of {size} bytes left)",
            expected="a complete file",
            todo="fetch it again",
        )
    return np.frombuffer(file.read(size), wanted.dtype)


# torch's ``.pth`` since 1.6: a zip with ``data.pkl`` and one uncompressed member a storage.


def read_torch_zip(path: str | os.PathLike[str]) -> Any:
    """Read the object of ``torch.save``, with numpy arrays for tensors.

    Raises:
        InputError: for a damaged zip, members that unpack to more than the file, or a pickle that asks for more than
            data.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise damaged(path, error) from None
    with archive:
        # torch stores without compressing: all members together can't be longer than the file.
        if sum(member.file_size for member in archive.infolist()) > os.path.getsize(path):
            raise damaged(path, "its members would unpack to more than the whole file")
        found = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(found) != 1:
            raise input_error("path", got=f"{path}, a zip without one data.pkl", expected="a file of torch.save")
        folder = found[0].split("/")[0]
        order = _member(archive, f"{folder}/byteorder", path) if f"{folder}/byteorder" in archive.namelist() else b""
        if order.strip() == b"big":
            raise input_error("path", got=f"{path}, written on a big-endian machine", expected="little-endian storages")
        # Each storage is read once, however many tensors view it.
        storages: dict[str, Storage] = {}

        def persistent(identity: Any) -> Storage:
            key, dtype, count = _identity(identity)
            if key not in storages:
                data = _member(archive, f"{folder}/data/{key}", path)
                if len(data) < count * dtype.itemsize:
                    raise ValueError(f"storage {key} has {len(data)} bytes, {count * dtype.itemsize} are asked for")
                storages[key] = Storage(np.frombuffer(data, dtype, count))
            return storages[key]

        pickle = io.BytesIO(_member(archive, found[0], path))
        return read_pickle(pickle, allowed(), name=str(path), persistent=persistent)


def check_members(archive: zipfile.ZipFile, path: str | os.PathLike[str]) -> None:
    """Refuse names that would leave their folder when unpacked, although nothing here unpacks any."""
    for name in archive.namelist():
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
            raise input_error(
                "path",
                got=f"{path}, with a member named {name[:200]!r}",
                expected="members inside the archive's own folder",
                todo="do not trust the file",
            )


def _member(archive: zipfile.ZipFile, name: str, path: str | os.PathLike[str]) -> bytes:
    try:
        return archive.read(name)
    except Exception as error:  # zipfile, zlib, lzma and struct have errors of their own for damaged bytes
        raise damaged(path, error) from None


def damaged(path: str | os.PathLike[str], error: Exception | str) -> Exception:
    """Make the error for a zip that cannot be read."""
    got = f"{path} ({str(error)[:200]})"
    return input_error("path", got=got, expected="a complete zip file", todo="fetch it again")
