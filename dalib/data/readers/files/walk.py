"""Images below a folder: one rule for labelled and unlabelled reading, and a list of names passed over."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dalib.core.checks import input_error
from dalib.data.readers.files.names import printable

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .gif .ppm .pgm .pbm .pnm .tif .tiff .webp .avif .jp2".split())
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
"""First bytes of images that often come without a suffix; bytes 8 to 11 show WebP."""
SYSTEM = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "@recycle", "#recycle")
    + ("$recycle.bin", "system volume information", "lost+found", "__pycache__")
)
"""Files and folders that systems, servers and editors leave in folders of images, in lower case."""
SHOWN = 5

HIDDEN, LEFT, OTHER = "hidden", "left by a system", "not images"
DANGLING, AGAIN, SPECIAL = "links to nothing", "links to a folder already read", "neither files nor folders"
Passed = dict[str, list[str]]
"""Names that were passed over, by reason."""


class Found(NamedTuple):
    """Paths of images relative to the folder, with ``/``, sorted part by part; and names passed over."""

    paths: list[str]
    passed: Passed


def images_below(folder: Path) -> Found:
    """Find the images below a folder, at any depth; links are followed, each folder is read once.

    An image has a suffix of :data:`SUFFIXES` or begins like a JPEG, PNG, GIF or WebP file. Hidden names (with a dot in
    front), names of :data:`SYSTEM`, links to nothing and all other files are passed over.

    Raises:
        InputError: for a folder that cannot be read.
    """
    paths: list[str] = []
    passed: Passed = {}
    # With the folders above: a link to one of them leads to images that are not below this folder.
    seen = {_identity(above) for above in folder.resolve().parents}
    # Real folders before links, so that an image keeps its real path where a link leads to it as well.
    real, links = [""], list[str]()
    while real or links:
        where = (real or links).pop()
        if (identity := _identity(folder / where)) in seen:
            passed.setdefault(AGAIN, []).append(where)
            continue
        seen.add(identity)
        for name in names_in(folder / where):
            path = f"{where}/{name}" if where else name
            if reason := why_passed(folder / path):
                passed.setdefault(reason, []).append(path)
            elif os.path.isdir(folder / path):
                (links if os.path.islink(folder / path) else real).append(path)
            else:
                paths.append(path)
    # Sorted part by part, so that the order, and with it every seed's draw, is the same on any file system.
    return Found(sorted(paths, key=lambda path: path.split("/")), passed)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def names_in(folder: Path) -> list[str]:
    """List the names in a folder, sorted.

    Raises:
        InputError: for a folder that cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        got = f"{printable(str(folder))} ({error.strerror})"
        raise input_error("folder", got=got, expected="a folder that can be read") from None


def why_passed(path: Path) -> str:
    """Give the reason for passing over a file or folder; ``""`` for an image or a folder to look into."""
    name = path.name
    if name.startswith("."):
        return HIDDEN
    if name.casefold() in SYSTEM:
        return LEFT
    # Links are followed by os.stat; one to nothing has no status.
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return DANGLING
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return SPECIAL
    return "" if path.suffix.lower() in SUFFIXES or begins_as_image(path) else OTHER


def begins_as_image(path: Path) -> bool:
    """Tell whether the first bytes are those of a JPEG, PNG, GIF or WebP file."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def account(passed: Mapping[str, list[str]]) -> str:
    """Count names passed over in one line: number and some names for every reason; ``""`` for none."""
    parts = []
    for reason, names in sorted(passed.items()):
        shown = ", ".join(printable(name).replace("\n", "\\n").replace("\r", "\\r") for name in sorted(names)[:SHOWN])
        parts.append(f"{len(names)} {reason} ({shown}{', …' if len(names) > SHOWN else ''})")
    total = sum(map(len, passed.values()))
    return f"passed over {total}: {'; '.join(parts)}" if parts else ""
