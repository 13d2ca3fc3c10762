"""List files of images, one path and its label a line, as the field's benchmark repositories ship them."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dalib.core.checks import input_error
from dalib.data.domain import MOST_CLASSES
from dalib.data.readers.files.names import class_name, printable, spellings

LABELLED = "lines of an existing image's path and its label"
UNLABELLED_LINES = "lines of an existing image's path"
NUMBER = r"[0-9]+"
DIGITS = 18
"""Digits of the longest number that int() reads."""
MOST_WORDS, MOST_READ, MOST_TRIED = 8, 10_000, 50
"""Words of a label, characters of a line and folders to try for a root, so that no list takes long to refuse."""


class Entry(NamedTuple):
    """One line: its number, the image's path in the file system, its label (``""`` for none), the file's identity."""

    line: int
    path: str
    label: str
    key: tuple[int, int]


class Listed(NamedTuple):
    """Entries of a list file, the faults of its other lines, and images that are listed again with the same label."""

    entries: list[Entry]
    faults: list[str]
    repeated: list[str]


def read_list(
    where: str,
    file: Path,
    root: Path,
    *,
    labelled: bool = True,
    class_names: Sequence[str] | None = None,
    allow_absolute: bool = False,
) -> Listed:
    """Read a list file, in UTF-8 with or without a byte-order mark.

    A tab, a blank or a comma separates path and label; the last one after which an image's path is left counts, so
    that paths and class names may hold blanks and commas. Labels are integers from 0, or class names.

    Args:
        where: for messages.
        file: the list file.
        root: folder of the relative paths.
        labelled: without it labels are not parsed, and lines may be paths alone.
        class_names: the known classes; without them numbers must be below :data:`dalib.data.domain.MOST_CLASSES`.
        allow_absolute: accept absolute paths. Otherwise every path must stay inside ``root``.

    Raises:
        InputError: a missing list file, one without any line, or other encodings.
    """
    entries, faults, repeated = list[Entry](), dict[int, str](), list[str]()
    lines = list(_lines(where, file))
    if not lines:
        expected = "one 'path label' a line" if labelled else "one path a line"
        raise input_error(where, got=f"{printable(str(file))} without any line", expected=expected)
    # Every line by itself first; a fault is kept, so that one error names all of them.
    for number, line in lines:
        path, label, key, fault = _read_line(line, root, labelled, allow_absolute)
        if fault or key is None:
            faults[number] = fault
        else:
            entries.append(Entry(number, path, label, key))
    # Then the labels together: only the whole list tells whether they are numbers or names.
    if labelled:
        faults |= _wrong_labels(entries, class_names)
    seen: dict[tuple[int, int], Entry] = {}
    # Images by their identity on the disk: two paths of one image are one example.
    for entry in entries:
        if entry.line in faults:
            continue
        first = seen.setdefault(entry.key, entry)
        if first.label != entry.label:
            faults[entry.line] = f"{entry.path} has label {entry.label}, and {first.label} in line {first.line}"
        elif first is not entry:
            repeated.append(f"{printable(entry.path)} in lines {first.line} and {entry.line}")
    shown = [f"{printable(file.name)}, line {line}: {printable(faults[line])}" for line in sorted(faults)]
    return Listed(entries, shown, repeated)


def again(repeated: Sequence[str]) -> str:
    """Name, in one line, the images that a list holds more than once."""
    more = "; …" if len(repeated) > 5 else ""
    return f"{len(repeated)} images are listed again and count again: {'; '.join(repeated[:5])}{more}"


def root_hint(file: Path, root: Path) -> str:
    """Advise a folder above or next to ``root`` that has the list's first image; ``""`` for none."""
    line = next((line for _, line in _lines("list", file)), "")
    above = root.resolve().parents[:3]
    try:
        inside = [folder for near in (root, *above[:1]) for folder in sorted(near.iterdir())[:MOST_TRIED]]
    except OSError:
        inside = []
    for place in (root, *above, *inside):
        if place.is_dir() and not _read_line(line, place, False, False)[3]:
            advice = f"the first image is found below {printable(str(place))}: pass it as --root, in Python root="
            return "" if place == root else advice
    return ""


def _lines(where: str, file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers."""
    if not file.is_file():
        raise input_error(where, got=f"{printable(str(file))} (no such file)", expected="a list file")
    data = file.read_bytes()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        # Names that are not UTF-8 pass through as the file system has them.
        text = data.decode("utf-16") if wide else data.decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError as error:
        raise input_error(where, got=f"{printable(str(file))}: {error}", expected="text in UTF-8") from error
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def _read_line(line: str, root: Path, labelled: bool, allow_absolute: bool) -> tuple[str, str, tuple | None, str]:
    """Return path, label, identity of the file, and the fault (``""`` for none)."""
    whole = (line, "")
    first = ""
    # Every way to divide the line is tried: paths and class names may hold blanks and commas.
    for path, label in [*_divided(line), whole] if labelled else [whole, *_divided(line)]:
        found, key, fault = _look_up(path.strip().strip('"'), root, allow_absolute)
        if key is None:
            first = first or fault
            continue
        label = _label(label.strip().strip('"')) if labelled else ""
        without = f"not 'path label': {printable(line)!r} (no label; --no-target-labels needs none)"
        fault = without if labelled and not label else ""
        return found, label, key, fault
    if labelled and len(line.split()) == 1 and "," not in line:
        first = f"not 'path label': {printable(line)!r}"
    return "", "", None, first


def _label(text: str) -> str:
    """Bring a label's text to one form: numbers without zeros in front, names as :func:`class_name` makes them."""
    return str(int(text)) if re.fullmatch(NUMBER, text) and len(text) <= DIGITS else class_name(text)


def _divided(line: str) -> Iterator[tuple[str, str]]:
    """Divide a line into (path, label) in all ways: at the last tab, then at blanks from the right, then at commas."""
    for pattern in (r"\t+", r"\s+", r","):
        matches = list(re.finditer(pattern, line[-MOST_READ:])) if len(line) <= MOST_READ else []
        for match in matches[: -1 if pattern == r"\t+" else -MOST_WORDS - 1 : -1][:MOST_WORDS]:
            path, label = line[: match.start()], line[match.end() :]
            if path.strip():
                yield path, label


def _look_up(path: str, root: Path, allow_absolute: bool) -> tuple[str, tuple[int, int] | None, str]:
    """Return the path as in the file system, the file's identity (None for none), and the fault."""
    shown = printable(path)
    if os.path.isabs(path):
        if not allow_absolute:
            return path, None, f"absolute path {shown} (--absolute-paths, in Python allow_absolute=True, accepts it)"
    elif os.path.normpath(path).split(os.sep)[0] == os.pardir:
        return path, None, f"{shown} leaves the root folder"
    # A name may be stored in another Unicode form than the list writes it.
    for form in spellings(path):
        try:
            status = os.stat(root / form)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            return form, (status.st_dev, status.st_ino), ""
    return path, None, f"no such file: {shown}" + ("" if shown == path else " (in bytes that are not UTF-8)")


def _wrong_labels(entries: Sequence[Entry], class_names: Sequence[str] | None) -> dict[int, str]:
    """Find labels that are no class, by line; with numbers and names in one file, those of the rarer kind."""
    numbers = [entry for entry in entries if re.fullmatch(NUMBER, entry.label)]
    names = [entry for entry in entries if not re.fullmatch(NUMBER, entry.label)]
    wrong: dict[int, str] = {}
    if class_names is not None:
        known = frozenset(class_names)
        why = "is not an integer ≥ 0 or a class name"
        wrong = {entry.line: f"label {entry.label!r} {why}" for entry in names if entry.label not in known}
        most, why = len(class_names), f"but there are {len(class_names)} class names"
    else:
        # A minus is a slip of a number rather than a name.
        minus = [entry for entry in names if re.fullmatch(f"-{NUMBER}", entry.label)]
        names = [entry for entry in names if not re.fullmatch(f"-{NUMBER}", entry.label)]
        if numbers and names:
            # Numbers and names together: the rarer kind is likelier to be the slip.
            rarer, what = (names, "not an integer ≥ 0") if len(names) <= len(numbers) else (numbers, "a number")
            wrong = {entry.line: f"label {entry.label!r} is {what}, unlike those of other lines" for entry in rarer}
        why = "is not an integer ≥ 0; --no-target-labels, in Python labelled=False, reads no labels"
        wrong |= {entry.line: f"label {entry.label!r} {why}" for entry in minus}
        most, why = MOST_CLASSES, f"is not below {MOST_CLASSES:,}"
    # Too many digits for int() are too large as well.
    large = [entry for entry in numbers if len(entry.label) > DIGITS or int(entry.label) >= most]
    return wrong | {entry.line: f"label {entry.label[:30]} {why}" for entry in large}
