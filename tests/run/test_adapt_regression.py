"""Regression on data of one's own: ``dalib adapt --task regression``."""

import csv
import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays, match_classes, paired_stream
from dalib.methods import METHODS
from dalib.report import accuracy_table, load_runs, to_text, write_report
from dalib.run.config import needs_of, serves_regression
from dalib.run.own.inputs import make_source, scaled_targets
from dalib.run.own.options import Own, default_folder
from dalib.run.own.plan import plan
from tests.run.own_data import archive, blobs, call, read_one

WEIGHTS = np.array([[1.0, -2.0], [0.5, 1.0], [0.0, 3.0]])
FEW = "--task regression --batch-size 16 --seeds 1 --log-every 20 --evaluate-every 100 --save-every 100".split()
NORMED = ["--encoder-options", "encoder.widths=[24]", "encoder.norm=true"]
WIDE = ["--encoder-options", "encoder.widths=[24]"]


def linear(n=120, seed=0, shift=0.0, outputs=1):
    """Rows ``[n, 3]`` and linear labels ``[n]``, or ``[n, outputs]``, with a little noise."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 3)) + shift).astype(np.float32)
    y = (x @ WEIGHTS + 1 + 0.05 * rng.normal(size=(n, 2)))[:, :outputs]
    return x, y[:, 0] if outputs == 1 else y


def places(tmp_path, outputs=1):
    source = archive(tmp_path / "here.npz", *linear(outputs=outputs))
    return ["--source", source, "--target", archive(tmp_path / "there.npz", *linear(80, 1, 0.3, outputs))]


def run(tmp_path, *arguments, out="out", steps=100):
    command = [*FEW, "--steps", steps, *WIDE, *arguments, "--out", tmp_path / out, "--no-report"]
    assert call(*command) == 0
    return {run.name: run for run in load_runs(tmp_path / out)}


@pytest.mark.parametrize("outputs", [1, 2])
def test_source_only_learns_a_linear_map_and_the_written_errors_are_those_of_its_predictions(tmp_path, outputs):
    from sklearn.metrics import mean_absolute_error, r2_score

    runs = run(tmp_path, *places(tmp_path, outputs), "--method", "source_only", "--recipe.learning-rate", "0.03")
    found = runs["source_only"]
    assert found.class_names == () and found.experiment["kind"] == "regression"
    target = next(e for e in reversed(found.evaluations) if e.oracle)
    source = next(e for e in reversed(found.evaluations) if not e.oracle)
    assert source.domain == "here" and source.split == "test" and source.metrics["r2"] > 0.9
    with np.load(found.path / "final.npz") as left:
        assert "confusion" not in left.files and left["predictions"].shape == (80, outputs)
        np.testing.assert_allclose(left["labels"].squeeze(), linear(80, 1, 0.3, outputs)[1], rtol=1e-6)
        error = mean_absolute_error(left["labels"], left["predictions"])
        assert target.metrics["mean_absolute_error"] == pytest.approx(error, rel=1e-5)
        assert target.metrics["r2"] == pytest.approx(r2_score(left["labels"], left["predictions"]), rel=1e-4)
    assert target.metrics["r2"] > 0.9 and {e.split for e in found.evaluations} == {"test"}


EVERY = [name for name in METHODS if name != "source_only" and serves_regression(needs_of(name))]


@pytest.mark.parametrize(
    "methods", [["dan", "rsd"], pytest.param(EVERY, marks=pytest.mark.slow)], ids=["two", "every one that is taken"]
)
def test_methods_of_regression_and_plain_alignment_run_and_are_reported(tmp_path, methods):
    runs = run(tmp_path, *places(tmp_path), "--method", *methods, "--batch-size", "8", *NORMED, steps=20)
    assert set(runs) == {"source_only", *methods} and all(found.finished for found in runs.values())
    for name in methods:
        losses = [e.metrics for e in runs[name].training]
        assert all(np.isfinite(value) for metrics in losses for value in metrics.values())
        # The second stage of ADDA has no supervised loss.
        assert any(key.endswith("error/source") for key in losses[0]) or name == "adda"
        assert f"loss/{name}" in losses[0] or name not in ("dan", "rsd", "dare_gram", "dd", "dann")
    table = accuracy_table(runs.values())
    error = runs["dan"].evaluations[-1].metrics["mean_absolute_error"]
    assert table.title == "Target test mean absolute error at the last step" and "lower is better" in table.notes
    assert next(row for row in table.rows if row.label == "DAN").cells[0].mean == pytest.approx(error)
    assert "%" not in to_text(table).splitlines()[0]
    page = write_report(runs.values(), tmp_path / "report.html").read_text()
    assert "mean absolute error" in page and "Not shown" in page


def test_runs_together_see_the_batches_of_single_ones(tmp_path):
    pair = [*places(tmp_path), "--method", "dan", "--seeds", "2"]
    together = run(tmp_path, *pair, steps=20)["dan"]
    alone = run(tmp_path, *pair, "--population", "off", out="alone", steps=20)["dan"]
    assert together.end.together == 2 and alone.end.together == 1
    for a, b in zip(together.training, alone.training, strict=True):
        assert a.metrics == pytest.approx(b.metrics, rel=1e-3)
    lower_is_better(tmp_path / "out")


def lower_is_better(folder):
    """Of two groups of two seeds, the one whose recorded errors are put far below source-only's is marked ▲."""
    for path in folder.rglob("record.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if line.get("oracle"):
                error = (0.5 if "dan" in path.parts else 5.0) + 0.001 * int(path.parent.name[-1])
                line["metrics"]["mean_absolute_error"] = error
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = accuracy_table(load_runs(folder))
    assert [row.cells[0].sign for row in table.rows] == [0, 1] and any("wholly below" in n for n in table.notes)


def test_tables_of_numbers_and_of_texts(tmp_path):
    (tmp_path / "a.csv").write_text("height,age,weight\n1.5,30,60\n1.75,41,-7.5e1\n")
    found = read_one(tmp_path / "a.csv", real=True, label_column="weight")
    assert found.kind == "vectors" and found.labels.dtype == np.float32
    np.testing.assert_array_equal(found.inputs, np.array([[1.5, 30], [1.75, 41]], np.float32))
    np.testing.assert_array_equal(found.labels, [60, -75])
    both = read_one(tmp_path / "a.csv", real=True, label_column="weight,age")
    np.testing.assert_array_equal(both.labels, [[60, 30], [-75, 41]])
    bare = read_one(tmp_path / "a.csv", labelled=False, real=True, label_column="weight")
    assert bare.labels is None and np.asarray(bare.inputs).shape == (2, 2)
    (tmp_path / "b.jsonl").write_text('{"text": "good", "label": 4.5}\n{"text": "bad", "label": 1}\n')
    texts = read_one(tmp_path / "b.jsonl", real=True)
    assert texts.kind == "text" and texts.inputs == ["good", "bad"] and texts.labels.tolist() == [4.5, 1]


def test_cells_that_are_no_numbers_are_named_by_their_lines(tmp_path):
    (tmp_path / "a.csv").write_text("x,z,label\n1,2,3\n1,red,3\n1,2,nan\n1,2\ninf,2,3\n1,2,3,4\n")
    with pytest.raises(InputError) as error:
        read_one(tmp_path / "a.csv", real=True)
    bad = (
        (3, "'red' in 'z'"),
        (4, "'nan' in 'label'"),
        (5, "2 cells, but the first line has 3"),
        (6, "'inf' in 'x'"),
        (7, "4 cells"),
    )
    for line, what in bad:
        assert f"line {line}: {what}" in str(error.value)
    assert "line 2" not in str(error.value)
    with pytest.raises(InputError, match="--label-column"):
        read_one(tmp_path / "a.csv", real=True, label_column="y")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([1.0, np.nan, 2.0]), "NaN, infinity or too large for float32 in 1 rows: 1"),
        (np.array([1.0, 2.0]), r"\[3\] or \[3, k\] numbers"),
        (np.array(["a", "b", "c"]), "numbers"),
    ],
)
def test_bad_labels_of_archives(tmp_path, y, message):
    with pytest.raises(InputError, match=message):
        read_one(archive(tmp_path / "bad.npz", np.ones((3, 2)), y), real=True)


def test_only_methods_that_need_no_classes_are_taken():
    closed = {name for name in METHODS if serves_regression(needs_of(name))}
    assert {"source_only", "dan", "ddc", "deep_coral", "dann", "wdgrl", "swd", "rsd", "dare_gram", "dd"} <= closed
    assert not closed & {
        "mcc",
        "im",
        "entmin",
        "cdan",
        "jan",
        "dsan",
        "shot",
        "mcd",
        "mdd",
        "vat",
        "vada",
        "mme",
        "afn",
        "pada",
    }
    assert not serves_regression(needs_of("swd", {"heads": True}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": ("mcc",)}, "mcc, which is for classes .* rsd, dare_gram, dd"),
        ({"method": ("coral",)}, "in closed form, and classifies"),
        ({"method": ("rsd",), "task": "classification"}, "add --task regression"),
        ({"method": ("dan",), "task": "classification", "scale_targets": "source"}, "scale-targets"),
        ({"method": ("dan",), "relation": "open"}, "has no classes"),
        ({"method": ("dan",), "task": "regresion"}, "did you mean 'regression'"),
    ],
)
def test_commands_that_no_regression_can_do(options, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        plan(Own(**{"source": ("a.npz",), "target": "b.npz", "task": "regression", **options}))


def test_faults_of_the_data_come_at_once_and_nothing_is_written(tmp_path, capsys):
    source = archive(tmp_path / "here.npz", *linear(outputs=2))
    target = archive(tmp_path / "there.npz", *linear(40, 1))
    out = ["--out", tmp_path / "out", "--no-report"]
    assert call(*FEW, "--source", source, "--target", target, "--method", "dan", *out) == 2
    assert "2 in here, 1 in there" in capsys.readouterr().err
    classes = archive(tmp_path / "classes.npz", *blobs())
    assert call("--source", source, "--target", classes, "--method", "dan", *out) == 2
    assert "whole numbers or texts" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_without_target_labels_the_predictions_are_a_table_in_the_labels_unit(tmp_path):
    more = ["--no-target-labels", "--scale-targets", "source", "--method", "source_only"]
    found = run(tmp_path, *places(tmp_path), *more, "--recipe.learning-rate", "0.03")["source_only"]
    with (found.path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = np.array([float(row["value"]) for row in rows])
    assert np.abs(values - linear(80, 1, 0.3)[1]).mean() < 0.3 and rows[3]["example"] == "3"
    assert not any(e.oracle for e in found.evaluations)


def test_targets_are_scaled_by_the_source_alone():
    a, b = np.array([1.0, 3.0]), np.array([5.0])
    (scaled,), (other, none), (mean, spread) = scaled_targets([a], [b, None], "source")
    assert scaled.tolist() == [-1, 1] and other.tolist() == [3] and none is None and (mean, spread) == (2, 1)
    assert scaled_targets([a], [b], "none")[2] is None


def test_domains_of_real_numbers():
    x, y = linear(10)
    source, target = (
        make_source([("s", x, y.astype(np.float32))], holdout=0.2),
        from_arrays("t", {"train": (x + 1, None)}, class_names=()),
    )
    assert len(source.split("test")) == 2 and source.columns == 1 and match_classes(source, target) is target
    assert np.isnan(target.labels("train")).all() and target.labels("train").dtype == np.float32
    negative = from_arrays("n", {"train": (x, np.full(10, -1.0))}, class_names=())
    batch = paired_stream(negative, target, batch_size=4, seed=0)[0]
    assert batch.source.labels.dtype == np.float32 and (batch.source.labels == -1).all()
    with pytest.raises(InputError, match="unlabelled example"):
        paired_stream(target, negative, batch_size=4, seed=0)[0]
    with pytest.raises(InputError, match="real numbers"):
        from_arrays("n", {"train": (x, np.zeros(10, int))}, class_names=())
    with pytest.raises(InputError, match="only in"):
        match_classes(from_arrays("c", {"train": (x, np.zeros(10, int))}), target)


def test_older_commands_keep_their_folder():
    plain = Own(source=("a.npz",), target="b.npz")
    assert str(default_folder(plain)) == "runs/own-b-09bbb6c6"
    assert default_folder(plain) != default_folder(Own(source=("a.npz",), target="b.npz", task="regression"))
