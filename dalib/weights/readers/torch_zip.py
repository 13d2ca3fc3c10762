"""torch's ``.pth`` since 1.6: a zip with ``data.pkl`` and one uncompressed member a storage."""

import io
import os
import zipfile
from typing import Any

import numpy as np

from dalib.checks import input_error
from dalib.weights.readers import torch_tensors as tensors
from dalib.weights.readers.pickles import read_pickle


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
        storages: dict[str, tensors.Storage] = {}

        def persistent(identity: Any) -> tensors.Storage:
            kind, storage, key, _, count = identity
            if kind != "storage" or not isinstance(key, str) or "/" in key or not isinstance(count, int) or count < 0:
                raise ValueError("a persistent id of something else than a storage")
            if key not in storages:
                dtype = tensors.storage_type(storage, str(path)).dtype
                data = _member(archive, f"{folder}/data/{key}", path)
                size = count * dtype.itemsize
                if len(data) < size:
                    raise ValueError(f"storage {key} has {len(data)} bytes, its type and length ask for {size}")
                storages[key] = tensors.Storage(np.frombuffer(data, dtype, count))
            return storages[key]

        pickle = io.BytesIO(_member(archive, found[0], path))
        return read_pickle(pickle, tensors.allowed(), name=str(path), persistent=persistent)


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
