"""Feature space of one task in two dimensions, by domain and by class."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.run_folders import Final, Run
from dalib.report.figures.style import (
    INK,
    SOURCE_COLOUR,
    TARGET_COLOUR,
    class_colours,
    new_figure,
    picture_axes,
    plain,
)
from dalib.report.statistics import finished, group_runs, method_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_A_ROW = 5
PCA_DIMENSIONS = 30
MAX_CLASS_LEGEND = 20


class Embedding(NamedTuple):
    """Both domains in one plane.

    ``source`` ``[a, 2]`` and ``target`` ``[b, 2]`` are positions of the rows ``source_rows`` ``[a]`` and
    ``target_rows`` ``[b]``; ``perplexity`` is the one that was used.
    """

    source: np.ndarray
    target: np.ndarray
    source_rows: np.ndarray
    target_rows: np.ndarray
    perplexity: float


def embed(
    features_source: np.ndarray,
    features_target: np.ndarray,
    *,
    max_points: int = 300,
    perplexity: float = 30.0,
    seed: int = 0,
) -> Embedding:
    """Embed both domains together by t-SNE, the same for the same input. van der Maaten and Hinton, JMLR 2008.

    At most ``max_points`` rows of each domain are drawn without replacement; more than ``PCA_DIMENSIONS`` columns are
    first reduced by PCA to that many. Perplexity, the effective number of neighbours, is lowered to (points − 1) / 3
    where there are few points. Features are finite ``[n, d]`` and ``[m, d]``; n may be 0, for a picture of the target
    alone. Fewer than 5 points, or identical rows only, raise an InputError.
    """
    for name, x in (("features_source", features_source), ("features_target", features_target)):
        if x.ndim != 2 or x.shape[1] != features_source.shape[1] or not x.shape[1]:
            shapes = f"{features_source.shape} and {features_target.shape}"
            raise input_error(name, got=f"shapes {shapes}", expected="[n, d] and [m, d] with d ≥ 1")
        if not np.isfinite(x).all():
            raise input_error(name, got="values that are not finite", expected="finite features")
    rng = np.random.default_rng(seed)
    rows = [
        np.sort(rng.choice(len(x), size=min(max_points, len(x)), replace=False))
        for x in (features_source, features_target)
    ]
    x = np.concatenate([features_source[rows[0]], features_target[rows[1]]]).astype(np.float64)
    spread = np.ptp(x, axis=0).max() if len(x) else 0.0
    if len(x) < 5 or spread == 0:
        raise input_error("features", got=f"{len(x)} points of spread {spread}", expected="≥ 5 points that differ")
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        todo = "install the extra: pip install 'dalib-jax[report]'"
        raise input_error("figures", got=str(error), expected="scikit-learn", todo=todo) from error

    # t-SNE's thresholds suppose a moderate scale: the widest column is brought to 1, which keeps every neighbourhood.
    x = x / spread
    x = np.pad(x, ((0, 0), (0, max(0, 2 - x.shape[1]))))
    used = min(perplexity, (len(x) - 1) / 3)
    # t-SNE's loop opens an OpenMP team every iteration whatever n_jobs says; on busy cores that costs tenfold.
    with threadpool_limits(1):
        if min(x.shape) > PCA_DIMENSIONS:
            x = PCA(PCA_DIMENSIONS, svd_solver="full").fit_transform(x)
        # PCA's start and one thread: the same picture for the same features.
        y = TSNE(2, perplexity=used, init="pca", random_state=seed, n_jobs=1, max_iter=500).fit_transform(x)
    return Embedding(y[: len(rows[0])], y[len(rows[0]) :], rows[0], rows[1], used)


def features_figure(
    runs: Iterable[Run], task: str, *, max_points: int = 300, perplexity: float = 30.0, seed: int = 0
) -> "Figure":
    """Draw the feature space of every method's first finished seed: above by domain, below by class (see ``embed``).

    Class panels show source examples as circles and target examples as crosses, both in the colour of their true class.
    An oracle that recorded the target in the source's place is drawn with target examples alone. Where features cannot
    be embedded (not finite, all the same) a panel says so. Raises an InputError if no finished run of ``task`` has
    recorded features.
    """
    shown = []
    for (t, _), members in group_runs(runs).items():
        with_features = [run for run in finished(members) if run.final is not None and run.class_names]
        if t == task and with_features:
            shown.append(with_features[0])
    if not shown:
        raise input_error("task", got=repr(task), expected="a task of classes with a finished run that has final.npz")
    lines = -(-len(shown) // PANELS_A_ROW)
    columns = -(-len(shown) // lines)
    names = shown[0].class_names
    few = len(names) <= MAX_CLASS_LEGEND
    with new_figure(max(3.0 * columns, 7.0), 6.6 * lines + 0.5 + 0.6 * few) as figure:
        axes = figure.subplots(2 * lines, columns, squeeze=False)
        for i in range(lines * columns):
            above, below = axes[2 * (i // columns), i % columns], axes[2 * (i // columns) + 1, i % columns]
            if i >= len(shown):
                above.set_visible(False)
                below.set_visible(False)
                continue
            # One seed a method: embeddings of several seeds cannot be laid over one another.
            run, final = shown[i], _without_copies(shown[i])
            above.set_title(plain(method_label(run)).replace(": ", ":\n"))
            if i % columns == 0:
                above.set_ylabel("by domain", fontweight="bold")
                below.set_ylabel("by class", fontweight="bold")
            picture_axes(above)
            picture_axes(below)
            try:
                embedding = embed(
                    final.features_source, final.features_target, max_points=max_points,
                    perplexity=perplexity, seed=seed,
                )  # fmt: skip
            except InputError as error:
                for ax in (above, below):
                    ax.text(0.5, 0.5, f"no picture:\n{str(error).splitlines()[0]}", ha="center", va="center", wrap=True)
                continue
            _by_domain(above, embedding)
            _by_class(below, embedding, final, names)
        _legend(figure, names if few else ())
        return figure


def _without_copies(run: Run) -> Final:
    """Return the run's arrays, without the source where it is the target over again.

    An oracle trains on the target in the source's place; drawn as a second domain, its copy would look like perfect
    alignment.
    """
    assert run.final is not None
    if run.role != "oracle" or not np.array_equal(run.final.labels_source, run.final.labels_target):
        return run.final
    return run.final._replace(features_source=run.final.features_source[:0], labels_source=run.final.labels_source[:0])


def _by_domain(ax: "Axes", embedding: Embedding) -> None:
    points = np.concatenate([embedding.source, embedding.target])
    colours = np.array([SOURCE_COLOUR] * len(embedding.source) + [TARGET_COLOUR] * len(embedding.target))
    order = np.random.default_rng(0).permutation(len(points))  # neither domain is painted over the other
    ax.scatter(points[order, 0], points[order, 1], s=11, c=colours[order].tolist(), alpha=0.75, linewidths=0)


def _by_class(ax: "Axes", embedding: Embedding, final: Final, names: tuple[str, ...]) -> None:
    from matplotlib.patheffects import withStroke

    colours = np.array(class_colours(len(names)))
    source, target = final.labels_source[embedding.source_rows], final.labels_target[embedding.target_rows]
    (s, t), (u, v) = embedding.source.T, embedding.target.T
    ax.scatter(s, t, s=15, facecolors="none", edgecolors=colours[source].tolist(), linewidths=0.9)
    ax.scatter(u, v, s=15, c=colours[target].tolist(), marker="x", linewidths=1.0)
    if len(names) > MAX_CLASS_LEGEND:
        return
    # Names at the source's clusters, where classes are apart.
    points, labels = (embedding.source, source) if len(source) else (embedding.target, target)
    for c in np.unique(labels):
        x, y = np.median(points[labels == c], axis=0)
        text = ax.text(x, y, plain(names[c]), ha="center", va="center", fontsize=11, fontweight="bold", zorder=5)
        text.set_in_layout(False)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _legend(figure: "Figure", names: tuple[str, ...]) -> None:
    from matplotlib.lines import Line2D

    def mark(marker: str, colour: str, face: str | None = None) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=marker, color=colour, markersize=7,
            markerfacecolor=face if face else colour, markeredgewidth=1.3,
        )  # fmt: skip

    handles = [mark("o", SOURCE_COLOUR), mark("o", TARGET_COLOUR), mark("o", INK, "none"), mark("x", INK)]
    labels = ["source (by domain)", "target (by domain)", "source (by class)", "target (by class)"]
    figure.legend(handles, labels, loc="outside upper center", ncols=4, columnspacing=1.2, handletextpad=0.3)
    if names:
        colours = class_colours(len(names))
        figure.legend(
            [mark("s", colour) for colour in colours], [plain(name) for name in names], loc="outside lower center",
            ncols=min(len(names), 10), title="true class", columnspacing=1.2, handletextpad=0.2,
        )  # fmt: skip
