"""The digit domains of each protocol, ready for a net: size, channels, values in [−1, 1]."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.data import DIGIT_DOMAINS, Domain, from_arrays
from dalib.data.benchmarks import load
from dalib.data.digits import FRAME, GEOMETRIES, mnist_frame
from dalib.data.readers.arrays import ArraySplit
from dalib.run.config import Experiment

CLASSES = tuple("0123456789")
COLOURED = ("mnist_m",)
PACKAGED_SIZE = 16
SUBSETS = {"mnist": 2000, "usps": 1800}
TASKS = (("mnist", "usps"), ("usps", "mnist"))


class DigitProtocol(NamedTuple):
    """The examples that train and test in one protocol.

    Attributes:
        text: in a few words.
        domains: its domains.
        tasks: those run when none is asked for.
        variant: the ledger's name of its data, per pair; empty where no publication has it.
    """

    text: str
    domains: tuple[str, ...]
    tasks: tuple[tuple[str, str], ...]
    variant: Callable[[str, str], str]


PROTOCOLS = {
    "packaged": DigitProtocol(
        "the sets inside packages, with splits of their own: no files needed",
        tuple(DIGIT_DOMAINS),
        (("mnist", "optdigits"), ("optdigits", "mnist"), ("mnist", "mnist_m")),
        lambda source, target: "",
    ),
    "small": DigitProtocol(
        "2,000 MNIST and 1,800 USPS training images drawn at random for each seed; the target's official test set",
        tuple(SUBSETS),
        TASKS,
        lambda source, target: "2,000 MNIST and 1,800 USPS training images",
    ),
    "full": DigitProtocol(
        "the official training sets; the target's official test set",
        ("mnist", "usps", "mnist_m"),
        (*TASKS, ("mnist", "mnist_m")),
        lambda source, target: (
            "full training sets; mnist_m blended with BSDS500"
            if "mnist_m" in (source, target)
            else "full training sets"
        ),
    ),
}
"""Protocols by name; all but ``packaged`` read the files of :mod:`dalib.data.benchmarks.digits`."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """A record source of bytes ``[n, h, w, c]`` as float32 in [−1, 1]; one channel is repeated where more are asked."""

    base: ArraySplit
    channels: int

    def __len__(self) -> int:
        return len(self.base)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.base.__getitems__(indices)
        x = x.astype(np.float32) / np.float32(127.5) - np.float32(1)
        return (x if x.shape[-1] == self.channels else np.repeat(x, self.channels, axis=-1)), y

    @property
    def labels(self) -> np.ndarray:
        """int32 ``[n]``."""
        return self.base.labels

    def fingerprint(self) -> str:
        """Return the fingerprint of the bytes; the record also has the number of channels."""
        return self.base.fingerprint()


def stated(protocol: str, source: str, target: str, geometry: str) -> tuple[tuple[str, str], ...]:
    """Make the record's facts of the data; none for the packaged sets, which have fingerprints."""
    if protocol == "packaged":
        return ()
    frame = choose("geometry", geometry, GEOMETRIES)
    found = (("split", "held out"), ("variant", PROTOCOLS[protocol].variant(source, target)))
    return (*found, ("USPS geometry", frame)) if "usps" in (source, target) else found


def reader(
    protocol: str, *, size: int | None, geometry: str, data_dir: Path | None
) -> Callable[[Sequence[Experiment]], Callable[[Experiment], tuple[Domain, Domain]]]:
    """Make a function that reads the data of experiments and gives each its source and target.

    Both domains have three channels where one of them is coloured, one elsewhere. Data is read and checked whole when
    the function is called, which is before any training.

    Args:
        protocol: a name of :data:`PROTOCOLS`.
        size: height and width of the images; by default 16 for the packaged sets, 28 for the others.
        geometry: how USPS's 16×16 pixels enter MNIST's frame, see :func:`dalib.data.digits.mnist_frame`.
        data_dir: where the files are; the environment variable DALIB_DATA without it.

    Raises:
        InputError: an unknown protocol or geometry, a size that the protocol does not have, or, when called, faults of
            the data, all at once.
    """
    choose("protocol", protocol, PROTOCOLS)
    choose("geometry", geometry, GEOMETRIES)
    side = size or (PACKAGED_SIZE if protocol == "packaged" else FRAME)
    if protocol != "packaged" and side != FRAME:
        raise input_error("size", got=size, expected=f"{FRAME} with the protocol {protocol}")

    def channels(e: Experiment) -> int:
        return 3 if {e.source, e.target} & set(COLOURED) else 1

    def read(todo: Sequence[Experiment]) -> Callable[[Experiment], tuple[Domain, Domain]]:
        # Only domains of the runs at hand: a part of a grid needs no files of the others.
        names = tuple(sorted({name for e in todo for name in (e.source, e.target)}))
        files = {} if protocol == "packaged" or not names else _files(data_dir, names, geometry)

        @cache
        def domain(name: str, count: int, seed: int) -> Domain:
            if protocol == "packaged":
                return packaged(name, side, count)
            whole = files[name]
            splits = {"train": whole["train"], "test": whole["test"]}
            if protocol == "small":
                # The small protocol draws its subset by the seed, so its domain is another one for every seed.
                splits["train"] = subset(whole["train"], SUBSETS[name], seed=seed)
            return Domain(name, CLASSES, {split: Pixels(part, count) for split, part in splits.items()})

        def drawn(e: Experiment) -> int:
            return e.seed if protocol == "small" else 0

        return lambda e: (domain(e.source, channels(e), drawn(e)), domain(e.target, channels(e), drawn(e)))

    return read


def packaged(name: str, size: int, channels: int) -> Domain:
    """Read a digit domain out of packages, with values brought from [0, 1] to [−1, 1]."""
    domain = DIGIT_DOMAINS[name](size, channels=channels)
    arrays = {split: domain.split(split).__getitems__(range(len(domain.split(split)))) for split in domain.splits}
    signed = {s: (2 * np.asarray(x) - 1, y) for s, (x, y) in arrays.items()}
    return from_arrays(name, signed, class_names=domain.class_names)


def subset(split: ArraySplit, count: int, *, seed: int) -> ArraySplit:
    """Draw ``count`` examples without replacement, the same ones for the same seed, in stored order."""
    if count > len(split):
        raise input_error("subset", got=f"{count} of {len(split)} examples", expected="at most all of them")
    rows = np.sort(np.random.default_rng([seed, count]).permutation(len(split))[:count])
    return ArraySplit(*split.__getitems__(rows.tolist()))


def _files(data_dir: Path | None, names: tuple[str, ...], geometry: str) -> dict[str, dict[str, ArraySplit]]:
    """Read the bytes of each domain by split, ``[n, 28, 28, c]``."""
    found: dict[str, dict[str, ArraySplit]] = {}
    for name, domain in load("digits", data_dir, domains=names).items():
        found[name] = {}
        for split in ("train", "test"):
            x, y = domain.splits[split].__getitems__(range(len(domain.splits[split])))  # type: ignore[union-attr]
            x = np.asarray(x)
            if name == "usps":
                x = mnist_frame(x[..., 0], geometry)[..., None]
            found[name][split] = ArraySplit(x, y)
    return found
