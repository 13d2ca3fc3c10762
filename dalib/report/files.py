"""Files that appear whole or not at all."""

import os
from pathlib import Path

from dalib import files
from dalib.checks import input_error


def check_file_path(path: str | os.PathLike[str]) -> Path:
    """The path, if a file can stand there.

    Raises:
        InputError: if ``path`` is a folder, or a parent is a file.
    """
    path = Path(path)
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if path.is_dir() or blocked:
        got = f"{path}, but {blocked} is a file" if blocked else f"{path}, which is a folder"
        raise input_error("path", got=got, expected="a file to write")
    return path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes ``content`` to a temporary file beside ``path``, then renames it over ``path``; parents are made.

    Raises:
        InputError: as ``check_file_path``.
    """
    path = check_file_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.write_atomically(path, content)
