"""Address of a user's domain, options for reading it, and the form that every reader returns."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error

KINDS = ("vectors", "images", "series", "text")


class Place(NamedTuple):
    """Address of a domain.

    Attributes:
        name: of the domain.
        path: folder or file; for a domain of a named data set its text ``DATASET:DOMAIN``.
        dataset: names of data set and domain, None for a folder or file.
    """

    name: str
    path: Path
    dataset: tuple[str, str] | None = None


class Raw(NamedTuple):
    """Examples as read.

    Attributes:
        kind: vectors, images, series or text.
        inputs: ``[n, d]``, columns of a table, ``[n, t, c]``, n texts, image files to be decoded, or images
            ``[n, h, w, c]``, which :func:`dalib.data.readers.files.maximum.to_bytes` brings to uint8.
        labels: n class names, or real numbers ``[n]`` or ``[n, k]``; None where they are not known or not to be used.
        notes: remarks for the user, for example files that were passed over.
    """

    kind: str
    inputs: Any
    labels: list[str] | np.ndarray | None
    notes: tuple[str, ...] = ()


class Options(NamedTuple):
    """Options for reading files: kind of the examples (None: as the file tells), layout, names of columns.

    ``real`` means that labels are numbers to predict, no classes; ``label_column`` may then name several,
    with commas between them. In a table without texts ``categories`` are columns with numbers as names, and
    ``drop`` columns that are left out. ``root`` is the folder of a list file's relative paths, by default the list's
    own; ``absolute_paths`` accepts others.
    """

    kind: str | None = None
    layout: str = "auto"
    text_column: str = "text"
    label_column: str = "label"
    real: bool = False
    root: Path | None = None
    absolute_paths: bool = False
    categories: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @property
    def label_columns(self) -> list[str]:
        """Return the names of the columns with labels: several only where labels are real numbers."""
        return [name.strip() for name in self.label_column.split(",")] if self.real else [self.label_column]


def place_of(argument: str, text: str) -> Place:
    """Parse ``PATH`` or ``name=PATH``; without a name the file's or folder's own counts.

    Where there is no such path, ``DATASET:DOMAIN`` is a domain of a named data set.
    """
    name, equal, path = text.partition("=")
    if not equal:
        name, path = "", text
    # An existing path wins over a data set's name, since a file may have a colon in its name.
    dataset, _, domain = path.rpartition(":")
    if dataset and domain and not Path(path).expanduser().exists():
        return Place(_name(argument, name or domain), Path(path), (dataset, domain))
    found = Path(path).expanduser()
    plain = found.resolve().name
    plain = plain[:-3] if plain.lower().endswith(".gz") else plain
    name = name or (plain if found.is_dir() else Path(plain).stem)
    if not path or not name:
        raise input_error(argument, got=repr(text), expected="a folder or file, PATH or name=PATH")
    return Place(_name(argument, name), found)


def _name(argument: str, name: str) -> str:
    """Return a domain's name, if tables, messages and folders can show it."""
    if "/" in name or "\\" in name or not name.isprintable() or set(name) <= {".", " "}:
        expected = "a name of one line without / and \\, which names a folder of results"
        raise input_error(argument, got=f"a domain called {name!a}", expected=expected, todo="--source name=PATH")
    return name


def by_name(argument: str, texts: Sequence[str], names: Sequence[str], *, others: bool = False) -> dict[str, str]:
    """Map domains' names to values of an option, VALUE for all or NAME=VALUE for one.

    Args:
        argument: the option, for messages.
        texts: its given values.
        names: of the domains.
        others: pass over values of other names, instead of refusing them.

    Raises:
        InputError: for an unknown name, or two values of one domain.
    """
    found: dict[str, str] = {}
    rest = ""
    # NAME=VALUE counts as a path where such a path exists, as for the domains themselves.
    for text in texts:
        name, equal, value = text.partition("=")
        named = bool(equal) and not Path(text).expanduser().exists()
        if (named and name in found) or (not named and rest):
            raise input_error(argument, got=f"two values, in {' '.join(texts)}", expected="one for a domain")
        if not named:
            rest = text
        elif name in names:
            found[name] = value
        elif not others:
            known = ", ".join(dict.fromkeys(names))
            raise input_error(argument, got=text, expected=f"VALUE, or NAME=VALUE with a name of {known}")
    return {**{name: rest for name in names if rest}, **found}


def maxima(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Parse numbers of the option ``--maximum`` by the domains' names.

    Raises:
        InputError: for anything but numbers above 0, or names that no domain has.
    """
    found = {}
    for name, text in by_name("maximum", texts, names).items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = float("nan")
        if not 0 < found[name] < float("inf"):
            raise input_error("maximum", got=text, expected="a number > 0")
    return found


# Folders of this name say nothing of the domain that they hold, as in Office-31's amazon/images.
GENERAL = frozenset("images image imgs img data train training test testing val validation all".split())


def told_apart(places: Sequence[Place]) -> list[Place]:
    """Rename places that share a general name (``images``) to the folder above."""
    counts = Counter(place.name for place in places)

    def name(place: Place) -> str:
        general = counts[place.name] > 1 and place.name.casefold() in GENERAL and place.dataset is None
        return place.path.resolve().parent.name or place.name if general else place.name

    return [place._replace(name=name(place)) for place in places]
