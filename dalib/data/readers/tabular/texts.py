"""Users' tables, ``.csv``, ``.tsv`` and ``.jsonl``: texts with a label each, or rows of columns."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from dalib.data.readers.places import Options, Raw
from dalib.data.readers.tabular.cells import absent, class_of, numbers_of, whole_characters
from dalib.data.readers.tabular.columns import read_columns
from dalib.data.readers.tabular.content import MOST_FAULTS, Fault, bad_lines, form_of, lines_of, read_content
from dalib.data.readers.tabular.delimited import read_delimited
from dalib.data.readers.tabular.json_lines import read_json_lines

Rows = Iterator[tuple[int, dict[str, Any]]]
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_table(where: str, path: Path, options: Options, labelled: bool) -> Raw:
    """Read a table: texts where it has the column of texts, otherwise vectors of all columns but the labels.

    Args:
        where: for messages.
        path: the file.
        options: kind, names of the columns, and whether labels are real numbers.
        labelled: False where labels are neither needed nor kept.

    Raises:
        InputError: for a file without rows, or with the lines and reasons of all bad ones.
    """
    faults, notes = list[Fault](), list[str]()
    form, content = form_of(path.name), read_content(where, path)
    if form == ".jsonl":
        rows = read_json_lines(content, faults)
    else:
        rows = read_delimited(where, content, DELIMITERS[form], faults, notes)
    # The first row tells texts from columns, and is then read again with the others.
    if (first := next(rows, None)) is None:
        if faults:
            raise bad_lines(where, faults, expected="one row or more")
        raise input_error(where, got="no row", expected="one row or more")
    rows = chain([first], rows)
    if options.kind == "text" or (options.kind is None and options.text_column in first[1]):
        raw = _texts(where, rows, options, labelled, faults)
    else:
        raw = read_columns(where, rows, options, labelled, faults)
    return raw._replace(notes=tuple(notes))


def read_lines(where: str, path: Path, labelled: bool) -> Raw:
    """Read texts without labels, one a line.

    Raises:
        InputError: where labels are needed, for no text, or a bad file.
    """
    if labelled:
        got, todo = f"texts without labels in {path.name}", "write them as .csv, .tsv or .jsonl with a label column"
        raise input_error(where, got=got, expected="a label for each text", todo=todo)
    texts = [line for _, line in lines_of(read_content(where, path)) if line.strip()]
    if not texts:
        raise input_error(where, got="no text", expected="one text a line")
    return Raw("text", texts, None)


def _texts(where: str, rows: Rows, options: Options, labelled: bool, faults: list[Fault]) -> Raw:
    column = options.text_column
    names = options.label_columns
    texts: list[str] = []
    labels: list[Any] = []
    # A bad line is kept as a fault, so that one error names the first thousand of them.
    for line, row in rows:
        text, fault = row.get(column), ""
        if not isinstance(text, str) or not text.strip():
            fault = absent("text", column, row)
        elif not whole_characters(text):
            fault = f"half a character in {column!r} (a lone surrogate)"
        if labelled:
            label, wrong = numbers_of(row, names) if options.real else class_of(row, names[0])
            labels.append(label)
            fault = fault or wrong
        texts.append(text or "")
        if fault:
            faults.append(Fault(line, fault))
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        todo = "--text-column and --label-column name the columns"
        raise bad_lines(where, faults, expected="a text and a label on each line", todo=todo)
    if not labelled:
        return Raw("text", texts, None)
    if not options.real:
        return Raw("text", texts, labels)
    y = np.array(labels, np.float32)
    return Raw("text", texts, y[:, 0] if len(names) == 1 else y)
