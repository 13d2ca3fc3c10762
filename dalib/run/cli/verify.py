"""Checks of real weights against facts: labelled photographs, CIFAR-10 images, sentences of known likeness."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.core.checks import choose, input_error
from dalib.core.types import ImagePreprocessing, TextPreprocessing
from dalib.data.readers.images import published, read_image
from dalib.data.text import encode, load_tokenizer
from dalib.encoders import load
from dalib.encoders.pretrained.cache import cache_folder, temporary_folder
from dalib.encoders.pretrained.manifest import Entry
from dalib.encoders.pretrained.sources import fetch_archive, members, read_member

# The result of a check on real weights.


class Outcome(NamedTuple):
    """Attributes: whether the check passed; the same in words, with the measured numbers."""

    passed: bool
    text: str


def counted(right: int, of: int, expected: Mapping[str, float]) -> Outcome:
    """Judge a count of right answers: at least ``right`` are expected, or a number ``within`` so many of it.

    Without an expectation only the count is told, and chance (less than a tenth right) fails.
    """
    share = f"{right}/{of} right ({100 * right / of:.2f} %)"
    if "right" not in expected:
        return Outcome(right > of / 10, f"{share}; no number is on record to compare with")
    wanted = int(expected["right"])
    if "within" in expected:
        within = int(expected["within"])
        return Outcome(abs(right - wanted) <= within, f"{share}, expected {wanted} ± {within}")
    return Outcome(right >= wanted, f"{share}, expected at least {wanted}")


# Top-1 on CIFAR-10 test images in the user's own file.


FILE = "cifar10_test_jpeg_2000.npz"
BATCH = 500


def check(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Count right answers on ``cifar10_test_jpeg_2000.npz``: uint8 ``x`` ``[n, 32, 32, 3]`` and labels ``y`` ``[n]``.

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
    # Normalised as the weights were trained; a wrong mean would cost points and look like wrong weights.
    mean, std = np.asarray(inputs.mean, np.float32), np.asarray(inputs.std, np.float32)
    forward = jax.jit(lambda v, x: encoder.apply(v, x, train=False).logits)
    guesses = [
        np.asarray(forward(variables, (images[i : i + BATCH].astype(np.float32) / 255 - mean) / std)).argmax(axis=-1)
        for i in range(0, len(images), BATCH)
    ]
    report(f"  {len(images)} images of {path.name}")
    return counted(int((np.concatenate(guesses) == labels).sum()), len(labels), entry.expected)


# Top-1 on the 20 labelled ImageNet photographs that the package ``foolbox`` carries.


PACKAGE, VERSION, ARCHIVE = "foolbox", "3.3.4", "foolbox-3.3.4-py3-none-any.whl"
SHA256 = "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
MEMBER = re.compile(r"foolbox/data/(imagenet_\d\d_(\d+)\.jpg)")
COUNT = 20


def photographs_check(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Count photographs with the right likeliest class; a label is the index in ImageNet's usual order."""
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
    """Return the 20 files in the cache, fetched on the first call."""
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
        # Moved only when all are unpacked: a broken-off fetch leaves no folder that looks whole.
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(unpacked.iterdir()):
            file.replace(folder / file.name)
    return sorted(folder.glob("imagenet_*.jpg"))


# Cosines of sentence features: paraphrases against unrelated sentences.


PAIRS = (
    ("A man is playing a guitar on the street.", "Someone plays guitar outdoors.", "The share price fell in May."),
    ("How do I reset my password?", "I forgot my password, how can I change it?", "Bake the bread for an hour."),
    ("The cat sleeps on the sofa.", "A cat is lying asleep on the couch.", "Parliament passed the new tax law."),
)
"""A sentence, a paraphrase of it, a sentence about something else."""
MARGIN = 0.4


def sentences_check(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Check that every paraphrase is nearer than the unrelated sentence by 0.4 in cosine."""
    del data_dir
    encoder: Any
    encoder, variables, inputs = load(entry.encoder, weights=entry.name)
    if not isinstance(inputs, TextPreprocessing) or inputs.tokenizer is None:
        raise input_error("name", got=entry.name, expected="weights with their tokeniser in the same folder")
    tokenizer = load_tokenizer(inputs.tokenizer)
    rows = encode(tokenizer, [text for triple in PAIRS for text in triple], max_length=inputs.max_length)
    features = np.asarray(jax.jit(lambda v, x: encoder.apply(v, x, train=False).features)(variables, rows))
    # One triple a row, on the unit sphere: inner products are cosines.
    features = (features / np.linalg.norm(features, axis=-1, keepdims=True)).reshape(len(PAIRS), 3, -1)
    alike, other = (np.einsum("nd,nd->n", features[:, 0], features[:, i]) for i in (1, 2))
    for (text, *_), a, b in zip(PAIRS, alike, other, strict=True):
        report(f"  {text} paraphrase {a:.3f}, unrelated {b:.3f}")
    gap = float((alike - other).min())
    return Outcome(
        gap >= MARGIN, f"smallest gap between paraphrase and unrelated {gap:.3f}, expected at least {MARGIN}"
    )


# Checks of real weights against facts: labelled photographs, CIFAR-10 images, sentences of known likeness.


CHECKS: dict[str, Callable[..., Outcome]] = {
    "photographs": photographs_check,
    "cifar": check,
    "sentences": sentences_check,
}
"""Checks by the name in the manifest's entries; each takes the entry, ``data_dir`` and ``report``."""


def verify(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Repeat the check of an entry on its real weights.

    Args:
        entry: of the manifest.
        data_dir: folder with data that a check needs and no package carries.
        report: called with each single result.

    Raises:
        InputError: for an entry without a check, weights or data that cannot be had.
    """
    if not entry.check:
        raise input_error("name", got=entry.name, expected="an entry with a check on real data", todo="see its parity")
    return choose("check", entry.check, CHECKS)(entry, data_dir=data_dir, report=report)
