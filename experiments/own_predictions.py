"""What the examples of a target without labels were taken for, as a table that a spreadsheet opens."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dalib.data.image_files import ImageFiles
from dalib.files import write_atomically
from experiments.own_data import Raw


def names_of(raw: Raw) -> list[str]:
    """What the examples of a place are called: the paths of images, elsewhere the number of the row or text, from 0."""
    if isinstance(raw.inputs, ImageFiles):
        return list(raw.inputs.paths)
    return [str(i) for i in range(len(raw.inputs))]


def write_predictions(folders: Sequence[Path], examples: Sequence[str], class_names: Sequence[str]) -> list[Path]:
    """Writes ``predictions.csv`` (example, class, probability) beside every ``predictions.npz`` in these run folders.

    Args:
        folders: of finished runs; closed-form methods have no probabilities, and an empty column.
        examples: names of the target's examples, in the order of the predictions.
        class_names: of the predicted classes, "unknown" last where there is one.
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
        table.writerow(["example", "class", "probability"])
        for i, (example, label) in enumerate(zip(examples, predicted, strict=True)):
            table.writerow([example, class_names[label], "" if sure is None else f"{sure[i]:.6f}"])
        written.append(write_atomically(folder / "predictions.csv", text.getvalue().encode()))
    return written
