"""Readers of foreign checkpoint files, one module a format; none of them executes code or needs the foreign library."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from dalib.encoders.checkpoints.array_files import read_folder, read_npz, read_numpy_pickle, read_safetensors
from dalib.encoders.checkpoints.torch_files import START, check_members, read_torch_legacy, read_torch_zip

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where a training checkpoint keeps the net, beside its optimiser and counters."""
DEPTH = 32
ITEMS = 100_000


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint by name; the format is told from the content.

    Dictionaries and lists inside one another join their keys and positions with dots. Of a training checkpoint only the
    ``state_dict`` (``model_state_dict``, ``model``) is taken. Numbers and strings beside arrays are left out.

    Args:
        path: a safetensors file, torch's ``.pth`` in the zip or the older format, an ``.npz``, a pickle of numpy
            arrays, or a model's folder in the layout of the Hugging Face hub (shards included).

    Returns:
        Arrays by foreign name, in the foreign layout; of safetensors they are read-only views of a memory map.

    Raises:
        InputError: for a missing, damaged or unknown file, one without arrays, or a pickle that asks for more than
            data; its global is named and nothing of it was executed.
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path, read_arrays)
    if not path.is_file():
        raise input_error("path", got=path, expected="a checkpoint that exists")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        content = _read_zip(path)
    elif start.startswith(START):
        content = read_torch_legacy(path)
    elif start[:1] == b"\x80":
        content = read_numpy_pickle(path)
    elif start[8:9] == b"{":
        content = read_safetensors(path)
    else:
        raise input_error(
            "path",
            got=f"{path}, which begins with {start[:8]!r}",
            expected="safetensors, torch's .pth, .npz, or a pickle of numpy arrays",
            todo="fetch it again (a page of an error may have been saved in its place), or convert it",
        )
    return _named_arrays(content, str(path))


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path)
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise input_error(
            "path", got=f"{path} ({error})", expected="a complete zip file", todo="fetch it again"
        ) from None
    return read_npz(path) if names and all(name.endswith(".npy") for name in names) else read_torch_zip(path)


def _named_arrays(content: Any, name: str) -> dict[str, np.ndarray]:
    if isinstance(content, Mapping):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    arrays: dict[str, np.ndarray] = {}
    left: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for _ in range(ITEMS):
        if not left:
            break
        path, value = left.pop()
        if isinstance(value, np.ndarray) and path:
            arrays[".".join(path)] = value
        elif isinstance(value, Mapping | list | tuple) and len(path) < DEPTH:
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            left += [((*path, str(key)), inner) for key, inner in reversed(list(items))]
    # A few bytes of pickle can hold dictionaries that refer to themselves, or to each other without end.
    if left:
        raise input_error("path", got=f"{name}, with more than {ITEMS} entries", expected="a checkpoint of arrays")
    if not arrays:
        raise input_error("path", got=f"{name}, which holds no named arrays", expected="a checkpoint with a state_dict")
    return arrays
