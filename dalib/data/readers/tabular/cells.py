"""Cells of a table: class names, numbers that are finite in float32, and messages for cells that are neither."""

from collections.abc import Sequence
from typing import Any

from dalib.data.readers.files.names import class_name

LARGEST = 3.4028234663852886e38
"""Largest float32, the type of vectors and labels."""
SHOWN_CHARACTERS = 40
SHOWN_COLUMNS = 20


def finite(cell: Any) -> float | None:
    """Return the number in a cell of CSV or JSON that is finite in float32; None for anything else."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return None
    if isinstance(cell, str) and ("_" in cell or not cell.isascii()):
        return None  # Python takes 1_000 and the digits of other scripts for numbers
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if abs(value) <= LARGEST else None


def class_of(row: dict[str, Any], column: str) -> tuple[str, str]:
    """Return the name of a row's class, and its fault or ``""``."""
    label = row.get(column)
    if label is None or (isinstance(label, str) and not label.strip()):
        return "", absent("label", column, row)
    if not isinstance(label, str | int):
        return "", f"label {shown(label)} in {column!r}, which is neither text nor whole number"
    if not whole_characters(str(label)):
        return "", f"half a character in {column!r} (a lone surrogate)"
    return class_name(str(label)), ""


def numbers_of(row: dict[str, Any], columns: Sequence[str]) -> tuple[list[float], str]:
    """Return a row's real-valued labels, and their fault or ``""``."""
    values = [finite(row.get(column)) for column in columns]
    wrong = [f"{shown(row.get(c))} in {c!r}" for c, value in zip(columns, values, strict=True) if value is None]
    return [value or 0.0 for value in values], f"{', '.join(wrong)}, which is no finite number" if wrong else ""


def absent(what: str, column: str, row: dict[str, Any]) -> str:
    """Say that a row has no text or label in a column, and name the columns if it is not one of them."""
    if column in row:
        return f"no {what} in {column!r}"
    names = list(map(repr, row))
    there = ", ".join(names[:SHOWN_COLUMNS]) + " …" * (len(names) > SHOWN_COLUMNS)
    return f"no {what} in {column!r} (there are {there})"


def shown(cell: Any) -> str:
    """Shorten a long cell for a message."""
    text = repr(cell) if not isinstance(cell, int) else repr(cell) if abs(cell) < 10**SHOWN_CHARACTERS else "a number"
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def whole_characters(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: JSON may hold halves of surrogate pairs."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
