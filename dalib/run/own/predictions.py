"""What the examples of a target without labels were taken for, as a table that a spreadsheet opens."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.files import write_atomically
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.places import Raw


def names_of(raw: Raw) -> list[str]:
    """What the examples of a place are called: the paths of images, elsewhere the number of the row or text, from 0."""
    if isinstance(raw.inputs, ImageFiles):
        return list(raw.inputs.paths)
    return [str(i) for i in range(len(raw.inputs))]


def write_predictions(
    folders: Sequence[Path], examples: Sequence[str], class_names: Sequence[str], unit: Any = None
) -> list[Path]:
    """Writes ``predictions.csv`` (example, class, probability) beside every ``predictions.npz`` in these run folders.

    Without classes it holds the predicted numbers (example, value, value 2, …).

    Args:
        folders: of finished runs; closed-form methods have no probabilities, and an empty column.
        examples: names of the target's examples, in the order of the predictions.
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
        text = io.StringIO(newline="")
        table = csv.writer(text)
        if not class_names:
            mean, spread = (0, 1) if unit is None else unit
            values = predicted * spread + mean
            table.writerow(["example", "value", *(f"value {i + 1}" for i in range(1, values.shape[1]))])
            table.writerows([example, *map(repr, row)] for example, row in zip(examples, values.tolist(), strict=True))
            written.append(write_atomically(folder / "predictions.csv", text.getvalue().encode()))
            continue
        table.writerow(["example", "class", "probability"])
        for i, (example, label) in enumerate(zip(examples, predicted, strict=True)):
            table.writerow([example, class_names[label], "" if sure is None else f"{sure[i]:.6f}"])
        written.append(write_atomically(folder / "predictions.csv", text.getvalue().encode()))
    return written
