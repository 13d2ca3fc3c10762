"""CSV and TSV, read strictly: no row is lost or cut, and lines that are no rows are named.

The rules are those of RFC 4180. A cell is quoted as a whole, with ``""`` for a quote inside it, or not at all. The
module ``csv`` of the standard library reads on after a stray quote and swallows the rows up to the next one.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dalib.core.checks import input_error
from dalib.data.readers.tabular.content import MOST_FAULTS, Fault

QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')
PLAIN = {mark: re.compile(rf"[^{mark}\n]*+") for mark in (",", "\t")}
BLANK_THEN_QUOTE = re.compile(r'[ \t]+"')
NAMES = {",": "comma", "\t": "tab"}
RESCANS = 4
"""Multiple of the text's length that may be read again after stray quotes, before reading stops."""
SHOWN = 10


class Record(NamedTuple):
    """Cells of a row, the line on which it begins, and the line after its last one."""

    line: int
    cells: list[str]
    next_line: int


def read_delimited(
    where: str, content: str, delimiter: str, faults: list[Fault], notes: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows of a table by the names in its first line, with the line on which each begins.

    Args:
        where: for messages.
        content: the text.
        delimiter: a comma or a tab.
        faults: faults of other rows are appended; complete when the iterator has ended.
        notes: a remark for the user is appended: the number of rows over several lines.

    Raises:
        InputError: for a first line that names no columns, or one name twice.
    """
    if "\n" not in content:
        content = content.replace("\r", "\n")  # line ends of old spreadsheets
    records = _records(content, delimiter, faults)
    columns = _header(where, next(records, None), faults, delimiter)
    several = []
    for record in records:
        if record.next_line - record.line > 1:
            several.append(record)
        yield record.line, dict(zip(columns, record.cells, strict=True))
    if several:
        longest = max(several, key=lambda record: record.next_line - record.line)
        span = f"the longest from line {longest.line} to {longest.next_line - 1}"
        notes.append(f"{where}: {len(several)} rows with cells of several lines, {span}")
    if suspects := [r for r in several if _rows_within(r, len(columns), delimiter)[1]]:
        faults += _swallowed(suspects, _records(content, delimiter, []), len(columns), delimiter)


def _header(where: str, first: Record | None, faults: Sequence[Fault], delimiter: str) -> list[str]:
    columns = [] if first is None else first.cells
    if faults or not any(columns):
        got = f"{faults[0].text} on line {faults[0].line}" if faults else "no names in the first line"
        raise input_error(where, got=got, expected="a first line with the names of the columns")
    if repeated := sorted(name for name, count in Counter(columns).items() if name and count > 1):
        got = f"several columns {', '.join(map(repr, repeated[:SHOWN]))}"
        raise input_error(where, got=got, expected="different names")
    # One column with another mark in it is a file with another delimiter.
    if len(columns) == 1 and (other := next((mark for mark in ";\t|" if mark in columns[0]), None)):
        got = f"one column, {columns[0]!r}"
        todo = "save it with commas, or as .tsv with tabs"
        raise input_error(where, got=got, expected=f"columns divided by a {NAMES[delimiter]}, not {other!r}", todo=todo)
    return columns


def _records(content: str, delimiter: str, faults: list[Fault]) -> Iterator[Record]:
    """Yield all rows with as many cells as the first; the first one comes in any case."""
    start, line, width, again = 0, 1, 0, RESCANS * len(content)
    last = len(content.rstrip())
    while start < len(content):
        end = content.find("\n", start)
        end = len(content) if end < 0 else end
        # Lines without a quote are rows by themselves, and quick to split; only others need the slow reader.
        if content.find('"', start, end) < 0:
            cells, after = content[start:end].removesuffix("\r").split(delimiter), end + 1
            if cells == [""] and (width != 1 or start >= last):  # in a single column an empty line is an empty cell
                start, line = after, line + 1
                continue
            fault = "a carriage return within a row" if "\r" in content[start : end - 1] else ""
        else:
            cells, after, fault = _quoted(content, start, delimiter)
            if fault:
                # The line is taken for the fault's place, and the next one for the start of a row.
                again, after = again - (after - start), end + 1
        next_line = line + content.count("\n", start, after)
        width = width or len(cells)
        # As many cells as the first line, or some cell was cut: a row of another width is never filled up.
        if not fault and len(cells) != width:
            mark = NAMES[delimiter]
            why = f": a text with a {mark} in it needs quotes around it" if len(cells) > width else ""
            fault = f"{len(cells)} cells, but the first line has {width}{why}"
        if fault:
            faults.append(Fault(line, fault))
        else:
            yield Record(line, cells, next_line)
        if len(faults) >= MOST_FAULTS:
            return
        # Each stray quote may make the rest be read again; the bound keeps a bad file from taking quadratic time.
        if again < 0:
            faults.append(Fault(line, "so many stray quotes up to here that the rest was not read"))
            return
        start, line = after, next_line


def _quoted(content: str, at: int, delimiter: str) -> tuple[list[str], int, str]:
    """Read the row at ``at``: its cells, the place after it in the text, and a fault or ``""``."""
    cells: list[str] = []
    while True:
        if content.startswith('"', at):
            found = QUOTED.match(content, at)
            if found is None:
                return cells, len(content), 'a quote " that opens a cell and is never closed'
            cells.append(found[1].replace('""', '"'))
            at = found.end()
            # A closing quote must end the cell: anything after it shows a quote that was not doubled.
            rest = content[at : at + 2]
            if rest and not rest.startswith((delimiter, "\n")) and rest != "\r\n":
                far = content.count("\n", found.start(), at)
                place = f" {far} line{'s' * (far > 1)} below" if far else ""
                what = 'an escape \\"' if found[1].endswith("\\") else f'a quote " before {rest[:1]!r}'
                return cells, at, f'{what}{place} in a quoted cell (a quote inside it is written "")'
        else:
            cell = PLAIN[delimiter].match(content, at)[0]  # type: ignore[index]
            end = at + len(cell)
            # A blank before a quote would make the quote part of the cell, and its commas new cells.
            if BLANK_THEN_QUOTE.match(cell):
                return cells, end, 'a blank before the quote " that opens a cell'
            if "\r" in cell.removesuffix("\r") or (cell.endswith("\r") and content.startswith(delimiter, end)):
                return cells, end, "a carriage return within a row"
            cells.append(cell.removesuffix("\r"))
            at = end
        if content.startswith("\r\n", at):
            at += 1
        if at >= len(content) or content[at] == "\n":
            return cells, at + 1, ""
        at += 1


# Two stray quotes, one at the start of a cell and one at the end of another, make a valid cell of several lines.


def _rows_within(record: Record, width: int, delimiter: str) -> tuple[int, list[list[str]]]:
    """Return the column of a cell of several lines, and these as rows, if all but the last are as wide as the table."""
    for place, cell in enumerate(record.cells):
        # The first line lacks the cells before this one, the last those after it.
        rows = [line.removesuffix("\r").split(delimiter) for line in cell.split("\n")[:-1]]
        if rows and width > 1:
            rows[0] = record.cells[:place] + rows[0]
            if all(len(row) == width for row in rows):
                # Cells of its own record before it say nothing.
                return place, [[""] * place + rows[0][place:], *rows[1:]]
    return 0, []


def _swallowed(suspects: list[Record], records: Iterator[Record], width: int, delimiter: str) -> list[Fault]:
    """Find suspects with a line that looks like rows of the table in some column."""
    lines = {record.line for record in suspects}
    next(records)
    # Values of all rows that are surely rows, column by column: the measure for the suspects.
    seen: list[Counter[str]] = [Counter() for _ in range(width)]
    for record in records:
        if record.line not in lines:
            for values, cell in zip(seen, record.cells, strict=True):
                values[cell] += 1
    numbers = [bool(values) and all(map(_whole, values)) for values in seen]
    # Of the column that the cell itself is in, values tell something only where they come again and again.
    repeated = [2 * len(values) <= values.total() for values in seen]
    faults = []
    for record in suspects:
        place, rows = _rows_within(record, width, delimiter)
        known = (
            bool(cell.strip()) and (cell in seen[column] or (numbers[column] and _whole(cell)))
            for row in rows
            for column, cell in enumerate(row)
            if column != place or repeated[column]
        )
        if any(known):
            last = record.next_line - 1
            what = f'a quote " that swallows whole rows up to line {last}, as it seems (a .jsonl is unambiguous)'
            faults.append(Fault(record.line, what))
    return faults


def _whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()
