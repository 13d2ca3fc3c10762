"""Kinds of values that an option may have, for annotations: numbers in an interval, names of a table, patterns.

``str`` gives a kind in words, ``holds`` tests a value.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np


class Number(NamedTuple):
    """A finite number in an interval; as annotation ``Annotated[Any, Number(0)]``.

    A traced scalar passes, as it has no value yet.

    Attributes:
        low, high: ends of the interval.
        open_low, open_high: whether the end itself is excluded.
        whole: integers alone.
        varies: whether a function of the view may take the number's place.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False
    varies: bool = False

    def __str__(self) -> str:
        what = "an integer" if self.whole else "a number"
        if math.isinf(self.high):
            return what if math.isinf(self.low) else f"{what} {'>' if self.open_low else '≥'} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{what} in {left}{self.low:g}, {self.high:g}{right}"

    def holds(self, value: Any) -> bool:
        if isinstance(value, jax.core.Tracer):
            return True
        # A schedule of the view; its values are known only in a step.
        if self.varies and callable(value):
            return True
        # A bool is an int to Python, but no number to a user.
        kinds = (int, np.integer) if self.whole else (int, float, np.number, np.ndarray, jax.Array)
        if isinstance(value, bool | np.bool_) or not isinstance(value, kinds):
            return False
        if np.ndim(value) or np.iscomplexobj(value):
            return False
        try:
            number = float(value)
        except OverflowError:  # an integer of more than 308 digits
            return False
        above = self.low < number if self.open_low else self.low <= number
        below = number < self.high if self.open_high else number <= self.high
        return math.isfinite(number) and above and below


class OneOf(NamedTuple):
    """One of the names of a table."""

    table: Iterable[str]

    def __str__(self) -> str:
        return "one of " + ", ".join(self.table)

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and value in tuple(self.table)


class Pattern(NamedTuple):
    """A regular expression."""

    def __str__(self) -> str:
        return "a regular expression"

    def holds(self, value: Any) -> bool:
        try:
            return isinstance(value, str) and re.compile(value) is not None
        except (re.error, OverflowError, RecursionError):
            return False


Weight = Annotated[Any, Number(0, varies=True)]
"""A trade-off: a number ≥ 0, a traced scalar, or a function of the view."""
Real = Annotated[Any, Number()]
NonNegative = Annotated[Any, Number(0)]
Positive = Annotated[Any, Number(0, open_low=True)]
Share = Annotated[Any, Number(0, 1)]
Rate = Annotated[float, Number(0, 1, open_high=True)]
"""Of dropout or momentum: [0, 1)."""
Count = Annotated[int, Number(1, whole=True)]
Natural = Annotated[int, Number(0, whole=True)]
Several = Annotated[int, Number(2, whole=True)]
Widths = Sequence[Count]
Patterns = Sequence[Annotated[str, Pattern()]]
