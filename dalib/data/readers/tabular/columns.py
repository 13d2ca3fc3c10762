"""Tables of columns as vectors: numbers as they are, categories as one column for each value in the source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.data.readers.places import Options, Raw
from dalib.data.readers.tabular.cells import class_of, finite, numbers_of, shown
from dalib.data.readers.tabular.content import MOST_FAULTS, Fault, bad_lines

MISSING = frozenset(("", "na", "n/a", "nan", "null", "?"))
"""Cells of columns of numbers, in any case, that hold no value; in a category only an empty one or JSON's null."""
FILLS = ("refuse", "mean")
MANY = 100


@dataclass(frozen=True, eq=False)
class Columns:
    """The features of a table, as read.

    Attributes:
        where: place of the table, for messages.
        lines: line on which each of the n rows begins.
        values: by the column's name, float64 ``[n]`` with NaN for a missing number, or n texts of a category with None.
    """

    where: str
    lines: list[int]
    values: dict[str, np.ndarray | list[str | None]]

    def __len__(self) -> int:
        return len(self.lines)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return rows of numbers as float32 ``[n, d]``; categories and missing values are an InputError."""
        if words := [name for name, values in self.values.items() if isinstance(values, list)]:
            got = f"categories {', '.join(map(repr, words[:20]))}, and a source that is no table"
            raise input_error(self.where, got=got, expected="numbers, or tables of the same columns everywhere")
        return encode_columns(self, fit_columns([self]))[0].astype(dtype or np.float32)


class Encoding(NamedTuple):
    """Statistics of each column on the source, by name.

    Attributes:
        categories: the values of a category in order; None for a column of numbers.
        fill: value for a missing cell: a mean ``[]``, or the share of each category ``[c]``; None to refuse it.
    """

    categories: dict[str, list[str] | None]
    fill: dict[str, np.ndarray | None]


def read_columns(
    where: str, rows: Iterator[tuple[int, dict[str, Any]]], options: Options, labelled: bool, faults: list[Fault]
) -> Raw:
    """Read the rows of a table as vectors with a class or real-valued labels each.

    Args:
        where: for messages.
        rows: with their line numbers.
        options: names of label columns, of columns that are categories, and of columns to drop.
        labelled: False where labels are neither needed nor kept.
        faults: of lines that are no rows; complete once ``rows`` has ended.

    Raises:
        InputError: with every bad cell's line and column.
    """
    # By columns from the start: whether one holds numbers shows only when all of it is there.
    names, lines, labels = options.label_columns, list[int](), list[Any]()
    cells: dict[str, list[Any]] = {}
    known: set[str] = set()
    for line, row in rows:
        # The first row names the features; a later one with others is a fault of its line.
        if not lines:
            cells = {name: [] for name in _features(where, line, row, options, labelled)}
            known = {*row, *names}
        if odd := [name for name in row if name not in known]:
            faults.append(Fault(line, f"a column {odd[0]!r} that the first row does not have"))
        if labelled:
            label, fault = numbers_of(row, names) if options.real else class_of(row, names[0])
            labels.append(label)
            faults += [Fault(line, fault)] if fault else []
        lines.append(line)
        for name, column in cells.items():
            column.append(row.get(name))
        # A file of another kind has a fault on every line, and the first thousand say so.
        if len(faults) >= MOST_FAULTS:
            break
    values = {name: _column(name, column, lines, options, faults) for name, column in cells.items()}
    if faults:
        todo = "--text-column names a column of texts; --kind vectors takes columns of words for categories, and"
        todo += " --categories A B those with numbers in them"
        raise bad_lines(where, faults, expected="finite numbers in every column, and a label", todo=todo)
    found = Columns(where, lines, values)
    if not labelled:
        return Raw("vectors", found, None)
    if not options.real:
        return Raw("vectors", found, labels)
    y = np.array(labels, np.float32)
    return Raw("vectors", found, y[:, 0] if len(names) == 1 else y)


def _features(where: str, line: int, row: dict[str, Any], options: Options, labelled: bool) -> list[str]:
    """Name the columns that are features, from the first row."""
    columns = [name for name in row if name not in options.label_columns and name not in options.drop]
    absent = [name for name in options.label_columns if name not in row] if labelled else []
    absent += [name for name in (*options.categories, *options.drop) if name not in row]
    if absent or not columns or "" in columns:
        got = f"columns {', '.join(map(repr, list(row)[:50])) or 'none'} on line {line}"
        expected = f"label columns {', '.join(options.label_columns)}, and others, named, with features or a text"
        expected += f" (not there: {', '.join(map(repr, absent))})" if absent else ""
        todo = "--label-column, --text-column, --categories and --drop-columns name columns"
        raise input_error(where, got=got, expected=expected, todo=todo)
    return columns


def _column(
    name: str, cells: list[Any], lines: list[int], options: Options, faults: list[Fault]
) -> np.ndarray | list[str | None]:
    """Read one column as numbers or as a category; cells that fit neither are appended to ``faults``."""
    if name not in options.categories:
        numbers = [float("nan") if _missing(cell) else finite(cell) for cell in cells]
        odd = [i for i, value in enumerate(numbers) if value is None]
        words = options.kind == "vectors" and all(isinstance(cells[i], str) and not _number(cells[i]) for i in odd)
        if not odd or not words or any(value == value for value in numbers if value is not None):
            # A column of another kind is one fault, not one a line.
            more = f" (nor are {len(odd) - 1} more cells of this column)" if len(odd) > MANY else ""
            told = odd[: 1 if more else None]
            faults += [Fault(lines[i], f"{shown(cells[i])} in {name!r}, which is no finite number{more}") for i in told]
            return np.array([0.0 if value is None else value for value in numbers])
    wrong = [i for i, cell in enumerate(cells) if isinstance(cell, list | dict)]
    faults += [Fault(lines[i], f"{shown(cells[i])} in {name!r}, which is no category") for i in wrong]
    return [None if cell is None or cell == "" else str(cell) for cell in cells]


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def _number(cell: str) -> bool:
    """Tell whether a cell is a number, finite in float32 or not."""
    try:
        return float(cell) is not None
    except ValueError:
        return False


# Statistics of the columns on the source, used for all places.


def fit_columns(sources: Sequence[Columns], *, missing: str = "refuse") -> Encoding:
    """Learn categories and means from the rows of all sources.

    Args:
        sources: tables with the same columns in any order.
        missing: ``refuse``, or ``mean`` to fill a missing cell with the source's mean (of a category, its shares).

    Raises:
        InputError: for columns that differ between sources or have no value.
    """
    first, faults = sources[0], list[str]()
    categories: dict[str, list[str] | None] = {}
    fill: dict[str, np.ndarray | None] = {}
    for other in sources[1:]:
        check_columns(other, list(first.values))
    for name in first.values:
        own = [source.values[name] for source in sources]
        if len({isinstance(values, list) for values in own}) > 1:
            faults.append(f"{name!r} holds numbers in one source and words in another")
            continue
        # Sorted values make the columns' order independent of the order of rows and sources.
        if isinstance(own[0], list):
            kept: Any = np.array([value for values in own for value in values if value is not None])
            found, counts = np.unique(kept, return_counts=True)
            categories[name], mean = [str(value) for value in found], counts / max(len(kept), 1)
        else:
            kept = np.concatenate(own)  # type: ignore[arg-type]
            kept = kept[~np.isnan(kept)]
            categories[name], mean = None, kept.mean() if len(kept) else np.array(0.0)
        # No mean can fill a column that the source never has a value for.
        if missing == "mean" and len(kept) == 0:
            faults.append(f"{name!r} has no value in the source")
        fill[name] = mean if missing == "mean" else None
    if faults:
        todo = "--drop-columns leaves columns out, --categories A B takes numbers for categories"
        raise input_error(first.where, got="; ".join(faults), expected="columns with values of one kind", todo=todo)
    return Encoding(categories, fill)


def described_columns(encoding: Encoding) -> dict[str, str]:
    """Make the record's facts of such vectors; none of tables with numbers alone."""
    facts = {}
    if named := [name for name, values in encoding.categories.items() if values is not None]:
        facts["categories"] = ", ".join(named)
    if any(fill is not None for fill in encoding.fill.values()):
        facts["missing cells"] = "mean of the source"
    return facts


def encode_columns(columns: Columns, encoding: Encoding) -> tuple[np.ndarray, list[str]]:
    """Make vectors ``[n, d]`` float32 in the source's order of columns, and a note for each value it lacks.

    Such a value has 0 in all columns of its category.

    Raises:
        InputError: for other columns than the source's, or missing cells that are not to be filled, with their lines.
    """
    check_columns(columns, list(encoding.categories))
    blocks, faults, notes = [], list[Fault](), list[str]()
    for name, known in encoding.categories.items():
        values, fill = columns.values[name], encoding.fill[name]
        # A column changes its kind where one file has a word in it: a fault to name, not a category to make.
        if isinstance(values, list) != (known is not None):
            what = "words in the source and numbers here" if known is not None else "numbers in the source, words here"
            raise input_error(columns.where, got=f"{name!r} with {what}", expected="one kind", todo="--categories A B")
        if known is None:
            block = np.array(values, np.float64)[:, None]
            absent = np.flatnonzero(np.isnan(block[:, 0]))
        else:
            # A value that the source lacks matches no column, so its row stays zero there, with a note.
            place = {value: i for i, value in enumerate(known)}
            rows = np.array([place.get(value, -1) for value in values])  # type: ignore[arg-type]
            block = (rows[:, None] == np.arange(len(known))).astype(np.float64)
            absent = np.array([i for i, value in enumerate(values) if value is None], np.intp)
            notes += _unseen(columns, name, place)
        if fill is None:
            faults += [Fault(columns.lines[i], f"no value in {name!r}") for i in absent]
        else:
            block[absent] = fill
        blocks.append(block.astype(np.float32))
    if faults:
        todo = "--missing mean fills them with the source's means; --drop-columns A B leaves columns out"
        raise bad_lines(columns.where, faults, expected="a value in every column", todo=todo)
    return np.concatenate(blocks, axis=1), notes


def check_columns(columns: Columns, names: Sequence[str]) -> None:
    """Raise an InputError for other columns than those of the (first) source; their order may differ."""
    lacks = [name for name in names if name not in columns.values]
    known = set(names)
    more = [name for name in columns.values if name not in known]
    if lacks or more:
        got = "; ".join(
            f"{what} {', '.join(map(repr, found[:20]))}" for what, found in (("no", lacks), ("also", more)) if found
        )
        raise input_error(columns.where, got=f"{got}", expected="the columns of the source", todo="--drop-columns A B")


def _unseen(columns: Columns, name: str, known: dict[str, int]) -> list[str]:
    counts: dict[str, int] = {}
    for value in columns.values[name]:
        if value is not None and value not in known:
            counts[value] = counts.get(value, 0) + 1  # type: ignore[index, call-overload]
    if not counts:
        return []
    listed = ", ".join(f"{value!r} ({count})" for value, count in list(counts.items())[:10])
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    return [f"{columns.where}: values of {name!r} that the source does not have: {listed}{more}"]
