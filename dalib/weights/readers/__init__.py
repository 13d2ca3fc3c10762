"""Readers of foreign checkpoint files, one module a format; none of them executes code or needs the foreign library."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dalib.checks import input_error
from dalib.weights.readers.torch_zip import read_torch_zip

WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint by name.

    The format is told from the file's first bytes. Of a training checkpoint the ``state_dict`` (``model_state_dict``,
    ``model``) is taken; numbers and strings beside arrays are left out.

    Args:
        path: a ``.safetensors`` file or torch's ``.pth`` (zip).

    Raises:
        InputError: for a missing, damaged or unknown file, or one that asks for more than data.
    """
    path = Path(path)
    if not path.exists():
        raise input_error("path", got=path, expected="a checkpoint that exists")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        return named_arrays(read_torch_zip(path), str(path))
    from safetensors.numpy import load_file

    return load_file(path)


def named_arrays(content: Any, name: str) -> dict[str, np.ndarray]:
    """Flattens nested dictionaries to arrays by dotted name."""
    if isinstance(content, Mapping):
        for wrapper in WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
                break
    arrays: dict[str, np.ndarray] = {}
    _collect(content, "", arrays)
    if not arrays:
        raise input_error("path", got=f"{name}, which holds no named arrays", expected="a checkpoint with a state_dict")
    return arrays


def _collect(content: Any, prefix: str, arrays: dict[str, np.ndarray]) -> None:
    if isinstance(content, np.ndarray) and prefix:
        arrays[prefix] = content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            _collect(value, f"{prefix}.{key}" if prefix else str(key), arrays)
