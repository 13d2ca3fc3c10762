"""One look for all figures: a style a method, colour-blind-safe colours, sizes, and PNG output."""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dalib.core.checks import input_error
from dalib.core.files import write_atomically
from dalib.core.run_folders import Run, group_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layout = Literal["constrained", "compressed"]
DPI = 110
SOURCE_COLOUR, TARGET_COLOUR = "#0072B2", "#D55E00"
INK, FAINT = "#222222", "#8a8a8a"
# Okabe and Ito's palette without black and yellow, then Tol's; the baseline is always grey and the oracle black.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#882255", "#117733", "#332288", "#999933",
)  # fmt: skip
_MARKERS = ("s", "^", "v", "P", "X", "h", "p", "<", ">", "*")
# Tol's "muted" scheme with a dark grey for the tenth class.
_CLASSES = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#555555",
)  # fmt: skip

_LOOK: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


class MethodStyle(NamedTuple):
    """Colour, marker and line of one method in every figure of a report."""

    colour: str
    marker: str
    line: str


def method_styles(runs: Iterable[Run]) -> dict[str, MethodStyle]:
    """A style for every method name: source-only grey and dashed, the oracle black and dotted, the others by name."""
    roles = {run.name: group_order(run)[1] for run in runs}
    styles, plain = {}, 0
    for name in sorted(roles):
        if roles[name] == 1:
            styles[name] = MethodStyle(_COLOURS[plain % len(_COLOURS)], _MARKERS[plain % len(_MARKERS)], "-")
            plain += 1
        else:
            styles[name] = MethodStyle("#6b6b6b", "o", "--") if roles[name] == 0 else MethodStyle("#000000", "D", ":")
    return styles


def class_colours(num_classes: int) -> list[str]:
    """One colour a class: ten distinct ones, or an even walk through viridis where there are more."""
    if num_classes <= len(_CLASSES):
        return list(_CLASSES[:num_classes])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](i / (num_classes - 1))) for i in range(num_classes)]


def plain(text: str) -> str:
    """Text that matplotlib prints as it is: no mathematics between dollars, no label hidden by an underscore."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


@contextlib.contextmanager
def new_figure(width: float, height: float, *, layout: Layout = "constrained") -> Iterator["Figure"]:
    """A white figure of ``width`` × ``height`` inches with the report's look, to be filled inside the block."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        todo = "install the extra: pip install 'dalib-jax[report]'"
        raise input_error("figures", got=str(error), expected="matplotlib", todo=todo) from error
    with _look():
        yield Figure(figsize=(width, height), dpi=DPI, layout=layout)


def _look() -> contextlib.AbstractContextManager[None]:
    """Return the report's look, whatever a user's matplotlibrc says, and theirs again afterwards."""
    import matplotlib

    look: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    return matplotlib.rc_context(look | _LOOK)


def picture_axes(ax: "Axes") -> None:
    """Turn an axis into a frame without ticks, for pictures with meaningless coordinates."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color("#c8c8c8")


def png(figure: "Figure") -> bytes:
    """The figure as PNG bytes, the same for the same records and library versions."""
    buffer = io.BytesIO()
    with _look():
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Write the figure to ``path`` through a temporary file, and return the path."""

    return write_atomically(path, png(figure))
