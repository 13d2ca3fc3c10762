"""What a benchmark's reader hands back."""

from collections.abc import Sequence
from typing import NamedTuple

from dalib.data.domain import Domain, Split
from dalib.data.tagged import TaggedDomain

AnyDomain = Domain | TaggedDomain


class Reading(NamedTuple):
    """What was found: domains by name, and what is wrong, one line a fault."""

    domains: dict[str, AnyDomain]
    faults: list[str]


def pool(name: str, class_names: Sequence[str], split: Split) -> Domain:
    """A domain that serves whole as training data and as test set."""
    return Domain(name, tuple(class_names), {"train": split, "test": split})
