"""Arrays out of ``.npz`` archives and MATLAB files of unknown origin: nothing is unpickled, and memory is bounded."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.data.readers.files.archives import ALWAYS, RATIO

SUFFIX = ".npy"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(where: str, path: Path, wanted: Sequence[str] | None = None) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the arrays of an ``.npz`` archive.

    The headers are read first: an array may take what its archive says and, where that is more than 64 MiB, at most
    200 times the archive's own size.

    Args:
        where: for messages.
        path: the archive.
        wanted: names of the arrays to read where they are there; all of them by default.

    Returns:
        The arrays by name, and the names of all arrays in the archive.

    Raises:
        InputError: not an archive, a damaged one, arrays of objects, or more bytes than allowed.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            members = {info.filename.removesuffix(SUFFIX): info for info in packed.infolist()}
            chosen = [name for name in members if wanted is None or name in wanted]
            bounded(where, path, sum(members[name].file_size for name in chosen))
            return {name: _array(packed, members[name]) for name in chosen}, list(members)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise errors of many types for damaged files
        expected = "an .npz archive of plain arrays, as np.savez writes it"
        raise input_error(where, got=f"{type(error).__name__}: {error}", expected=expected) from None


def bounded(where: str, path: Path, size: int) -> None:
    """Refuse a file that unpacks to more than 200 times its own size, where that is more than 64 MiB."""
    own = path.stat().st_size
    if size > max(RATIO * own, ALWAYS):
        raise input_error(
            where,
            got=f"{own} bytes that unpack to {size}",
            expected=f"at most {RATIO:.0f} times as many",
            todo="if you trust the file, save it again without compression (np.savez)",
        )


def _array(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one member after comparing its header with its size: numpy allocates what the header says."""
    with packed.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"{info.filename}: format version {version}, known are 1.0 and 2.0")
        shape, _, dtype = HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError(f"{info.filename}: an array of objects, which is not unpickled")
        # The header must agree with the member's size before numpy allocates what it says.
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + size != info.file_size:
            raise ValueError(f"{info.filename}: {info.file_size} bytes for shape {shape}, dtype {dtype}")
    with packed.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_mat(where: str, path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a MATLAB file of version 5 to 7.2.

    Raises:
        InputError: another file, a damaged one, or more bytes than :func:`bounded` allows.
    """
    from scipy.io import loadmat, whosmat

    expected, todo = "a MATLAB file of version 5 to 7.2", "version 7.3 is HDF5: save with -v7"
    with path.open("rb") as file:
        # scipy takes other files for version 4, and allocates whatever their first bytes say.
        if not (head := file.read(19)).startswith(b"MATLAB 5.0"):
            raise input_error(where, got=f"a file that begins with {head!r}", expected=expected, todo=todo)
    try:
        bounded(where, path, sum(8 * math.prod(shape) for _, shape, _ in whosmat(path)))
        found: dict[str, Any] = loadmat(path)
    except InputError:
        raise
    except Exception as error:  # scipy raises errors of many types for damaged files
        raise input_error(where, got=f"{type(error).__name__}: {error}", expected=expected, todo=todo) from None
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
