"""What a check of real weights found."""

from collections.abc import Mapping
from typing import NamedTuple


class Outcome(NamedTuple):
    """Attributes: whether the check passed; the same in words, with the measured numbers."""

    passed: bool
    text: str


def counted(right: int, of: int, expected: Mapping[str, float]) -> Outcome:
    """The outcome of counting right answers: at least ``right``, or ``within`` so many of it, as expected.

    Without an expectation nothing but the count is told, and chance (less than a tenth right) fails.
    """
    share = f"{right}/{of} right ({100 * right / of:.2f} %)"
    if "right" not in expected:
        return Outcome(right > of / 10, f"{share}; no number is on record to compare with")
    wanted = int(expected["right"])
    if "within" in expected:
        within = int(expected["within"])
        return Outcome(abs(right - wanted) <= within, f"{share}, expected {wanted} ± {within}")
    return Outcome(right >= wanted, f"{share}, expected at least {wanted}")
