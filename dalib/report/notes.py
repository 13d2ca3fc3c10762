"""Notes for a reader before believing the numbers: rules of selection, and doubts that the records raise."""

from collections.abc import Iterable, Sequence

import numpy as np

from dalib.core.run_folders import Run
from dalib.report.statistics import finished, last_step_pick, run_label

ACCURACY_TOLERANCE = 1e-3
COLLAPSED = 0.9
"""Share of one predicted class from which on a model counts as collapsed."""


def reading_notes(runs: Sequence[Run]) -> list[str]:
    """Explain how the numbers were read from the records; true of every report."""
    done = finished(runs)
    notes = [
        "Headline: the score at the last step of each run. No step was chosen by its score, with or without labels.",
        "Source-validated pick: the target score at the evaluation with the best source test accuracy (ties to the "
        "later step). It needs no target label.",
        "V-measure, IM, BNM, Corr-C, entropy and SND picks: the target score at the evaluation where this score of the "
        "unlabelled target predictions is best (ties to the later step). None of them needs a label; which of them to "
        "trust has to be decided before the target scores are seen. SND and entropy do not tell a collapse.",
        "No rule picks step 0, where nothing is trained yet, unless the run starts from a trained net or was scored "
        "there alone.",
        "Oracle pick: the best target score of all evaluations. Choosing it takes the target's test labels, so nobody "
        "could choose it in practice; it bounds what any selection rule can reach with these runs.",
        "Intervals: Student's t at 95 % over seeds. They cover what a seed changes (initial parameters, order of "
        "examples), not the drawing of the test examples, and with few seeds they are wide and themselves uncertain. "
        "Disjoint intervals are stricter than a test of the difference; several comparisons are made side by side "
        "without a correction.",
        "How the hyper-parameters were found is not in the records: the configuration under “What was run” "
        "shows which they were.",
    ]
    # After the rules of selection, where rows are explained.
    if any(run.role == "oracle" for run in done):
        notes.insert(
            3,
            "Rows marked “oracle: trained on target labels” are supervised on the target's training split. They are an "
            "upper bound for comparison, not a method of adaptation.",
        )
    return notes


def unfinished(runs: Iterable[Run]) -> list[str]:
    """Return one sentence for each run without an end: none of its numbers is used."""
    lines = []
    for run in runs:
        if not run.finished:
            planned = run.experiment.get("steps")
            of = f" of {planned}" if isinstance(planned, int) else ""
            half = ", last line half-written" if run.half_line else ""
            lines.append(f"{run_label(run)}: stopped at step {run.last_step}{of}{half}")
    return lines


def doubts(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each thing that does not fit together in the finished runs; empty when all is well."""
    lines = []
    done = finished(runs)
    for run in done:
        pick = last_step_pick(run)
        if pick is None:
            lines.append(f"{run_label(run)}: finished without a score on the target's test split.")
        elif run.end is not None and pick.step != run.end.step:
            lines.append(f"{run_label(run)}: last scored at step {pick.step}, ended at step {run.end.step}.")
        if run.final is None:
            lines.append(f"{run_label(run)}: no final.npz; missing from confusion matrices and feature pictures.")
        elif pick is not None and run.final.confusion is not None:
            share = float(np.trace(run.final.confusion) / max(int(run.final.confusion.sum()), 1))
            # The same examples counted twice must agree.
            if abs(share - pick.accuracy) > ACCURACY_TOLERANCE:
                lines.append(
                    f"{run_label(run)}: the confusion matrix gives {100 * share:.2f} % correct, the record "
                    f"{100 * pick.accuracy:.2f} %; final.npz is of another step or another run."
                )
        # A collapse may have a fair accuracy on few classes, so it is named.
        shares = [e.metrics["largest_class"] for e in run.evaluations if "largest_class" in e.metrics]
        if shares and shares[-1] > COLLAPSED:
            lines.append(f"{run_label(run)}: {100 * shares[-1]:.0f} % of the target are predicted as one class.")
        broken = sorted({e.step for e in run.training if not all(map(np.isfinite, e.metrics.values()))})
        if broken:
            lines.append(f"{run_label(run)}: some training metrics are not finite, first at step {broken[0]}.")
    lines += [
        f"The runs have {len(values)} different {what}: {', '.join(map(str, values))}."
        for what, values in (
            ("git commits", _distinct(run.config.get("git") for run in done)),
            ("sets of library versions", _distinct(run.config.get("versions") for run in done)),
        )
        if len(values) > 1
    ]
    # The same name for other data would make means of unlike runs.
    for domain in sorted({name for run in done for name in data_fingerprints(run)}):
        prints = _distinct(data_fingerprints(run).get(domain) for run in done if domain in data_fingerprints(run))
        if len(prints) > 1:
            lines.append(f"The data of {domain} differ between runs: fingerprints {', '.join(map(str, prints))}.")
    return lines


def data_fingerprints(run: Run) -> dict[str, object]:
    """Fingerprints of the domains' data by name; empty where none were recorded."""
    data = run.config.get("data")
    return dict(data) if isinstance(data, dict) else {}


def _distinct(values: Iterable[object]) -> list[object]:
    seen: list[object] = []
    for value in values:
        if value not in seen:
            seen.append(value)
    return seen
