"""Record sources made from others: some of their rows, and images through a view."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dalib.data.domain import Split, split_labels
from dalib.data.transforms import Transform


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
        """SHA-256 of the fingerprint of the source below and the rows."""
        return hashlib.sha256(self.base.fingerprint().encode() + self.index.astype(np.int64).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class ViewedImages:
    """Images through a transform without randomness, decoded when they are asked for, in as many threads as cores."""

    base: Split
    transform: Transform

    def __len__(self) -> int:
        return len(self.base)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """float32 images ``[b, height, width, 3]`` and labels."""
        rows = [int(i) for i in indices]
        examples = list(self._pool.map(self._one, rows))
        return np.stack([x for x, _ in examples]), np.array([y for _, y in examples], np.int32)

    @property
    def labels(self) -> np.ndarray:
        return split_labels(self.base)

    def fingerprint(self) -> str:
        """That of the images as they are stored."""
        return self.base.fingerprint()

    def _one(self, row: int) -> tuple[np.ndarray, int]:
        images, labels = self.base.__getitems__([row])
        view = self.transform(np.asarray(images[0]), np.random.default_rng(0))
        return np.asarray(view, np.float32), int(labels[0])

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(8, os.cpu_count() or 1))
