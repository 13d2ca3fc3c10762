"""Files of a net's variables, in safetensors: arrays by path, nothing executable."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.files import replacing
from dalib.core.types import PyTree
from dalib.encoders.checkpoints.array_files import read_safetensors

SEPARATOR = "/"


def save_variables(path: str | os.PathLike[str], variables: PyTree) -> None:
    """Write a tree of arrays (``{"params": ..., "batch_stats": ...}``) to a safetensors file, atomically.

    Names join to ``params/encoder/conv1/kernel``; one with a slash in it, or a folder that does not exist, is an
    InputError; a full or failing disk is a StorageError.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    if not path.parent.is_dir():
        raise input_error("path", got=path, expected="a file in a folder that exists", todo=f"make {path.parent}")
    arrays = {name: np.ascontiguousarray(jax.device_get(x)) for name, x in flatten(variables).items()}
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={"format": "dalib variables 1"})
        except SafetensorError as error:  # its form of an OSError
            raise OSError(errno.EIO, str(error)) from error


def load_variables(path: str | os.PathLike[str], like: PyTree, *, without: Sequence[str] = ()) -> PyTree:
    """Read a safetensors file into the structure of ``like``, in total: nothing missing, nothing left over.

    Args:
        path: of the file.
        like: nested dicts of arrays or ``jax.ShapeDtypeStruct`` (``jax.eval_shape(net.init, key, sample)``).
        without: prefixes of names in the file to leave out, ``("params/head/",)``.

    Returns:
        The tree with numpy arrays in it, read-only views of a memory map of the file.

    Raises:
        InputError: for an unreadable file, or any difference in names, shapes or dtypes; all are counted.
    """
    arrays = {k: x for k, x in read_safetensors(path).items() if not k.startswith(tuple(without))}
    wanted = flatten(like)
    # All differences at once: a net built with another field differs in many variables.
    problems = {
        "missing": [f"missing in the file: {name}" for name in wanted.keys() - arrays.keys()],
        "surplus": [f"not in the net: {name}" for name in arrays.keys() - wanted.keys()],
        "different": [],
    }
    for name in wanted.keys() & arrays.keys():
        a, b = wanted[name], arrays[name]
        if tuple(a.shape) != b.shape or np.dtype(a.dtype) != b.dtype:
            there, here = f"{b.dtype}{list(b.shape)} in the file", f"{a.dtype}{list(a.shape)} in the net"
            problems["different"].append(f"{name}: {there}, {here}")
    if any(problems.values()):
        raise InputError(
            f"weights: {path} does not fit this net:\n"
            + "".join(f"  {line}\n" for line in at_most_a_screen(problems))
            + "  what to do: build the net with the fields, number of classes and input channels of the saved one"
        )
    return fill(like, arrays)


def at_most_a_screen(problems: Mapping[str, Sequence[str]], most: int = 16) -> list[str]:
    """List an error's lines: of every kind of problem the first few, then the number of the rest."""
    kinds = [sorted(lines) for lines in problems.values() if lines]
    shown = []
    for lines in kinds:
        share = max(most // len(kinds), len(lines) if sum(map(len, kinds)) <= most else 0)
        shown += [line if len(line) <= 200 else f"{line[:200]} …" for line in lines[:share]]
        if len(lines) > share:
            shown.append(f"… and {len(lines) - share} more of this kind")
    return shown


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if SEPARATOR in name:
            raise input_error("variables", got=f"the name {name!r}", expected=f"names without {SEPARATOR!r}")
        path = f"{prefix}{SEPARATOR}{name}" if prefix else name
        found |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return found


def fill(like: Any, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    path = lambda name: f"{prefix}{SEPARATOR}{name}" if prefix else name  # noqa: E731
    return {
        name: fill(value, arrays, path(name)) if isinstance(value, Mapping) else arrays[path(name)]
        for name, value in like.items()
    }
