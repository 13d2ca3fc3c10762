"""Cache of fetched and converted weights, with files that appear only when complete."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dalib.core.checks import input_error


def cache_folder() -> Path:
    """Name ``DALIB_CACHE``, or ``dalib`` in the user's cache (``XDG_CACHE_HOME``, ``~/.cache``); made on first use."""
    if named := os.environ.get("DALIB_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dalib"


def made(folder: Path) -> Path:
    """Make a folder of the cache if need be, and check that it can be written.

    Raises:
        InputError: when it can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "no permission to write, or a read-only disk")
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, or of the names and contents of a folder's files, in hexadecimal digits."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.iterdir() if p.is_file()):
            digest.update(f"{file.name}\0{sha256_of(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(found: str, *, full: str = "", prefix: str = "", what: str) -> None:
    """Compare a SHA-256 with the one on record, whole or its first digits; another one is an InputError."""
    wanted = full or prefix
    if not found.startswith(wanted.lower()):
        raise input_error(
            "sha256",
            got=f"{found} for {what}",
            expected=wanted if full else f"{wanted}… (the first digits are on record)",
            todo="the file is not the published one and was not kept; fetch it again, or from another origin",
        )


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder on the cache's own file system, so that a finished file moves out of it in one step."""
    folder = made(cache_folder())
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".partial-", dir=folder)
    except OSError as error:
        raise _unwritable(folder, error) from None
    with temporary as name:
        yield Path(name)


def _unwritable(folder: Path, error: OSError) -> Exception:
    return input_error(
        "DALIB_CACHE",
        got=f"{folder}, which can't be written ({error.strerror})",
        expected="a folder with permission to write",
        todo="set DALIB_CACHE to a folder that you may write to, or mend the permissions",
    )
