"""Search for the largest batch that fits, by compiling."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dalib.core.checks import input_error

Compile = Callable[[int], dict[str, Any]]
"""Compile a batch of each domain; return the answer of :func:`dalib.run.preflight.compile.compile_plan`."""


class Search(NamedTuple):
    """The result of a search.

    Attributes:
        batch: the largest that fits, 0 if even the smallest does not.
        too_large: the smallest tried that does not fit; None when the search stopped at ``limit`` before.
        granule: batches are multiples of it.
        tried: batch and whether it fits, in the order of the compilations.
        answer: of the largest that fits.
    """

    batch: int
    too_large: int | None
    granule: int
    tried: list[tuple[int, bool]]
    answer: dict[str, Any] | None


def find_batch(compile_batch: Compile, devices: int, *, start: int, granule: int = 1, limit: int = 2**16) -> Search:
    """Double the batch until it no longer fits, then bisect between the last that fits and the first that does not.

    It assumes only that memory grows with the batch. Where two batches of the bracket have been compiled, the next
    is guessed from their memory by a straight line, but never nearer than an eighth to the bracket's ends (the
    compiler rematerialises when memory is short, and the line bends).

    Args:
        compile_batch: tries a batch.
        devices: batches are multiples of ``granule * devices``.
        start: first batch, rounded down to such a multiple.
        granule: examples a device that are too few to care about.
        limit: no batch above it is tried.

    Raises:
        InputError: for a granule or limit that leaves nothing to try.
    """
    unit = granule * devices
    if granule < 1 or limit < unit:
        raise input_error(
            "granule",
            got=granule,
            expected=f"examples a device ≥ 1, and at least {unit} examples below the limit {limit}",
        )
    tried: list[tuple[int, bool]] = []
    answers: dict[int, dict[str, Any]] = {}

    def fits(units: int) -> bool:
        answer = compile_batch(units * unit)
        answers[units] = answer
        tried.append((units * unit, answer["fits"]))
        return answer["fits"]

    # Doubling first: a compilation takes minutes, and the bracket is found in few of them.
    low, high = 0, max(start // unit, 1)
    while high * unit <= limit and fits(high):
        low, high = high, 2 * high
    known_bad = high in answers
    high = high if known_bad else limit // unit + 1
    # Nothing that failed within the limit: the last that fits is the answer, and there is nothing to bisect.
    while known_bad and high - low > 1:
        middle = _guess(answers, low, high)
        if fits(middle):
            low = middle
        else:
            high = middle
    return Search(low * unit, high * unit if known_bad else None, unit, tried, answers.get(low))


def _guess(answers: dict[int, dict[str, Any]], low: int, high: int) -> int:
    """Return the next batch to try, strictly between the ends of the bracket."""
    middle = (low + high) // 2
    smaller = sorted(units for units, answer in answers.items() if answer["fits"] and units <= low)
    if len(smaller) >= 2:
        a, b = smaller[-2:]
        slope = (answers[b]["memory"]["peak"] - answers[a]["memory"]["peak"]) / (b - a)
        room = answers[b]["hbm"] - answers[b]["memory"]["peak"] - answers[b]["memory"]["code"]
        if slope > 0:
            margin = max((high - low) // 8, 1)
            middle = min(max(b + int(room / slope), low + margin), high - margin)
    return middle
