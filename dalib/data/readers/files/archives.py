"""Unpacking of downloaded archives; every name is checked before anything is written."""

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from dalib.core.checks import input_error
from dalib.data.readers.images import listed

LARGEST = 256 << 30
"""Bytes that an archive may unpack to by default: more than any data set of the field."""
RATIO = 200.0
"""Times its own size that an archive may unpack to by default; deflate reaches about 1,000 on zeros alone."""
ALWAYS = 64 << 20
"""Bytes that an archive may unpack to whatever its own size is."""


def unpack(archive: str | Path, out: str | Path, *, limit: int = LARGEST, ratio: float = RATIO) -> Path:
    """Unpack a ``.zip`` or ``.tar`` (also compressed) archive into a folder.

    Only plain files and folders inside ``out`` are made; owners and permission bits are not restored. Everything is
    unpacked into a temporary folder in ``out`` first and moved when it is complete.

    Args:
        archive: the file.
        out: the folder; it may exist, but none of the archive's top-level names may be in it yet.
        limit: bytes that it may unpack to.
        ratio: times its own size that it may unpack to, where that is more than 64 MiB.

    Returns:
        ``out``.

    Raises:
        InputError: no such file, not an archive, or a damaged one; names that are absolute, leave the folder or come
            twice, and members that are links or devices (all of them in one error, before anything is written); more
            than ``limit`` or ``ratio`` allow, before anything is written; names that exist already.
    """
    archive, out = Path(archive).expanduser(), Path(out).expanduser()
    if not archive.is_file():
        raise input_error("archive", got=f"{archive} (no such file)", expected="a zip or tar archive")
    if not (zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
        raise input_error("archive", got=f"{archive}, which is neither zip nor tar", expected="a zip or tar archive")
    # Small archives may unpack to 64 MiB whatever their ratio; above it, a bomb shows by its ratio.
    most = min(limit, max(ratio * archive.stat().st_size, ALWAYS))
    out.mkdir(parents=True, exist_ok=True)
    # Into a folder next to the result, so that the moves at the end are renames on one disk.
    with tempfile.TemporaryDirectory(dir=out, prefix=".unpacking-") as temporary:
        try:
            read = _from_zip if zipfile.is_zipfile(archive) else _from_tar
            names = read(archive, temporary, most)
        except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, RuntimeError, NotImplementedError) as error:
            raise input_error(
                "archive", got=f"{archive}: {error}", expected="a whole archive", todo="fetch it again"
            ) from error
        # Only now is the archive known to be whole; what exists already is never overwritten.
        tops = sorted({PurePosixPath(name).parts[0] for name in names if PurePosixPath(name).parts})
        taken = [str(out / top) for top in tops if (out / top).exists()]
        if taken:
            raise listed("out", taken, what="names that exist already", expected="a folder without them")
        for top in tops:
            os.replace(Path(temporary) / top, out / top)
    return out


def unsafe(members: list[tuple[str, str]]) -> list[str]:
    """List faults of an archive's members ``(name, kind)``; kind is ``"file"``, ``"folder"`` or another word."""
    faults, seen = [], set()
    for name, kind in members:
        # Backslashes count as separators: an archive written on Windows must not hide a way out of the folder.
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or (path.parts and path.parts[0].endswith(":")):
            faults.append(f"{name!r}: absolute path")
        elif ".." in path.parts:
            faults.append(f"{name!r}: leaves the folder")
        elif kind not in ("file", "folder"):
            faults.append(f"{name!r}: {kind}")
        elif kind == "file" and path in seen:
            faults.append(f"{name!r}: comes twice")
        if kind == "file":
            seen.add(path)
    return faults


def _refuse(archive: Path, members: list[tuple[str, str]]) -> None:
    if faults := unsafe(members):
        raise listed(
            "archive",
            faults,
            what=f"unsafe members in {archive}",
            expected="plain files and folders below one folder",
            todo="do not unpack it; fetch it from its official place",
        )


def _bounded(archive: Path, size: int, most: float) -> None:
    """Refuse too large a sum of headers; it bounds the written bytes, as readers give no more than a header says."""
    if size > most:
        raise input_error(
            "archive",
            got=f"{archive} of {archive.stat().st_size} bytes, which unpacks to {size} bytes or more",
            expected=f"at most {most:.0f} bytes",
            todo="if you know what is in it, call unpack with another limit or ratio",
        )


def _from_zip(archive: Path, folder: str, most: float) -> list[str]:
    with zipfile.ZipFile(archive) as packed:
        infos = packed.infolist()
        _bounded(archive, sum(info.file_size for info in infos), most)
        _refuse(archive, [(info.filename, _zip_kind(info)) for info in infos])
        for info in infos:
            target = Path(folder, *PurePosixPath(info.filename.replace("\\", "/")).parts)
            if info.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(info) as source, target.open("wb") as sink:  # checks the checksum at the end
                shutil.copyfileobj(source, sink)
        return [info.filename.replace("\\", "/") for info in infos]


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.is_dir():
        return "folder"
    return "link" if stat.S_ISLNK(info.external_attr >> 16) else "file"


def _from_tar(archive: Path, folder: str, most: float) -> list[str]:
    with tarfile.open(archive) as packed:
        members, size = [], 0
        for member in packed:  # one by one: nothing after the bound is even decompressed
            members.append(member)
            size += member.size
            _bounded(archive, size, most)
        _refuse(archive, [(member.name, _tar_kind(member)) for member in members])
        for member in members:
            target = Path(folder, *PurePosixPath(member.name).parts)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source = packed.extractfile(member)
            assert source is not None
            with source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        return [member.name for member in members]


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.isfile():
        return "file"
    if member.isdir():
        return "folder"
    return "link" if member.issym() or member.islnk() else "device or other special file"
