"""Checks that the places of a command fit together: classes, sizes of labels, no data given twice."""

import itertools
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from dalib.data.matching import RELATIONS, UNKNOWN
from dalib.data.readers.arrays import is_sparse
from dalib.data.readers.places import Place, Raw

SHOWN = 20
Reading = tuple[Place, Raw]
"""A place and its examples."""


def check_numbers(readings: Sequence[Reading]) -> None:
    """Raise an InputError unless the labels of all places have equally many numbers."""
    sizes = {place.name: np.shape(raw.labels)[1:] or (1,) for place, raw in readings if raw.labels is not None}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size[0]} in {name}" for name, size in sizes.items())
        raise input_error("labels", got=f"numbers a label: {listed}", expected="the same everywhere")


def check_classes(readings: Mapping[str, Sequence[Reading]], relation: str) -> None:
    """Compare class names: sources with the first, their tests and the target's places with the sources.

    Args:
        readings: by role, see :data:`dalib.run.own.plan.Plan.places`.
        relation: of the label sets.

    Raises:
        InputError: naming every place with classes that do not fit.
    """
    # The first source is the measure: sources must agree, or no classifier serves all of them.
    (first, raw), *others = readings["source"]
    ours = _names(raw)
    faults = [
        f"{first.name} and {place.name}: only in one of them {_listed(other)}"
        for place, raw in others
        if (other := ours ^ _names(raw))
    ]
    # A test may miss a class by chance, but must not ask for one that was never trained.
    for place, raw in readings["source-test"]:
        if extra := _names(raw) - ours:
            faults.append(f"only in --source-test {place.name}, not in {first.name}: {_listed(extra)}")
    for place, raw in readings["target-labelled"]:
        if other := ours ^ _names(raw):
            got = f"only in one of {first.name} and {place.name}: {_listed(other)}"
            faults.append(f"--target-labelled must have the source's classes; {got}")
    faults += _of_target(first.name, ours, [*readings["target"], *readings["target-test"]], relation)
    if faults:
        raise input_error(
            "classes",
            got="".join(f"\n    {fault}" for fault in faults),
            expected=f"label sets as --relation {relation} says",
            todo="rename classes, or choose --relation partial (target lacks some), open (it has more), universal",
        )


def _of_target(source: str, ours: set[str], readings: Sequence[Reading], relation: str) -> list[str]:
    """List faults in the classes of the target's pool and test together."""
    (place, pool), *_ = readings
    theirs = {name for _, raw in readings for name in _names(raw)}
    if all(raw.labels is None for _, raw in readings):
        return []
    faults = []
    may_lack, may_add = RELATIONS[relation]
    # A test may lack a class by chance; that the domain lacks it is only known from a pool with labels.
    if pool.labels is not None and (missing := ours - theirs) and not may_lack:
        faults.append(f"only in {source}, not in {place.name}: {_listed(missing)}")
    if (extra := theirs - ours) and not may_add:
        faults.append(f"only in {place.name}, not in {source}: {_listed(extra)}")
    if not ours & theirs:
        faults.append(f"{source} and {place.name} share no class")
    if may_add and UNKNOWN in ours:
        faults.append(f"{source}: a class {UNKNOWN!r}, the name of what the target has more")
    return faults


def check_distinct(places: Sequence[tuple[str, Place, np.ndarray]]) -> None:
    """Refuse two places with the same examples; labelled target examples may also be in its pool or test, and leave it.

    Args:
        places: role, place and examples of each.

    Raises:
        InputError: naming the two.
    """
    for (role, place, x), (other, second, y) in itertools.combinations(places, 2):
        leaves = other == "target-labelled" and role.startswith("target")
        if not leaves and _equal(x, y):
            got = f"the same data twice: --{role} {place.path} and --{other} {second.path}"
            alone = other == "target-test" and role == "target"
            todo = "leave --target-test out: the target itself is tested on then" if alone else ""
            raise input_error("source and target", got=got, expected="different examples", todo=todo)


def row_bytes(x: Any) -> list[bytes]:
    """Turn each row of an array or a sparse matrix into bytes that can be compared."""
    if not is_sparse(x):
        return [np.ascontiguousarray(row).tobytes() for row in x]
    return [x.indices[a:b].tobytes() + x.data[a:b].tobytes() for a, b in pairwise(x.indptr)]


def _equal(x: Any, other: Any) -> bool:
    if is_sparse(x) != is_sparse(other):
        return False
    return x.shape == other.shape and (x != other).nnz == 0 if is_sparse(x) else np.array_equal(x, other)


def _names(raw: Raw) -> set[str]:
    return set(raw.labels) if isinstance(raw.labels, list) else set()


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:SHOWN]) + (f" … ({len(shown)} in all)" if len(shown) > SHOWN else "")
