"""The order in which a training stream visits the examples of a domain: a pure function of the position."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ORDER, AUGMENTATION = 0, 1
"""Purposes of random numbers, beside the seed, the domain and the epoch or step."""
CACHED_EPOCHS = 4


@dataclass(frozen=True, eq=False)
class EndlessOrder:
    """The order in which one domain's ``n`` examples are visited, epoch after epoch without end.

    Every epoch is a permutation of its own, drawn from (seed, domain, epoch). Positions count visits: position p is
    the (p mod n)-th example of epoch p div n.
    """

    n: int
    batch_size: int
    remainder: str
    permutation: Callable[[int], np.ndarray]

    @property
    def steps_per_epoch(self) -> int:
        return self.n // self.batch_size if self.remainder == "drop" else -(-self.n // self.batch_size)

    def positions(self, step: int) -> np.ndarray:
        """Positions of the global batch of ``step``, ``[b]``."""
        start = step * self.batch_size
        if self.remainder == "drop":
            epoch, within = divmod(step, self.steps_per_epoch)
            start = epoch * self.n + within * self.batch_size
        return np.arange(start, start + self.batch_size)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Row numbers of the examples at these positions."""
        epochs, offsets = np.divmod(positions, self.n)
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows[here] = self.permutation(int(epoch))[offsets[here]]
        return rows


def endless_order(n: int, *, batch_size: int, seed: int, domain: int, remainder: str = "wrap") -> EndlessOrder:
    """Order of ``n`` examples in batches; see :class:`EndlessOrder` and :func:`dalib.data.paired_stream`."""

    # Permutations by the epoch, not grain's shuffle by the element: that took 0.9 ms for 64 look-ups on one CPU core,
    # which two domains would pay on every step; this is a slice.
    @lru_cache(maxsize=CACHED_EPOCHS)
    def permutation(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, domain, ORDER, epoch]).permutation(n)

    return EndlessOrder(n, batch_size, remainder, permutation)
