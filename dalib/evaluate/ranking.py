"""Ranking of candidates (methods, hyper-parameters, seeds, steps) by validators; no target label can enter."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.evaluate.validators.consensus import mean_rank
from dalib.evaluate.validators.evidence import Evidence
from dalib.evaluate.validators.scoring import Scored, scores

STATES = ("ok", "collapsed", "undefined")


class Candidate(NamedTuple):
    """One model that could be shipped, of unique ``name``; ``source_only`` was trained on the source alone.

    ``scores`` by validator are made from :class:`~dalib.evaluate.validators.Evidence`, which holds no target labels.
    """

    name: str
    scores: Mapping[str, Scored]
    source_only: bool = False


class Place(NamedTuple):
    """A candidate's place in a ranking.

    ``value`` is the validator's score; of several validators the mean rank, from 0 (last) to 1 (first). A ``state`` of
    :data:`STATES` other than "ok" comes below source-only, and ``why`` says why.
    """

    candidate: Candidate
    value: float
    state: str
    why: str


def candidates(
    evidence: Mapping[str, Evidence], source_only: Sequence[str], names: Sequence[str] | None = None
) -> list[Candidate]:
    """Score evidence, a mapping of candidates' names, by validators (all by default).

    ``source_only`` names those trained on the source alone. Raises an InputError for other things than evidence, or
    numbers of examples or classes that differ.
    """
    for name, item in evidence.items():
        if not isinstance(item, Evidence):
            raise input_error("evidence", got=f"{type(item).__name__} for {name}", expected="Evidence, made by name")
    if len(shapes := {item.target_logits.shape for item in evidence.values()}) > 1:
        got = ", ".join(map(str, sorted(shapes)))
        raise input_error("evidence", got=f"target logits of shapes {got}", expected="the same examples and classes")
    found = scores(list(evidence.values()), names)
    return [Candidate(name, own, name in source_only) for name, own in zip(evidence, found, strict=True)]


def rank(among: Sequence[Candidate], by: str | Sequence[str]) -> list[Place]:
    """Order candidates from best to worst by one of :data:`~dalib.evaluate.VALIDATORS`, or by the mean rank of several.

    Candidates that have collapsed, or lack a defined score, come below source-only. At a tie source-only comes first,
    then the order given. Raises an InputError without a source-only candidate, for names that repeat, or a validator
    that nobody was scored by.
    """
    wanted = (by,) if isinstance(by, str) else tuple(by)
    _check(among, wanted)
    judged = [_judged(candidate, wanted) for candidate in among]
    columns = [[candidate.scores[name].value for candidate in among] for name in wanted]
    # One validator ranks by its own values; several have no common unit, so ranks are averaged.
    if len(wanted) == 1:
        values = columns[0]
    else:
        # Ranks are among usable candidates only: a collapsed one must not shift the others.
        usable = [i for i, (state, _) in enumerate(judged) if state == "ok"]
        values = [float("nan")] * len(among)
        if usable:
            ranks = mean_rank([[column[i] for i in usable] for column in columns])
            for i, value in zip(usable, ranks, strict=True):
                values[i] = float(value)
    places = [
        Place(candidate, float(value), *verdict)
        for candidate, value, verdict in zip(among, values, judged, strict=True)
    ]
    return sorted(places, key=_order)


def pick(among: Sequence[Candidate], by: str | Sequence[str]) -> Place:
    """Return the first of :func:`rank`: the candidate to ship."""
    return rank(among, by)[0]


def picks(among: Sequence[Candidate]) -> dict[str, Place]:
    """Return each validator's pick; validators that no candidate was scored by are left out."""
    names = list(dict.fromkeys(name for candidate in among for name in candidate.scores))
    defined = [n for n in names if any(np.isfinite(c.scores[n].value) for c in among if n in c.scores)]
    return {name: pick(among, name) for name in defined}


def _order(place: Place) -> tuple[int, float, bool]:
    # Source-only is the floor: what is not usable comes below it.
    tier = 0 if place.state == "ok" else 1 if place.candidate.source_only else 2
    value = place.value if np.isfinite(place.value) else -np.inf
    return tier, -value, not place.candidate.source_only


def _judged(candidate: Candidate, wanted: Sequence[str]) -> tuple[str, str]:
    """Return the worst state of the wanted scores, and why; a missing score counts as undefined."""
    states = [candidate.scores[name] for name in wanted]
    for state in ("collapsed", "undefined", "missing"):
        for scored in states:
            if scored.state == state:
                return ("undefined" if state == "missing" else state), scored.why
    return "ok", "; ".join(dict.fromkeys(scored.why for scored in states if scored.why))


def _check(among: Sequence[Candidate], wanted: Sequence[str]) -> None:
    if not wanted:
        raise input_error("by", got="no validator", expected="one name or several")
    if others := {type(c).__name__ for c in among if not isinstance(c, Candidate)}:
        raise input_error("among", got=", ".join(sorted(others)), expected="Candidates, which hold no target labels")
    names = [candidate.name for candidate in among]
    if len(set(names)) < len(names):
        raise input_error("among", got=f"{len(names) - len(set(names))} repeated names", expected="unique names")
    if not any(candidate.source_only for candidate in among):
        todo = "add a run without adaptation: it is what the others must beat"
        raise input_error("among", got="no source-only candidate", expected="at least one", todo=todo)
    for name in wanted:
        if lacking := [c.name for c in among if name not in c.scores]:
            raise input_error("by", got=f"{name}, which {lacking[0]} has no score of", expected="a score of everybody")
        if not any(np.isfinite(c.scores[name].value) for c in among):
            raise input_error("by", got=f"{name}: {among[0].scores[name].why}", expected="a defined score of someone")
