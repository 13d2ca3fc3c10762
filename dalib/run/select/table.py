"""Text of a choice: ranking with expected accuracies, picks of the validators, and the regret if labels are known."""

from collections.abc import Sequence

import numpy as np

from dalib.evaluate import VALIDATORS
from dalib.evaluate.accuracy import Expected
from dalib.evaluate.ranking import Place
from dalib.run.select.candidates import Choice, accuracies

CLASSES = 5
"""Number of classes that are named."""
KEEP = "for expected accuracies and all validators: run with --keep 500"


def to_text(choice: Choice, *, top: int = 10) -> str:
    """Write one task's choice.

    Args:
        choice: from :func:`~dalib.run.select.candidates.choose_among`.
        top: number of places to show; the best source-only always shows.
    """
    truth = accuracies(choice)
    best = max(truth.values(), default=float("nan"))
    lines = [
        f"{choice.task}: {len(choice.ranking)} candidates, by {' and '.join(choice.by)}"
        + (" (mean rank)" if len(choice.by) > 1 else ""),
        "",
        *_ranking(choice, truth, top),
        "",
        *_picks(choice, truth, best),
    ]
    # Warnings come after the tables and before the regret, which only those with labels have.
    notes = [*_shipped(choice), *(f"flagged: {flagged}" for flagged in _flagged(choice)), *_presumed(choice)]
    notes += [f"left out: {path}, {why}" for path, why in choice.left_out.items()]
    notes += [] if choice.expected else [KEEP]
    if truth:
        notes.append(f"accuracy uses target labels and chose nothing; the oracle would reach {best:.1%}")
    return "\n".join([*lines, "", *notes] if notes else lines)


def _ranking(choice: Choice, truth: dict[str, float], top: int) -> list[str]:
    rows = [["", "candidate", " + ".join(choice.by), "expected accuracy", *["accuracy"] * bool(truth), "remarks"]]
    reference = next(i for i, place in enumerate(choice.ranking) if place.candidate.source_only)
    for i, place in enumerate(choice.ranking):
        if i >= top and i != reference:
            continue
        name = place.candidate.name
        found = choice.expected.get(name)
        rows.append(
            [
                str(i + 1),
                name,
                _number(place.value),
                _interval(found),
                *[_share(truth.get(name))] * bool(truth),
                _remarks(place, found),
            ]
        )
    return aligned(rows)


def _picks(choice: Choice, truth: dict[str, float], best: float) -> list[str]:
    rows = [["validator", "would pick", "expected accuracy", *["accuracy", "regret"] * bool(truth)]]
    for validator, place in choice.picks.items():
        name = place.candidate.name
        own = [_share(truth.get(name)), _share(best - truth[name] if name in truth else None)] * bool(truth)
        rows.append([validator, name, _interval(choice.expected.get(name)), *own])
    return aligned(rows)


def _flagged(choice: Choice) -> list[str]:
    found: dict[str, int] = {}
    for place in choice.ranking:
        if place.state != "ok":
            found[place.state] = found.get(place.state, 0) + 1
    return [f"{count} {state}, below source-only" for state, count in found.items()]


def _shipped(choice: Choice) -> list[str]:
    """Write the first place's calibration, and the classes with the largest gap between target and predictions."""
    if (facts := choice.shipping) is None:
        return []
    own, target = facts.calibration, facts.target_temperature
    text = f"of 1: temperature {own.temperature:.2f} takes the source's calibration error from {own.before:.3f} to "
    text += f"{own.after:.3f}" + (f"; {target:.2f} is estimated for the target" if np.isfinite(target) else "")
    names = next(iter(choice.models.values())).run.class_names
    shares = zip(names, facts.predicted, facts.frequencies.priors, facts.by_likelihood.priors, strict=False)
    most = sorted(shares, key=lambda row: -abs(row[1] - row[2]))[:CLASSES]
    rows = [f"{name} {a:.0%} (BBSE {b:.0%}, MLLS {c:.0%})" for name, a, b, c in most]
    return [text, "of 1: predicted share of the target, with the estimated frequency: " + ", ".join(rows)]


def _presumed(choice: Choice) -> list[str]:
    relations = {str(model.run.experiment.get("relation", "closed")) for model in choice.models.values()} - {"closed"}
    names = [name for name in choice.picks if VALIDATORS[name].balanced]
    if not relations or not names:
        return []
    return [f"{', '.join(names)} presume balanced classes, which a {' or '.join(sorted(relations))} target has not"]


def _remarks(place: Place, found: Expected | None) -> str:
    parts = [] if place.state == "ok" else [place.state]
    parts += [place.why] * bool(place.why)
    if found is not None and found.warning and not found.warning.startswith("collapsed"):
        parts.append(found.warning)
    return "; ".join(parts)


def _interval(found: Expected | None) -> str:
    if found is None or not np.isfinite(found.value):
        return "–"
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
