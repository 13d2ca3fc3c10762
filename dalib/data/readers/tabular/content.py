"""The text of a table: its form by the file's name, gzip with a bound, UTF-8, and one error for all bad lines."""

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dalib.core.checks import InputError, input_error
from dalib.data.readers.files.archives import ALWAYS, RATIO
from dalib.data.readers.images import SHOWN

FORMS = (".csv", ".tsv", ".jsonl")
MEMORY_SHARE = 1 / 8
"""Share of the machine's memory for one table's bytes: text, cells and arrays need several times that."""
NUMBERED = 100
"""Bad lines after the first ten, named by their numbers alone."""
MOST_FAULTS = 1000
"""Readers stop at this number: a file of another kind has one on every line."""


class Fault(NamedTuple):
    """A fault and its line; lines count from 1, as a text editor shows them."""

    line: int
    text: str


def form_of(name: str) -> str:
    """Tell ``.csv``, ``.tsv`` or ``.jsonl`` from a file's name, in any case, also before ``.gz``; else ``""``."""
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in FORMS else ""


def read_content(where: str, path: Path) -> str:
    """Read the text of a file, without a byte order mark.

    Args:
        where: for messages.
        path: the file; ``.gz`` at its end, in any case, says that it is compressed.

    Raises:
        InputError: for a damaged file, more bytes than fit, or bytes that are not UTF-8, with the lines they are on.
    """
    try:
        data = _unpacked(where, path) if path.name.lower().endswith(".gz") else _plain(where, path)
    except (OSError, EOFError, zlib.error) as error:
        raise input_error(where, got=f"{error}", expected="a readable file", todo="make or fetch it again") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise input_error(where, got="text in UTF-16", expected="text in UTF-8", todo="save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad_lines(where, _foreign_lines(data), expected="text in UTF-8", todo="save it as UTF-8") from None


def lines_of(content: str) -> Iterator[tuple[int, str]]:
    """Yield numbers and texts of all lines, one at a time, without their ends."""
    start, number = 0, 1
    while start < len(content):
        end = content.find("\n", start)
        end = len(content) if end < 0 else end
        yield number, content[start : end - 1] if content.startswith("\r", end - 1) else content[start:end]
        start, number = end + 1, number + 1


def bad_lines(where: str, faults: Sequence[Fault], *, expected: str, todo: str = "") -> InputError:
    """Make one error for all faults: the first ten in words, the lines of the next hundred, and their number."""
    stopped, faults = len(faults) >= MOST_FAULTS, sorted(faults)
    lines = "".join(f"\n    line {fault.line}: {fault.text}" for fault in faults[:SHOWN])
    others = list(dict.fromkeys(fault.line for fault in faults[SHOWN:]))
    more = ""
    if others:
        more = f"\n    and {len(faults) - SHOWN} more, on lines {', '.join(map(str, others[:NUMBERED]))}"
        more += " …" if len(others) > NUMBERED else ""
    count = len({fault.line for fault in faults})
    got = f"{count} bad line{'s' * (count != 1)}{' and no end' * stopped}:{lines}{more}"
    return input_error(where, got=got, expected=expected, todo=todo)


def _room() -> int:
    return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _plain(where: str, path: Path) -> bytes:
    _bounded(where, path.stat().st_size, _room(), "this machine's memory has room for")
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        raise input_error(where, got="a file compressed by gzip", expected="a name that ends in .gz", todo="rename it")
    return data


def _unpacked(where: str, path: Path) -> bytes:
    most, room = int(max(RATIO * path.stat().st_size, ALWAYS)), _room()
    parts, size = [], 0
    with gzip.open(path) as file:
        while block := file.read(1 << 20):
            size += len(block)
            _bounded(where, size, most, f"a file of {path.stat().st_size} bytes may unpack to")
            _bounded(where, size, room, "this machine's memory has room for")
            parts.append(block)
    return b"".join(parts)


def _bounded(where: str, size: int, most: int, why: str) -> None:
    if size > most:
        got = f"{size / 2**20:.1f} MiB of text or more"
        raise input_error(where, got=got, expected=f"at most the {most / 2**20:.1f} MiB that {why}", todo="divide it")


def _foreign_lines(data: bytes) -> list[Fault]:
    faults = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            faults.append(Fault(number, f"{error.reason} at byte {error.start + 1} ({line[error.start]:#04x})"))
        if len(faults) >= MOST_FAULTS:
            break
    return faults
