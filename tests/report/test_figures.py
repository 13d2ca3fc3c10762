"""What the figures draw, and that nothing of it is cut off."""

import numpy as np
import pytest
from matplotlib.text import Text

from dalib.core.checks import InputError
from dalib.report import figures, load_runs
from tests.report.synthetic import CLASSES, write_digits, write_run

TASK = "mnist → optdigits"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return load_runs(write_digits(tmp_path_factory.mktemp("runs"), seeds=2, points=40, dimensions=40, evaluations=4))


def drawn(figure):
    """Visible texts of visible axes, and the figure's own."""
    figure.draw_without_rendering()
    found = figure.findobj(Text)
    return [t for t in found if t.get_text().strip() and t.get_visible() and (not t.axes or t.axes.get_visible())]


def assert_nothing_cut(figure):
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02


def test_accuracy_figure_shows_means_and_every_seed(runs):
    figure = figures.accuracy_figure(runs)
    assert_nothing_cut(figure)
    shown = {t.get_text() for t in drawn(figure)}
    assert {"source-only", "DAN", "oracle:\ntrained on target labels", TASK, "optdigits → mnist"} <= shown
    last = [run.evaluations[-1].metrics["accuracy"] for run in runs if run.name == "dan" and run.task == TASK]
    dots = [line.get_xdata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
    assert any(np.allclose(sorted(d), sorted(100 * np.array(last))) for d in dots)


def test_curves_are_the_records_means_and_leave_the_headline_alone(runs):
    figure = figures.curves_figure(runs, TASK)
    assert_nothing_cut(figure)
    group = [run for run in runs if run.name == "dann" and run.task == TASK]
    expected = np.mean([[100 * e.metrics["accuracy"] for e in r.evaluations if e.oracle] for r in group], axis=0)
    (line,) = [line for line in figure.axes[0].get_lines() if line.get_label() == "DANN"]
    np.testing.assert_allclose(line.get_ydata(), expected)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "accuracy of the domain classifier" in titles and "DANN: loss/dann" in titles and "DAN: loss/dan" in titles


def test_domain_panel_has_its_line_at_a_half(runs):
    figure = figures.curves_figure(runs, TASK)
    (ax,) = [ax for ax in figure.axes if "domain classifier" in ax.get_title(loc="left")]
    assert any(np.allclose(line.get_ydata(), 0.5) for line in ax.get_lines())
    alone = figures.curves_figure([run for run in runs if run.name == "source_only"], TASK)
    assert not any("domain classifier" in ax.get_title(loc="left") for ax in alone.axes)


def test_confusion_adds_seeds_and_normalises_rows(runs):
    figure = figures.confusion_figure(runs, TASK)
    assert_nothing_cut(figure)
    members = [run for run in runs if run.name == "source_only" and run.task == TASK]
    counts = sum(run.final.confusion for run in members)
    image = figure.axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(image, counts / counts.sum(axis=1, keepdims=True))
    written = {t.get_text() for t in figure.axes[0].texts}
    assert written == {str(c) for c in counts[counts > 0]}


def test_confusion_with_an_absent_class_is_finite(tmp_path):
    folder = write_run(tmp_path)
    arrays = dict(np.load(folder / "final.npz"))
    arrays["confusion"][2] = 0
    np.savez(folder / "final.npz", **arrays)
    figure = figures.confusion_figure(load_runs(tmp_path), TASK)
    assert np.isfinite(figure.axes[0].get_images()[0].get_array()).all()


def test_embedding_is_deterministic_and_separates_what_is_apart():
    rng = np.random.default_rng(0)
    source = np.concatenate([rng.normal(size=(30, 50)), rng.normal(size=(30, 50)) + 8]).astype(np.float32)
    target = source + 0.1
    a, b = (figures.embed(source, target, max_points=40) for _ in range(2))
    np.testing.assert_array_equal(a.source, b.source)
    np.testing.assert_array_equal(a.target_rows, b.target_rows)
    assert a.source.shape == a.target.shape == (40, 2) and a.perplexity == pytest.approx(79 / 3)
    first = a.source_rows < 30
    gap = np.linalg.norm(a.source[first].mean(0) - a.source[~first].mean(0))
    assert gap > 2 * max(a.source[first].std(0).max(), a.source[~first].std(0).max())


def test_embedding_of_one_column_and_few_points():
    x = np.arange(6, dtype=np.float32)[:, None]
    assert np.isfinite(figures.embed(x, x + 0.5).source).all()


@pytest.mark.parametrize(
    "source, target",
    [
        (np.full((9, 3), np.nan), np.ones((9, 3))),
        (np.ones((9, 3)), np.ones((9, 3))),
        (np.eye(2), np.eye(2)),
        (np.ones((9, 3)), np.ones((9, 4))),
        (np.ones((0, 3)), np.ones((0, 3))),
        (np.ones((9, 0)), np.ones((9, 0))),
    ],
)
def test_embedding_refuses(source, target):
    with pytest.raises(InputError, match="features"):
        figures.embed(source, target)


def test_feature_figure_names_methods_and_classes_and_survives_a_collapsed_run(runs):
    chosen = [run for run in runs if run.name in ("source_only", "dan") and run.task == TASK]
    broken = chosen[0].final._replace(features_source=np.zeros((40, 40)), features_target=np.zeros((40, 40)))
    chosen[0] = chosen[0]._replace(final=broken)
    figure = figures.features_figure(chosen, TASK, max_points=20)
    assert_nothing_cut(figure)
    shown = [t.get_text() for t in drawn(figure)]
    assert {"source-only", "DAN", "by domain", "by class", *CLASSES} <= set(shown)
    assert sum("no picture" in text for text in shown) == 2


def test_an_oracle_that_recorded_the_target_twice_is_not_shown_as_aligned(runs):
    oracle = next(run for run in runs if run.role == "oracle" and run.task == TASK)
    final = oracle.final
    twice = final._replace(features_source=final.features_target, labels_source=final.labels_target)
    for given, points in ((final, 40 + 40), (twice, 40)):
        figure = figures.features_figure([oracle._replace(final=given)], TASK)
        (scatter,) = figure.axes[0].collections
        assert len(scatter.get_offsets()) == points


def test_a_method_keeps_its_colour_whatever_the_task(runs):
    styles = figures.method_styles(runs)
    assert len({style.colour for style in styles.values()}) == len(styles) == 5
    assert styles["source_only"].line == "--" and styles["oracle"].colour == "#000000"
    only = [run for run in runs if run.name in ("dan", "dann") and run.task == TASK]
    figure = figures.curves_figure(only, TASK, styles=styles)
    assert {line.get_label(): line.get_color() for line in figure.axes[0].get_lines()} == {
        "DAN": styles["dan"].colour,
        "DANN": styles["dann"].colour,
    }


def test_odd_names_are_printed_as_they_are(tmp_path):
    names = ["$x_$", "_b", "<c>", "back\\slash", "a very long class name"]
    write_run(tmp_path, "dan", config={"name": "_$m$"}, class_names=names, target_accuracy=[0.5, 0.6, 0.7])
    runs = load_runs(tmp_path)
    for figure in (figures.curves_figure(runs, TASK), figures.confusion_figure(runs, TASK)):
        assert figures.png(figure).startswith(b"\x89PNG")
        assert_nothing_cut(figure)
    assert [t.get_text() for t in figures.curves_figure(runs, TASK).legends[0].get_texts()] == [r" _\$m\$"]


def test_many_classes_and_an_unfinished_method(tmp_path):
    names = [f"class {i}" for i in range(45)]
    write_run(tmp_path, "source_only", class_names=names, points=60)
    write_run(tmp_path, "dan", class_names=names, finished=False)
    runs = load_runs(tmp_path)
    for figure in (figures.confusion_figure(runs, TASK), figures.accuracy_figure(runs)):
        assert_nothing_cut(figure)
    assert "no finished run" in {t.get_text() for t in drawn(figures.accuracy_figure(runs))}


def test_png_is_the_same_twice_and_leaves_rcparams_alone(runs, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    one = figures.png(figures.accuracy_figure(runs))
    assert one == figures.png(figures.accuracy_figure(runs))
    assert dict(matplotlib.rcParams) == before
    path = figures.save_png(figures.accuracy_figure(runs), tmp_path / "new" / "accuracy.png")
    assert path.read_bytes() == one and [p.name for p in path.parent.iterdir()] == ["accuracy.png"]


@pytest.mark.parametrize("draw", [figures.curves_figure, figures.confusion_figure, figures.features_figure])
def test_figures_refuse_a_task_without_runs(runs, draw):
    with pytest.raises(InputError, match="task"):
        draw(runs, "mnist → svhn")
