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
        inputs: ``[n, d]``, columns of a table, ``[n, h, w, c]`` uint8, ``[n, t, c]``, n texts, or image files to be
            decoded.
        labels: n class names, or real numbers ``[n]`` or ``[n, k]``; None where they are not known or not to be used.
    """

    kind: str
    inputs: Any
    labels: list[str] | np.ndarray | None


class Options(NamedTuple):
    """How files are to be read: the kind of examples (None: as the file tells), their layout, names of columns.

    ``real`` says that labels are numbers to be predicted and no classes; ``label_column`` may then name several,
    with commas between them. Of a table without texts ``categories`` are columns whose numbers are only names, and
    ``drop`` columns that are left out.
    """

    kind: str | None = None
    layout: str = "auto"
    text_column: str = "text"
    label_column: str = "label"
    real: bool = False
    categories: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @property
    def label_columns(self) -> list[str]:
        """Names of the columns with labels: several only where labels are real numbers."""
        return [name.strip() for name in self.label_column.split(",")] if self.real else [self.label_column]


def place_of(argument: str, text: str) -> Place:
    """``PATH`` or ``name=PATH``; without a name the file's or folder's own serves.

    Where there is no such path, ``DATASET:DOMAIN`` is a domain of a named data set.
    """
    name, equal, path = text.partition("=")
    if not equal:
        name, path = "", text
    dataset, _, domain = path.rpartition(":")
    if dataset and domain and not Path(path).expanduser().exists():
        return Place(name or domain, Path(path), (dataset, domain))
    found = Path(path).expanduser()
    plain = found.resolve().name
    plain = plain[:-3] if plain.lower().endswith(".gz") else plain
    name = name or (plain if found.is_dir() else Path(plain).stem)
    if not path or not name:
        raise input_error(argument, got=repr(text), expected="a folder or file, PATH or name=PATH")
    return Place(name, found)
