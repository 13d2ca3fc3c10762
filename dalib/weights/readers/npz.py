"""numpy's ``.npz``, without its pickles."""

import os
import zipfile
import zlib

import numpy as np

from dalib.checks import input_error


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
