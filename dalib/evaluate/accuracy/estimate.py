"""An estimate with its interval, and resampling of the rows that it was made from."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dalib.core.checks import input_error

RESAMPLES = 200


class Estimate(NamedTuple):
    """Predicted accuracy on the target, with its interval; all in [0, 1], NaN where not defined.

    ``note`` says why there is no estimate, or what speaks against it.
    """

    value: float
    low: float
    high: float
    note: str = ""


def clipped(value: float, low: float, high: float, note: str = "") -> Estimate:
    ends = [float(np.clip(x, 0, 1)) for x in (value, low, high)]
    return Estimate(ends[0], ends[1], ends[2], note)


def undefined(note: str) -> Estimate:
    return Estimate(float("nan"), float("nan"), float("nan"), note)


def bootstrap(
    statistic: Callable[..., float],
    sizes: Sequence[int],
    *,
    level: float = 0.95,
    seed: int = 0,
    note: str = "",
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate a statistic with the percentile interval of resamples: it covers the choice of rows, no false premise.

    ``statistic`` is ``(rows of the first sample, rows of the second …) -> number``, called with row numbers of samples
    of these ``sizes``, which are resampled independently. ``level`` is the coverage, in (0, 1); ``note`` is passed on.
    """
    if not 0 < level < 1:
        raise input_error("level", got=level, expected="a coverage in (0, 1)")
    rng = np.random.default_rng(seed)
    found = [statistic(*(rng.integers(n, size=n) for n in sizes)) for _ in range(resamples)]
    # A resample may leave the statistic undefined (NaN); the interval is of the others.
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return clipped(statistic(*(np.arange(n) for n in sizes)), low, high, note)
