"""Statistics of the records: groups of seeds, intervals over them, and the step at which a score is read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.core.run_folders import Evaluation, Run, group_order

PER_RUN = frozenset({"seed", "seeds", "name", "out", "root", "folder", "run_dir", "resume", "command"})
"""Top-level configuration entries that may differ inside a group: identity and place of a run."""


LOWER = frozenset({"mean_absolute_error", "root_mean_squared_error"})
"""Scores of which a lower one is better."""
PLAIN = LOWER | {"r2"}
"""Scores that are no shares, and so not written in percent."""


class Interval(NamedTuple):
    """Mean and half-width of its confidence interval (nan for a single value)."""

    mean: float
    half_width: float


class Pick(NamedTuple):
    """The step that a selection rule takes, and the target's headline score there (accuracy, as a fraction)."""

    step: int
    accuracy: float


class Curve(NamedTuple):
    """One quantity against the step: ``steps`` ``[t]``, ``values`` ``[s, t]``, one row a seed."""

    steps: np.ndarray
    values: np.ndarray


def mean_interval(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Interval:
    """Mean and half-width of Student's t interval, ``t_{n−1} · s / √n`` with the sample standard deviation s (n − 1).

    It describes how the mean would vary over further seeds of the same experiment, provided that scores are roughly
    normal; it says nothing of the sampling of test examples. The half-width of a single value is nan: unknown, not 0.
    ``values`` are finite numbers ``[n]``, n ≥ 1, one a seed; ``level`` is the coverage, in (0, 1). Student, Biometrika
    1908.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        raise input_error("values", got=f"{values!r}", expected="finite numbers [n] with n ≥ 1, one a seed")
    if not 0 < level < 1:
        raise input_error("level", got=level, expected="a coverage in (0, 1)")
    if x.size == 1:
        return Interval(float(x[0]), float("nan"))
    from scipy.stats import t

    half_width = float(t.ppf((1 + level) / 2, x.size - 1)) * x.std(ddof=1) / np.sqrt(x.size)
    return Interval(float(x.mean()), float(half_width))


def compare(interval: Interval, reference: Interval) -> int:
    """Return 1 if ``interval`` is wholly above ``reference``, −1 below, 0 if they meet or a half-width is unknown."""
    distance = interval.mean - reference.mean
    if not abs(distance) > interval.half_width + reference.half_width:
        return 0
    return 1 if distance > 0 else -1


def group_runs(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    """Group runs by (task, name), unfinished ones included, so that a group's runs differ by the seed alone.

    Groups come in table order: tasks by name; source-only first, the oracle last. Two finished runs of a group with the
    same seed or another configuration raise an InputError: their mean would describe no experiment.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (*group_order(run), run.seed, str(run.path))):
        groups.setdefault((run.task, run.name), []).append(run)
    for (task, name), members in groups.items():
        done = finished(members)
        # Against the first is enough: equality is transitive.
        for run in done[1:]:
            _check_same(done[0], run, what=f"{name}, {task}")
        # Members are sorted by seed, so a repeated one follows itself.
        for a, b in zip(done, done[1:], strict=False):
            if a.seed == b.seed:
                raise input_error(
                    "runs",
                    got=f"two runs of {name}, {task} with seed {a.seed}: {a.path} and {b.path}",
                    expected="every seed once, or the interval would look narrower than it is",
                    todo="pass only one of the two folders",
                )
    return groups


def finished(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that came to their end, in the order given."""
    return [run for run in runs if run.finished]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested configuration: ``{"method": {"weight": 1}}`` becomes ``{"method.weight": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def protocol(run: Run) -> dict[str, Any]:
    """Return the flattened configuration without ``PER_RUN`` and without seeds at any depth."""
    flat = flatten({k: v for k, v in run.experiment.items() if k not in PER_RUN})
    return {k: v for k, v in flat.items() if not k.endswith(".seed")}


def _check_same(a: Run, b: Run, *, what: str) -> None:
    left, right = protocol(a), protocol(b)
    keys = sorted(k for k in left.keys() | right.keys() if left.get(k) != right.get(k))
    if a.class_names != b.class_names:
        keys.append("class_names")
        left["class_names"], right["class_names"] = a.class_names, b.class_names
    if keys:
        shown = "; ".join(f"{k} = {left.get(k)!r} and {right.get(k)!r}" for k in keys[:5])
        raise input_error(
            "runs",
            got=f"runs of {what} with different configurations ({shown}): {a.path} and {b.path}",
            expected="one configuration for all seeds of a method on a task",
            todo="report the two experiments apart, or give them different names",
        )


def headline(run: Run) -> str:
    """Return the score that a run is read by: accuracy, or of a regression the mean absolute error."""
    return "mean_absolute_error" if run.experiment.get("kind") == "regression" else "accuracy"


def target_scores(run: Run, metric: str | None = None) -> list[Evaluation]:
    """Return evaluations on the target's test split that have ``metric`` (None: the headline score), by step.

    Uses target labels: for reading only.
    """
    return _scores(run, run.target, metric)


def source_scores(run: Run, metric: str | None = None) -> list[Evaluation]:
    """Return the same of the source's test split."""
    return _scores(run, run.source, metric)


def _scores(run: Run, domain: str, metric: str | None) -> list[Evaluation]:
    metric = metric or headline(run)
    return [e for e in run.evaluations if e.domain == domain and e.split == "test" and metric in e.metrics]


def last_step_pick(run: Run, metric: str | None = None) -> Pick | None:
    """The headline rule: the last evaluated step, whatever it scored. None without a target evaluation."""
    scores = target_scores(run, metric)
    return Pick(scores[-1].step, scores[-1].metrics[metric or headline(run)]) if scores else None


def candidates(run: Run) -> list[Evaluation]:
    """Return the target evaluations that a rule may pick from, by step.

    Step 0 is one where the run starts from a trained net (SHOT, ADDA), or has no later one (closed-form methods).
    Elsewhere it scores a net that has learnt nothing, and a rule that likes uniform predictions would pick it.
    """
    scores = target_scores(run)
    trained = [e for e in scores if e.step > 0]
    return scores if run.config.get("start") or not trained else trained


def source_validated_pick(run: Run) -> Pick | None:
    """Target accuracy at the step with the best source test accuracy, ties to the later step.

    No target label takes part in the choice. None for the oracle (it does not train on the source), or where no step
    has both scores.
    """
    metric = headline(run)
    target = {e.step: e.metrics[metric] for e in candidates(run)}
    # The step is part of the key: at a tie the later one is the larger.
    both = [(_good(e.metrics[metric], metric), e.step) for e in source_scores(run) if e.step in target]
    if run.role == "oracle" or not both:
        return None
    step = max(both)[1]
    return Pick(step, target[step])


UNLABELLED = "unlabelled"
"""The split of an evaluation by scores from the target's inputs alone."""
VALIDATORS = ("v_measure", "im", "bnm", "corr_c", "entropy", "snd")
"""Scores of such an evaluation that a step can be picked by, higher is better; see :mod:`dalib.evaluate`."""


def validators(runs: Iterable[Run]) -> list[str]:
    """List those of :data:`VALIDATORS` that any of the runs recorded, in that order."""
    seen = {name for run in runs for e in run.evaluations if e.split == UNLABELLED for name in e.metrics}
    return [name for name in VALIDATORS if name in seen]


def validator_pick(run: Run, validator: str) -> Pick | None:
    """Target accuracy at the step where a score without labels is best, ties to the later step.

    No label of either domain takes part in the choice. None where no step has both, and for the oracle.
    """
    target = {e.step: e.metrics[headline(run)] for e in candidates(run)}
    scores = [e for e in run.evaluations if e.split == UNLABELLED and e.domain == run.target and e.step in target]
    values = [(e.metrics[validator], e.step) for e in scores if np.isfinite(e.metrics.get(validator, np.nan))]
    if run.role == "oracle" or not values:
        return None
    step = max(values)[1]
    return Pick(step, target[step])


def oracle_pick(run: Run) -> Pick | None:
    """The step with the best target test accuracy, ties to the later one: uses target labels, so it is a bound only."""
    scores, metric = candidates(run), headline(run)
    step = max(((_good(e.metrics[metric], metric), e.step) for e in scores), default=(0.0, -1))[1]
    return next((Pick(step, e.metrics[metric]) for e in scores if e.step == step), None)


def _good(value: float, metric: str) -> float:
    """A score turned so that more is better."""
    return -value if metric in LOWER else value


def stack_curves(curves: Iterable[Mapping[int, float]]) -> Curve:
    """Stack one ``{step: value}`` a seed, on the steps that all of them have."""
    listed = list(curves)
    # Only common steps: a mean over changing seeds would jump.
    steps = sorted(set.intersection(*(set(c) for c in listed))) if listed else []
    return Curve(np.array(steps), np.array([[c[s] for s in steps] for c in listed]).reshape(len(listed), len(steps)))


ORACLE_LABEL = "oracle: trained on target labels"
SOURCE_ONLY = "source-only"
_WRITTEN = {
    "source_only": SOURCE_ONLY,
    "adabn": "AdaBN",
    "adda": "ADDA",
    "cdan": "CDAN",
    "dan": "DAN",
    "dann": "DANN",
    "deep_coral": "Deep CORAL",
    "jan": "JAN",
    "mcc": "MCC",
    "mcd": "MCD",
    "mdd": "MDD",
    "wdgrl": "WDGRL",
}


def method_label(run: Run) -> str:
    """The method's usual spelling; an oracle always says that it was trained on target labels."""
    if run.role == "oracle":
        return ORACLE_LABEL if run.name == "oracle" else f"{run.name}, {ORACLE_LABEL}"
    return _WRITTEN.get(run.name, run.name)


def short_label(run: Run) -> str:
    """As :func:`method_label`, for narrow places: the oracle's explanation goes to a second line."""
    return method_label(run).replace(": trained", ":\ntrained")


def run_label(run: Run) -> str:
    """One run in a sentence: method, task and seed."""
    return f"{method_label(run)}, {run.task}, seed {run.seed}"
