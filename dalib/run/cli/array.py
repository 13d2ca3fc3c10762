"""Parts of a grid for several machines: ``--array i/n``."""

import re
from collections.abc import Sequence
from typing import Any

from dalib.core.checks import input_error
from dalib.run.config import Experiment


def share(text: str) -> tuple[int, int]:
    """Parse ``"i/n"`` as (i, n); an empty text is the whole grid, (1, 1).

    Raises:
        InputError: for another form, or i outside 1 … n.
    """
    if not text:
        return 1, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise input_error("array", got=repr(text), expected="i/n with 1 ≤ i ≤ n, for example 1/4, 2/4, 3/4 and 4/4")
    return index, count


def part(experiments: Sequence[Experiment], index: int, count: int) -> list[Experiment]:
    """Return the ``index``-th of ``count`` parts of a grid, in the order of the grid.

    Parts are disjoint and together the whole. A source-only run and the runs of its task and seed that start from it
    are in one part. Units are dealt out in turn by their names, so the parts do not depend on the order of the options.

    Args:
        experiments: the whole grid.
        index: 1 … count.
        count: how many parts.
    """
    units: dict[tuple[Any, ...], list[int]] = {}
    for i, experiment in enumerate(experiments):
        units.setdefault(_unit(experiment), []).append(i)
    mine = [i for unit in sorted(units)[index - 1 :: count] for i in units[unit]]
    return [experiments[i] for i in sorted(mine)]


def _unit(e: Experiment) -> tuple[Any, ...]:
    """Return the key of runs that stay together: a task's source-only run of one seed, and those that start from it."""
    starts = e.needs.start == "source"
    name = "source_only" if starts else e.name
    options = () if starts or e.name == "source_only" else e.method_options
    return (e.source, e.target, name, repr(options), e.seed)
