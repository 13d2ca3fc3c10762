"""Where a user's domain is, how it is to be read, and the form in which every reader hands it on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error

KINDS = ("vectors", "images", "series", "text")


class Place(NamedTuple):
    """Where a domain is.

    Attributes:
        name: of the domain.
        path: folder or file; for a domain of a named data set its text ``DATASET:DOMAIN``.
        dataset: names of data set and domain, None for a folder or file.
    """

    name: str
    path: Path
    dataset: tuple[str, str] | None = None


class Raw(NamedTuple):
    """What was read.

    Attributes:
        kind: vectors, images, series or text.
        inputs: ``[n, d]``, ``[n, h, w, c]`` uint8, ``[n, t, c]``, n texts, or image files to be decoded.
        labels: n class names, or real numbers ``[n]`` or ``[n, k]``; None where they are not known or not to be used.
    """

    kind: str
    inputs: Any
    labels: list[str] | np.ndarray | None


class Options(NamedTuple):
    """How files are to be read: the kind of examples (None: as the file tells), their layout, names of columns.

    ``real`` says that labels are numbers to be predicted and no classes; ``label_column`` may then name several,
    with commas between them, and a table without texts holds vectors.
    """

    kind: str | None = None
    layout: str = "auto"
    text_column: str = "text"
    label_column: str = "label"
    real: bool = False


def place_of(argument: str, text: str) -> Place:
    """``PATH`` or ``name=PATH``; without a name the file's or folder's own serves.

    Where there is no such path, ``DATASET:DOMAIN`` is a domain of a named data set.
    """
    name, equal, path = text.partition("=")
    if not equal:
        name, path = "", text
    dataset, _, domain = path.rpartition(":")
    if dataset and domain and not Path(path).expanduser().exists():
        return Place(_name(argument, name or domain), Path(path), (dataset, domain))
    found = Path(path).expanduser()
    plain = found.resolve().name.removesuffix(".gz")
    name = name or (plain if found.is_dir() else Path(plain).stem)
    if not path or not name:
        raise input_error(argument, got=repr(text), expected="a folder or file, PATH or name=PATH")
    return Place(_name(argument, name), found)


def _name(argument: str, name: str) -> str:
    """The name of a domain, if tables, messages and folders can show it."""
    if "/" in name or "\\" in name or not name.isprintable() or set(name) <= {".", " "}:
        expected = "a name of one line without / and \\, which names a folder of results"
        raise input_error(argument, got=f"a domain called {name!a}", expected=expected, todo="--source name=PATH")
    return name
