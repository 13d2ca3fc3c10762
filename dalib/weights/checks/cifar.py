"""Top-1 on CIFAR-10 test images in a file of the user's."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalib.checks import input_error
from dalib.encoders import load
from dalib.types import ImagePreprocessing
from dalib.weights.checks.outcome import Outcome, counted
from dalib.weights.manifest import Entry

FILE = "cifar10_test_jpeg_2000.npz"
BATCH = 500


def check(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Counts right answers on ``cifar10_test_jpeg_2000.npz``: uint8 ``x`` ``[n, 32, 32, 3]`` and labels ``y`` ``[n]``.

    The file is looked for in ``data_dir`` or the environment's ``DALIB_DATA``, there or in its folder ``weights``.
    """
    root = Path(data_dir or os.environ.get("DALIB_DATA") or ".")
    path = next((p for p in (root / FILE, root / "weights" / FILE) if p.is_file()), None)
    if path is None:
        raise input_error("data-dir", got=root, expected=f"a folder with {FILE}", todo="name it, or set DALIB_DATA")
    with np.load(path, allow_pickle=False) as file:
        images, labels = file["x"], file["y"]
    encoder: Any
    encoder, variables, inputs = load(entry.encoder, weights=entry.name, num_classes=entry.num_classes)
    if not isinstance(inputs, ImagePreprocessing):
        raise input_error("name", got=entry.name, expected="weights for images")
    mean, std = np.asarray(inputs.mean, np.float32), np.asarray(inputs.std, np.float32)
    forward = jax.jit(lambda v, x: encoder.apply(v, x, train=False).logits)
    guesses = [
        np.asarray(forward(variables, (images[i : i + BATCH].astype(np.float32) / 255 - mean) / std)).argmax(axis=-1)
        for i in range(0, len(images), BATCH)
    ]
    report(f"  {len(images)} images of {path.name}")
    return counted(int((np.concatenate(guesses) == labels).sum()), len(labels), entry.expected)
