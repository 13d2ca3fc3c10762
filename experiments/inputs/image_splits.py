"""Record sources made from others: some of their rows, and images through a view."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dalib.data.domain import Split, split_labels
from dalib.data.readers.images import ImageFiles
from dalib.data.transforms import Transform

KEPT = 2 << 30
"""Bytes of decoded images that a split may keep in memory."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows ``index`` of a record source."""

    base: Split
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray | list[np.ndarray], np.ndarray]:
        return self.base.__getitems__(self.index[np.asarray(indices, np.intp)].tolist())

    @property
    def labels(self) -> np.ndarray:
        return split_labels(self.base)[self.index]

    def fingerprint(self) -> str:
        """SHA-256 of the fingerprint of the base source and the rows."""
        return hashlib.sha256(self.base.fingerprint().encode() + self.index.astype(np.int64).tobytes()).hexdigest()


def contents(split: Split) -> list[str]:
    """A digest of each example, the same for equal ones: of a file's bytes, or of an array's."""
    if isinstance(split, ViewedImages):
        return contents(split.base)
    if isinstance(split, ImageFiles):
        return [hashlib.sha256((split.root / path).read_bytes()).hexdigest() for path in split.paths]
    found = []
    for i in range(len(split)):
        example = np.ascontiguousarray(split.__getitems__([i])[0][0])
        found.append(hashlib.sha256(f"{example.shape}{example.dtype}".encode() + example.tobytes()).hexdigest())
    return found


@dataclass(frozen=True, eq=False)
class ViewedImages:
    """Images through transforms without randomness, decoded when they are asked for, in as many threads as cores.

    Attributes:
        base: images of any size.
        geometry: to uint8 images of one size, which are kept where all of them take at most ``keep`` bytes.
        finish: from these to what enters the net.
        keep: ``KEPT``; 0 keeps nothing.
    """

    base: Split
    geometry: Transform
    finish: Transform
    keep: int = KEPT

    def __len__(self) -> int:
        return len(self.base)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """float32 images ``[b, height, width, 3]`` and labels."""
        rows = [int(i) for i in indices]
        return np.stack(list(self._pool.map(self._one, rows))), self.labels[rows]

    @cached_property
    def labels(self) -> np.ndarray:
        """All labels ``[n]``."""
        return split_labels(self.base)

    def fingerprint(self) -> str:
        """That of the images as they are stored."""
        return self.base.fingerprint()

    def _one(self, row: int) -> np.ndarray:
        generator = np.random.default_rng(0)
        square = self._kept.get(row)
        if square is None:
            square = self.geometry(np.asarray(self.base.__getitems__([row])[0][0]), generator)
            if square.nbytes * len(self) <= self.keep:
                self._kept[row] = square
        return np.asarray(self.finish(square, generator), np.float32)

    @cached_property
    def _kept(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(8, os.cpu_count() or 1))
