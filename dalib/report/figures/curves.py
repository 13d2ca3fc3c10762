"""Learning curves of one task: accuracies, losses, and the domain classifier's accuracy."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from dalib.core.checks import input_error
from dalib.core.run_folders import Evaluation, Run, group_order
from dalib.report.figures.style import FAINT, MethodStyle, method_styles, new_figure, plain
from dalib.report.statistics import (
    PLAIN,
    finished,
    group_runs,
    headline,
    method_label,
    source_scores,
    stack_curves,
    target_scores,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERMS_A_ROW = 3
_NOT_TERMS = ("loss/task", "loss/total")
Series = Callable[[Run], dict[int, float]]


def curves_figure(runs: Iterable[Run], task: str, *, styles: dict[str, MethodStyle] | None = None) -> "Figure":
    """Draw target and source test accuracy, task loss, domain accuracy and each method's own loss terms by step.

    Lines are means over the finished seeds; bands reach from the lowest to the highest seed. Panels without data are
    left out. ``styles`` from ``method_styles`` over the whole report let a method keep its colour. Raises an InputError
    if no run of ``task`` is finished.
    """
    runs = list(runs)
    styles = styles or method_styles(runs)
    groups = [done for (t, _), members in group_runs(runs).items() if t == task and (done := finished(members))]
    if not groups:
        raise input_error("task", got=repr(task), expected="a task with at least one finished run")
    # Each method's loss terms get panels of their own: their scales do not compare.
    terms = [(group, key) for group in groups for key in _term_keys(group)]
    domain_keys = [(group, key) for group in groups for key in _keys(group, "domain_accuracy")]
    term_lines = -(-len(terms) // TERMS_A_ROW)
    with new_figure(12.0, 7.4 + 2.5 * term_lines) as figure:
        # Six columns divide into halves for accuracies and thirds for terms.
        grid = figure.add_gridspec(2 + term_lines, 6, height_ratios=[3.6, 3.2] + [2.5] * term_lines)
        left, right = figure.add_subplot(grid[0, :3]), figure.add_subplot(grid[0, 3:])
        what = headline(groups[0][0])
        name = what.replace("_", " ") + ("" if what in PLAIN else " (%)")
        _accuracy_panel(left, groups, styles, f"target test {name}", lambda run: _curve(target_scores(run), what))
        _accuracy_panel(right, groups, styles, f"source test {name}", lambda run: _curve(source_scores(run), what))
        _task_loss_panel(figure.add_subplot(grid[1, :3] if domain_keys else grid[1, :]), groups, styles)
        if domain_keys:
            _domain_panel(figure.add_subplot(grid[1, 3:]), domain_keys, styles)
        for i, (group, key) in enumerate(terms):
            column = 2 * (i % TERMS_A_ROW)
            ax = figure.add_subplot(grid[2 + i // TERMS_A_ROW, column : column + 2])
            _draw(ax, group, styles[group[0].name], lambda run, key=key: _metric(run, key))  # type: ignore[misc]
            ax.set_title(plain(f"{method_label(group[0])}: {key}"))
            _finish(ax)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6))
        return figure


def _curve(scores: Iterable[Evaluation], metric: str) -> dict[int, float]:
    factor = 1 if metric in PLAIN else 100
    return {e.step: factor * e.metrics[metric] for e in scores if metric in e.metrics}


def _metric(run: Run, key: str) -> dict[int, float]:
    return {e.step: e.metrics[key] for e in run.training if key in e.metrics}


def _keys(group: list[Run], ending: str) -> list[str]:
    return sorted({key for run in group for e in run.training for key in e.metrics if key.endswith(ending)})


def _term_keys(group: list[Run]) -> list[str]:
    keys = {key for run in group for e in run.training for key in e.metrics}
    return sorted(key for key in keys if key.startswith("loss/") and key not in _NOT_TERMS)


def _draw(ax: "Axes", group: list[Run], style: MethodStyle, series: Series, label: str = "") -> np.ndarray:
    steps, values = stack_curves(series(run) for run in group)
    if not steps.size:
        return values
    # Markers tell where an evaluation was; on many steps they would cover the line.
    few = len(steps) <= 15
    ax.plot(
        steps, values.mean(axis=0), style.line, color=style.colour, label=label, marker=style.marker if few else None,
        markersize=5, zorder=3 if group_order(group[0])[1] == 1 else 2,
    )  # fmt: skip
    if len(group) > 1:
        ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=style.colour, alpha=0.14, linewidth=0)
    return values


def _finish(ax: "Axes") -> None:
    ax.set_xlabel("step")
    ax.grid(True)
    if ax.get_yscale() == "linear":
        ax.ticklabel_format(axis="y", scilimits=(-5, 5))
    ax.margins(x=0.02)


def _accuracy_panel(
    ax: "Axes", groups: list[list[Run]], styles: dict[str, MethodStyle], title: str, series: Series
) -> None:
    for group in groups:
        _draw(ax, group, styles[group[0].name], series, plain(method_label(group[0])))
    ax.set_title(title)
    _finish(ax)


def _task_loss_panel(ax: "Axes", groups: list[list[Run]], styles: dict[str, MethodStyle]) -> None:
    drawn = [_draw(ax, g, styles[g[0].name], lambda run: _metric(run, "loss/task")).ravel() for g in groups]
    values = np.concatenate(drawn)
    # Losses over more than a decade are unreadable on a linear axis.
    if values.size and np.isfinite(values).all() and (values > 0).all() and values.max() > 10 * values.min():
        ax.set_yscale("log")
    ax.set_title("task loss on training batches")
    _finish(ax)


def _domain_panel(ax: "Axes", keys: list[tuple[list[Run], str]], styles: dict[str, MethodStyle]) -> None:
    for group, key in keys:
        style = styles[group[0].name]
        _draw(ax, group, style, lambda run, key=key: _metric(run, key), plain(f"{method_label(group[0])}: {key}"))  # type: ignore[misc]
    chance = "0.5: the two domains cannot be told apart"
    ax.axhline(0.5, color=FAINT, linewidth=1.2, linestyle="--", zorder=1, label=chance)
    ax.set_ylim(-0.02, 1.02)
    ax.set_title("accuracy of the domain classifier")
    ax.legend(loc="lower right")
    _finish(ax)
