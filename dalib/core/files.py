"""Files that appear whole or not at all. A leaf module: every room may import it."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dalib.core.checks import InputError, input_error

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE}


class StorageError(OSError):
    """A full or failing disk; the message names the file, what is kept and how to go on."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; its file takes the place of ``path`` when the block ends well.

    After an error, or a kill at any moment, ``path`` is what it was. The remains of killed processes are removed first.
    A full or failing disk, or a folder that is gone, is a StorageError.
    """
    path = Path(path)
    for old in leftovers(path.parent, path.name):
        old.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # Flush to the disk before the rename: after a power cut the new name must not point to an empty file.
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # A bug in the block is not the disk's fault and passes as it is.
        if error.errno not in DISK and path.parent.is_dir():
            raise
        reason = error.strerror if path.parent.is_dir() else "its folder is gone"
        raise StorageError(
            f"file: {path} can't be written ({reason})\n  kept: what was there before"
            "\n  what to do: make room or mend the disk; the same command goes on from there"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file so that a reader or a kill sees either the old content or the new; parents are made."""
    path = check_file_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


LONGEST = 150
"""Bytes of a folder's name that :func:`folder_name` leaves as they are; file systems end at 255."""


def folder_name(text: str) -> str:
    """Turn any name into the name of one folder: never a path, never above or outside of its place.

    Letters, digits and most signs stay; separators, control characters, bytes that are no UTF-8 and a leading dot
    become ``%`` and their code. A name that is too long is cut, and ends with a hash of the whole.
    """
    # Names come from users' files, and must not lead out of the folder.
    kept = "".join(c if c.isprintable() and c not in "/\\\0" else f"%{ord(c):02X}" for c in text)
    if kept.startswith("."):
        kept = f"%2E{kept[1:]}"
    encoded = kept.encode()
    if len(encoded) > LONGEST:
        cut = encoded[:LONGEST].decode(errors="ignore")
        return f"{cut}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return kept or "%"


def check_file_path(path: str | os.PathLike[str]) -> Path:
    """Return the path; an InputError if it is a folder, or a parent is a file."""
    path = Path(path)
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if path.is_dir() or blocked:
        got = f"{path}, but {blocked} is a file" if blocked else f"{path}, which is a folder"
        raise input_error("path", got=got, expected="a file to write")
    return path


def read_text(path: Path, what: str) -> str:
    """Return the UTF-8 text of a file; an InputError about ``what`` if it can't be read, or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8: {error.reason} at byte {error.start}"
        raise InputError(f"{what}: {path} can't be read ({reason})\n  expected: a text file in UTF-8") from None


def checksum(path: Path) -> dict[str, object]:
    """Return ``{"bytes", "sha256"}`` of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def leftovers(folder: Path, name: str = "*") -> list[Path]:
    """List temporary files of :func:`replacing` in ``folder`` that belong to no living process."""
    return [p for p in folder.glob(f".{name}.*.tmp") if not _alive(p.name.split(".")[-2])]


def _alive(process: str) -> bool:
    # A name that is not ours stays.
    if not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return int(process) != os.getpid()
