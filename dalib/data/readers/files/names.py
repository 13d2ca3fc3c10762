"""Names of files and classes as text that every record, table and terminal can hold."""

import unicodedata
from collections.abc import Iterable


def printable(name: str) -> str:
    r"""Write bytes of a file's name that are not UTF-8 as ``\xNN``; leave other names as they are."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def class_name(text: str) -> str:
    """Make a class's name printable and in Unicode's composed form (NFC).

    macOS writes decomposed names (NFD), so that one class would be two that look the same.
    """
    return unicodedata.normalize("NFC", printable(text))


def twins(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Find groups of different names that :func:`class_name` makes equal, each sorted."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(class_name(name), set()).add(name)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]


def spellings(path: str) -> tuple[str, ...]:
    """List a path as written, then in the other Unicode forms and with slashes for backslashes, each once."""
    forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys((path, *forms, path.replace("\\", "/"))))
