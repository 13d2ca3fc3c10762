"""Confusion matrices of one task, a panel a method."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from dalib.core.checks import input_error
from dalib.core.run_folders import Run
from dalib.report.figures.style import new_figure, plain
from dalib.report.statistics import finished, group_runs, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

PANELS_A_ROW = 3
MAX_COUNTS = 12
MAX_NAMES = 40
LONGEST_NAME = 14


def confusion_figure(runs: Iterable[Run], task: str) -> "Figure":
    """Confusion on the target's test split at the last step, counts added up over the finished seeds.

    Colours show shares of the true class (rows sum to 1); up to ``MAX_COUNTS`` classes the counts are written in.

    Raises:
        InputError: if no finished run of ``task`` has recorded a confusion matrix.
    """
    panels: list[tuple[Run, int, np.ndarray]] = []
    for (t, _), members in group_runs(runs).items():
        matrices = [
            run.final.confusion
            for run in finished(members)
            if run.final is not None and run.final.confusion is not None
        ]
        if t == task and matrices:
            panels.append((members[0], len(matrices), np.sum(matrices, axis=0)))
    if not panels:
        raise input_error("task", got=repr(task), expected="a task with a finished run that has a confusion matrix")
    columns = min(PANELS_A_ROW, len(panels))
    lines = -(-len(panels) // columns)
    with new_figure(1.6 + 3.8 * columns, 0.4 + 4.1 * lines, layout="compressed") as figure:
        axes = figure.subplots(lines, columns, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(panels):
                ax.set_visible(False)
                continue
            run, seeds, counts = panels[i]
            # Names at the outer panels only: repeated ones would take the room of the matrices.
            left, bottom = i % columns == 0, i + columns >= len(panels)
            image = _panel(ax, counts, run.class_names, left=left, bottom=bottom)
            share = np.trace(counts) / max(counts.sum(), 1)
            ax.set_title(f"{plain(method_label(run))}\n{100 * share:.1f} % correct, {seeds} seed{'s' * (seeds > 1)}")
        figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, label="share of the true class", pad=0.02)
        return figure


def _panel(ax: "Axes", counts: np.ndarray, names: tuple[str, ...], *, left: bool, bottom: bool) -> "AxesImage":
    # Shares of the row, so that rare classes can be read like frequent ones.
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    places: list[int] = list(range(len(names))) if len(names) <= MAX_NAMES else []
    shown = [plain(n if len(n) <= LONGEST_NAME else n[: LONGEST_NAME - 1] + "…") for n in names][: len(places)]
    size = min(9.0, 210 / len(names))
    turn = 90 if max(map(len, names)) > 2 else 0
    ax.set_xticks(places, shown if bottom else [""] * len(places), rotation=turn, fontsize=size)
    ax.set_yticks(places, shown if left else [""] * len(places), fontsize=size)
    if left:
        ax.set_ylabel("true class")
    if bottom:
        ax.set_xlabel("predicted class")
    # More classes leave no room for numbers.
    if len(names) <= MAX_COUNTS:
        size = 8.0 if counts.max() < 1000 else 6.5
        for i, j in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[i, j] > 0.55 else "#222222"
            cell = ax.text(j, i, f"{counts[i, j]:d}", ha="center", va="center", fontsize=size, color=ink)
            cell.set_in_layout(False)  # measuring hundreds of texts inside the axes took longer than all else
    return image
