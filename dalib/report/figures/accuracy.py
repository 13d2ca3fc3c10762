"""Accuracies with their intervals, one panel a task: the picture that goes into a README."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dalib.core.run_folders import Run
from dalib.report.figures.style import FAINT, INK, MethodStyle, method_styles, new_figure, plain
from dalib.report.statistics import PLAIN, SOURCE_ONLY, finished, last_step_pick, method_label, short_label
from dalib.report.tables import Cell, Table, accuracy_table, headline_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_A_ROW = 3


def accuracy_figure(runs: Iterable[Run]) -> "Figure":
    """Last-step target score: mean with 95 % interval, single seeds as small dots, source-only's interval shaded.

    Raises:
        InputError: without runs, or if they cannot be grouped.
    """
    runs = list(runs)
    table, styles = accuracy_table(runs), method_styles(runs)
    by_label = {method_label(run): run for run in runs}
    columns = min(PANELS_A_ROW, len(table.columns))
    lines = -(-len(table.columns) // columns)
    width = 2.3 + 4.1 * columns
    with new_figure(width, 0.4 + lines * (0.8 + 0.56 * len(table.rows))) as figure:
        # Methods are the shared vertical axis: rows can be read across tasks.
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for i, ax in enumerate(axes.flat):
            if i >= len(table.columns):
                ax.set_visible(False)
                continue
            _panel(ax, table, i, runs, {label: styles[run.name] for label, run in by_label.items()})
            if i + columns >= len(table.columns):
                what = headline_of(runs)
                unit = "" if what in PLAIN else " (%)"
                ax.set_xlabel(f"target test {what.replace('_', ' ')} at the last step{unit}")
        axes[0, 0].set_yticks(range(len(table.rows)), [plain(short_label(by_label[r.label])) for r in table.rows])
        axes[0, 0].set_ylim(len(table.rows) - 0.45, -0.7)
        if any(cell and cell.n > 1 for row in table.rows for cell in row.cells):
            _legend(figure)
        return figure


def _panel(ax: "Axes", table: Table, column: int, runs: list[Run], styles: dict[str, MethodStyle]) -> None:
    task = table.columns[column]
    ax.set_title(plain(task))
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    seen: list[float] = []
    factor = 1 if headline_of(runs) in PLAIN else 100
    metric = headline_of(runs)
    for y, row in enumerate(table.rows):
        cell = row.cells[column]
        if cell is None:
            white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
            ax.annotate(
                "no finished run", (0.5, y), xycoords=ax.get_yaxis_transform(), ha="center", va="center", fontsize=9,
                color=FAINT, bbox=white,
            )  # fmt: skip
            continue
        style = styles[row.label]
        members = [r for r in finished(runs) if r.task == task and method_label(r) == row.label]
        # Single seeds next to the interval: with few of them the interval alone says little.
        seeds = [factor * pick.accuracy for r in members if (pick := last_step_pick(r, metric))]
        low, high = _ends(cell)
        mean, half = factor * cell.mean, factor * cell.half_width
        seen += [*seeds, low, high]
        ax.plot(seeds, [y + 0.24] * len(seeds), "o", color=style.colour, alpha=0.6, markersize=3.5, zorder=2)
        ax.plot([low, high], [y, y], color=style.colour, linewidth=2.2, zorder=3, solid_capstyle="butt")
        face = "white" if row.oracle else style.colour
        ax.plot(
            mean, y, style.marker, color=style.colour, markerfacecolor=face, markersize=8, zorder=4,
            markeredgewidth=1.5,
        )  # fmt: skip
        digits = ".1f" if cell.percent else ".3g"
        text = f"{mean:{digits}}" + ("" if math.isnan(half) else f" ± {half:{digits}}")
        ax.annotate(
            text, (mean, y), (0, 8), textcoords="offset points", ha="center", va="bottom", fontsize=9,
            color=INK, zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )  # fmt: skip
        # A shaded strip marks the baseline; readers compare the other rows with it.
        if row.label == SOURCE_ONLY:
            ax.axvspan(low, high, color=style.colour, alpha=0.13, linewidth=0, zorder=0)
            ax.axvline(mean, color=style.colour, linestyle=style.line, linewidth=1.1, zorder=1)
    if seen:
        # At least five points wide: differences of a tenth must not look like cliffs.
        least, most = (5.0, 100.0) if factor == 100 else (1e-3 * max(seen), math.inf)
        margin = 0.09 * max(max(seen) - min(seen), least)
        ax.set_xlim(max(min(seen), 0) - margin, min(max(seen), most) + margin)


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=INK, linewidth=2.2, marker="s", markersize=7),
        Line2D([], [], color=FAINT, linestyle="", marker="o", markersize=3.5),
        Patch(facecolor="#e6e6e6"),
    ]
    labels = ["mean and 95 % interval over seeds", "single seeds", "source-only's interval"]
    figure.legend(handles, labels, loc="outside lower right", ncols=3, fontsize=9, columnspacing=1.5)


def _ends(cell: Cell) -> tuple[float, float]:
    half = 0.0 if math.isnan(cell.half_width) else cell.half_width
    if not cell.percent:
        return max(cell.mean - half, 0.0), cell.mean + half
    return 100 * max(cell.mean - half, 0.0), 100 * min(cell.mean + half, 1.0)
