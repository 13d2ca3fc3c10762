"""All validators on all candidates, with the guard against collapses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dalib.core.checks import choose
from dalib.evaluate.validators.evidence import Evidence
from dalib.evaluate.validators.registry import VALIDATORS, WEIGHTED, Validator
from dalib.evaluate.validators.risk import effective_size


class Scored(NamedTuple):
    """A validator's score of one model; ``state`` is "ok", "collapsed", "undefined" or "missing".

    ``value`` is NaN where there is none; of a collapsed model there is one, not to be trusted. ``why`` is the reason of
    the state, or a warning, e.g. a small effective sample.
    """

    value: float
    state: str = "ok"
    why: str = ""


FEW = 0.05
"""Share of the held-out source below which an effective sample size is warned of."""
FAR = 10
"""Factor by which a mean density ratio may be off 1, its expectation over the source."""


def scores(candidates: Sequence[Evidence], names: Sequence[str] | None = None) -> list[dict[str, Scored]]:
    """Score every candidate by every validator of ``names`` (None: all), with the guard against collapses applied.

    ``candidates`` is evidence on models of one task, on the same examples. Returns one dictionary a candidate, with
    every name asked for; an unknown name raises an InputError.
    """
    found: list[dict[str, Scored]] = [{} for _ in candidates]
    for name in VALIDATORS if names is None else names:
        validator = choose("validator", name, VALIDATORS)
        able = [i for i, e in enumerate(candidates) if not e.lacks(validator.needs)]
        # Some validators compare candidates with one another, so they get all that have the evidence.
        if validator.among is None:
            assert validator.score is not None
            values = {i: float(validator.score(candidates[i])) for i in able}
        else:
            values = (
                dict(zip(able, map(float, validator.among([candidates[i] for i in able])), strict=True)) if able else {}
            )
        for i, evidence in enumerate(candidates):
            found[i][name] = _judged(evidence, validator, values.get(i), len(able))
    return found


def _judged(evidence: Evidence, validator: Validator, value: float | None, candidates: int) -> Scored:
    if value is None:
        return Scored(float("nan"), "missing", "not kept: " + ", ".join(evidence.lacks(validator.needs)))
    if not np.isfinite(value):
        return Scored(float("nan"), "undefined", evidence.spread.collapsed or "not defined for these predictions")
    # The guard: many scores reward a collapse, so their value is shown and not trusted.
    if evidence.spread.collapsed:
        return Scored(value, "collapsed", evidence.spread.collapsed)
    if candidates < validator.least:
        return Scored(value, why=f"{candidates} candidates; it needs {validator.least}")
    if validator.needs == WEIGHTED:
        return Scored(value, why=doubts(evidence.weights))
    return Scored(value)


def doubts(weights: np.ndarray) -> str:
    """Return the reason not to trust density ratios ``[n]`` at held-out source examples; empty if there is none."""
    if (size := effective_size(weights)) < FEW * len(weights):
        return f"effective sample of {size:.1f} of {len(weights)}"
    if not 1 / FAR < (mean := weights.mean()) < FAR:
        return f"mean density ratio {mean:.1e} where 1 is expected: the domains are separable"
    return ""
