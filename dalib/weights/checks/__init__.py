"""Checks of real weights against facts: labelled photographs, CIFAR-10 images, sentences of known likeness."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dalib.checks import choose, input_error
from dalib.weights.checks import cifar, photographs, sentences
from dalib.weights.checks.outcome import Outcome as Outcome
from dalib.weights.manifest import Entry

CHECKS: dict[str, Callable[..., Outcome]] = {
    "photographs": photographs.check,
    "cifar": cifar.check,
    "sentences": sentences.check,
}
"""By the name that an entry of the manifest gives; each takes the entry, ``data_dir`` and ``report``."""


def verify(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Repeats the check of an entry on its real weights.

    Args:
        entry: of the manifest.
        data_dir: folder with data that a check needs and no package carries.
        report: is told single results.

    Raises:
        InputError: for an entry without a check, weights or data that cannot be had.
    """
    if not entry.check:
        raise input_error("name", got=entry.name, expected="an entry with a check on real data", todo="see its parity")
    return choose("check", entry.check, CHECKS)(entry, data_dir=data_dir, report=report)
