"""``predictions.csv``: predictions for a target without labels, in the order of the user's file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.core.files import write_atomically
from dalib.data.readers.files.names import printable
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.places import Raw

FORMULA = tuple("=+-@\t\r＝＋－＠")
"""Characters that start a formula in a spreadsheet."""


class Example(NamedTuple):
    """One example of the target.

    Attributes:
        row: its number among the examples of its file or folder, from 1.
        name: path of an image, in printable form; of others their number from 0.
    """

    row: int
    name: str


def examples_of(raw: Raw) -> list[Example]:
    """List rows and names of the examples of a place, in its order."""
    images = isinstance(raw.inputs, ImageFiles)
    names = map(printable, raw.inputs.paths) if images else map(str, range(len(raw.inputs)))
    return [Example(row, name) for row, name in enumerate(names, start=1)]


def write_predictions(
    folders: Sequence[Path], examples: Sequence[Example], class_names: Sequence[str], unit: Any = None
) -> list[Path]:
    """Write ``predictions.csv`` (example, class, probability, row) next to every ``predictions.npz`` in run folders.

    Without classes it holds the predicted numbers (example, value, value 2, …, row).

    Args:
        folders: of finished runs; closed-form methods have no probabilities, and an empty column.
        examples: of the target, in the order of the predictions.
        class_names: of the predicted classes, "unknown" last where there is one; none for a regression.
        unit: ``(mean, deviation)`` that takes predicted numbers back to the labels' own scale.
    """
    written = []
    for folder in folders:
        source = folder / "predictions.npz"
        if not source.is_file():
            continue
        with np.load(source, allow_pickle=False) as arrays:
            predicted = arrays["predictions"]
            sure = arrays["probabilities"].max(1) if "probabilities" in arrays.files else None
        # Closed-form methods predict without probabilities: their column stays empty, not zero.
        if class_names:
            header = ["class", "probability"]
            columns = [[class_names[i] for i in predicted], [""] * len(predicted) if sure is None else sure.tolist()]
            columns[1] = [f"{p:.6f}" if p != "" else "" for p in columns[1]]
        else:
            mean, spread = (0, 1) if unit is None else unit
            values = predicted * spread + mean
            header = ["value", *(f"value {i + 1}" for i in range(1, values.shape[1]))]
            columns = [list(map(repr, column)) for column in values.T.tolist()]
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(["example", *header, "row"])
        # Names come from the user's files, and a spreadsheet would run what looks like a formula.
        for example, *cells in zip(examples, *columns, strict=True):
            table.writerow([harmless(example.name), *map(harmless, cells), example.row])
        written.append(write_atomically(folder / "predictions.csv", text.getvalue().encode()))
    return written


def harmless(cell: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run as a formula; leave numbers as they are."""
    if not cell.lstrip(" \n").startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
