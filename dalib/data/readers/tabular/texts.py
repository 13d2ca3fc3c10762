"""Tables of texts, or of numbers with real-valued labels: .csv and .jsonl."""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from dalib.data.readers.images import SHOWN
from dalib.data.readers.places import Options, Raw

TEXTS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")


def read_numbers(where: str, path: Path, options: Options, labelled: bool) -> Raw:
    """A table with real-valued labels: texts where it has the column of texts, else vectors of all other columns."""
    names = [name.strip() for name in options.label_column.split(",")]
    faults: list[str] = []
    inputs, labels = list[Any](), list[list[float]]()
    texts, columns = False, list[str]()
    for number, row in _rows(where, path, options, faults):
        if not columns:
            texts = options.kind == "text" or options.text_column in row
            columns = [str(name) for name in row if name not in names and name is not None]
            missing = [name for name in names if name not in row]
            if (labelled and missing) or not columns:
                got = f"columns {', '.join(map(str, row))}"
                expected = f"label columns {', '.join(names)}, and others with features or a text"
                raise input_error(where, got=got, expected=expected, todo="--label-column a,b names the label columns")
        found, bad = _numbers(row, [*([] if texts else columns), *(names if labelled else [])])
        text = row.get(options.text_column)
        if texts and (not isinstance(text, str) or not text.strip()):
            bad.append(f"no text in {options.text_column!r}")
        if not texts and set(map(str, row)) - {*columns, *names}:
            bad.append(f"other columns than the first line, which has {', '.join([*columns, *names])}")
        faults += [f"line {number}: {fault}" for fault in bad]
        inputs.append(text if texts else found[: len(columns)])
        labels.append(found[len(found) - len(names) :] if labelled else [])
    if faults or not inputs:
        shown = "".join(f"\n    {fault}" for fault in faults[:SHOWN]) or " no line"
        more = f"\n    … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise input_error(where, got=f"{len(faults)} faults:{shown}{more}", expected="finite numbers in every column")
    y = np.array(labels, np.float32) if labelled else None
    if y is not None and len(names) == 1:
        y = y[:, 0]
    return Raw("text", inputs, y) if texts else Raw("vectors", np.array(inputs, np.float32), y)


def _numbers(row: dict[str, Any], names: Sequence[str]) -> tuple[list[float], list[str]]:
    """The cells of these columns as numbers that are finite in float32, and what is wrong with the others."""
    found, faults = [], []
    for name in names:
        cell = row.get(name)
        try:
            value = float("nan") if isinstance(cell, bool) else float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = float("nan")
        found.append(value)
        if not abs(value) <= np.finfo(np.float32).max:
            faults.append(f"{cell!r} in {name!r}, which is no finite number")
    return found, faults


def read_texts(where: str, path: Path, options: Options, labelled: bool) -> Raw:
    texts, labels, faults = [], [], list[str]()
    for number, row in _rows(where, path, options, faults):
        text, label = row.get(options.text_column), row.get(options.label_column)
        if not isinstance(text, str) or not text.strip():
            faults.append(f"line {number}: no text in {options.text_column!r} (there are {', '.join(map(str, row))})")
        elif labelled and (label is None or isinstance(label, list | dict | float) or str(label) == ""):
            faults.append(f"line {number}: no label in {options.label_column!r} (there are {', '.join(map(str, row))})")
        else:
            texts.append(text)
            labels.append(str(label))
    if faults or not texts:
        shown = "".join(f"\n    {fault}" for fault in faults[:SHOWN]) or " no line"
        more = f"\n    … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        todo = "--text-column and --label-column name the columns"
        raise input_error(where, got=f"{len(faults)} bad lines:{shown}{more}", expected="a text and a label", todo=todo)
    return Raw("text", texts, labels if labelled else None)


def _rows(where: str, path: Path, options: Options, faults: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        content = data.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise input_error(where, got=f"{error}", expected="text in UTF-8") from None
    if ".csv" in path.name:
        reader = csv.DictReader(io.StringIO(content, newline=""))
        yield from ((reader.line_num, row) for row in reader)
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            faults.append(f"line {number}: not JSON ({error})")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            faults.append(f"line {number}: not a JSON object")
