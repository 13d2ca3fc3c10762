"""A model's folder in the layout of the Hugging Face hub: one file, or shards with an index."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dalib.checks import input_error

NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files looked for, in this order."""


def read_folder(path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a model's folder.

    Args:
        path: the folder.
        read: reads one file of it.

    Raises:
        InputError: for a folder without weights, or an index that names missing or foreign files or other arrays than
            the shards hold.
    """
    found = next((path / name for name in NAMES if (path / name).is_file()), None)
    if found is None:
        raise input_error(
            "path", got=f"the folder {path}", expected=f"one of {', '.join(NAMES)} in it", todo="name the file itself"
        )
    if found.suffix != ".json":
        return read(found)
    index = _weight_map(found)
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(set(index.values())):
        if shard != Path(shard).name or shard in ("", ".", "..") or "\\" in shard:
            raise input_error("path", got=f"{found}, which names the file {shard!r}", expected="files beside the index")
        for name, x in read(path / shard).items():
            if index.get(name) != shard:
                where = index.get(name, "no shard")
                raise input_error("path", got=f"{name} in {path / shard}", expected=f"it in {where}, as {found} says")
            arrays[name] = x
    if missing := sorted(index.keys() - arrays.keys()):
        raise input_error("path", got=f"shards of {found} without {', '.join(missing)}", expected="all that it lists")
    return arrays


def _weight_map(path: Path) -> dict[str, str]:
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise input_error("path", got=f"{path} ({error!r})", expected="an index with a weight_map") from None
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise input_error("path", got=path, expected="a weight_map from names of arrays to names of files")
    return index
