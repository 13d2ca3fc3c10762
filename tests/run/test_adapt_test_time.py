"""Test-time adaptation of data of one's own: ``dalib adapt --method tent``."""

import json

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import MLP, Classifier
from dalib.encoders.pretrained import load_variables
from dalib.methods import TEST_TIME
from dalib.report import accuracy_table, load_runs, write_report
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.own.test_time import stream_of
from dalib.train.predict import make_apply
from tests.run.own_data import archive, blobs, call

NORMED = ["--encoder-options", "encoder.widths=[8]", "encoder.norm=true"]
FEW = "--steps 30 --batch-size 8 --seeds 1 --log-every 10 --evaluate-every 30 --save-every 30 --no-report".split()


@pytest.fixture
def pair(tmp_path):
    source = archive(tmp_path / "here.npz", *blobs(60))
    target = archive(tmp_path / "there.npz", *blobs(27, shift=1.5, seed=1))
    return ["--source", source, "--target", target]


def adapted(tmp_path, pair, *arguments, out="out"):
    assert call(*pair, *FEW, *NORMED, *arguments, "--out", tmp_path / out) == 0
    return {run.name: run for run in load_runs(tmp_path / out)}


def test_runs_stand_beside_source_only(tmp_path, pair):
    runs = adapted(tmp_path, pair, "--method", *TEST_TIME, "--options", "tent.learning_rate=0.05")
    assert set(runs) == {"source_only", *TEST_TIME} and all(run.finished for run in runs.values())
    assert len(accuracy_table(runs.values()).rows) == 4
    labels = blobs(27, shift=1.5, seed=1)[1]
    for name in TEST_TIME:
        run = runs[name]
        with np.load(run.path / "final.npz") as left:
            before, after, order = left["predictions"], left["predictions_after"], left["order"]
            sizes = left["batch_sizes"]
        (whole,) = (e for e in run.evaluations if e.split == "test")
        assert whole.oracle and run.end.step == whole.step == 3
        assert whole.metrics["accuracy"] == pytest.approx((before == labels).mean())
        assert whole.metrics["accuracy_after"] == pytest.approx((after == labels).mean())
        assert sorted(order) == list(range(27)) and sizes.tolist() == [8, 8, 11]
        parts = [e.metrics["accuracy"] for e in run.evaluations if e.split == "stream"]
        assert np.dot(parts, sizes) / 27 == pytest.approx(whole.metrics["accuracy"])
        assert run.experiment["method"] == name and "start" in run.config
        assert name != "bn_norm" or (before == after).all()  # it trains nothing


@pytest.mark.slow
def test_the_report_shows_them_without_a_doubt(tmp_path, pair):
    runs = adapted(tmp_path, pair, "--method", "tent")
    page = write_report(runs.values(), tmp_path / "report.html").read_text()
    assert "raise doubts" not in page and "Not shown" not in page


def test_first_batch_is_predicted_by_the_source_net_under_batch_statistics(tmp_path, pair):

    runs = adapted(tmp_path, pair, "--method", "tent", "--scale", "none", "--options", "tent.learning_rate=0.5")
    net = Classifier(MLP((8,), norm=True), 3)
    like = net.init({"params": jax.random.key(0)}, np.zeros((2, 5), np.float32))
    variables = load_variables(runs["source_only"].path / "weights.safetensors", like)
    with np.load(runs["tent"].path / "final.npz") as left:
        order, probabilities, after = left["order"], left["probabilities"], left["predictions_after"]
    x, _ = blobs(27, shift=1.5, seed=1)
    first = order[:8]
    logits = make_apply(net)(variables["params"], variables["batch_stats"], x[first], 0.0)[0].logits
    expected = np.exp(logits - np.max(logits, 1, keepdims=True))
    np.testing.assert_allclose(probabilities[first], expected / expected.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)
    plain = make_apply(net)(variables["params"], variables["batch_stats"], x[first], 1.0)[0].logits
    assert not np.allclose(plain, logits, atol=1e-2)
    assert after.shape == (27,)


def test_a_killed_pass_starts_again_with_the_same_numbers(tmp_path, pair):
    whole = adapted(tmp_path, pair, "--method", "sar", "--options", "sar.learning_rate=0.1")["sar"].path
    lines = (whole / "record.jsonl").read_text().splitlines()
    arrays = {name: value.copy() for name, value in np.load(whole / "final.npz").items()}
    (whole / "record.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:9])
    (whole / "final.npz").unlink()
    again = adapted(tmp_path, pair, "--method", "sar", "--options", "sar.learning_rate=0.1")["sar"].path

    def timeless(text):
        return {k: v for k, v in json.loads(text).items() if k != "seconds"}

    assert list(map(timeless, (again / "record.jsonl").read_text().splitlines())) == list(map(timeless, lines))
    for name, value in np.load(again / "final.npz").items():
        np.testing.assert_array_equal(value, arrays[name])
    stamps = {p: p.stat().st_mtime_ns for p in again.iterdir()}
    adapted(tmp_path, pair, "--method", "sar", "--options", "sar.learning_rate=0.1")
    assert stamps == {p: p.stat().st_mtime_ns for p in again.iterdir()}


def test_without_target_labels_there_are_predictions_and_no_scores(tmp_path, pair):
    runs = adapted(tmp_path, pair, "--method", "bn_norm", "--no-target-labels")
    assert not any(e.oracle for e in runs["bn_norm"].evaluations)
    assert len((runs["bn_norm"].path / "predictions.csv").read_text().splitlines()) == 28


@pytest.mark.parametrize("method", sorted(TEST_TIME))
def test_nets_without_normalisation_are_refused_before_any_training(tmp_path, pair, capsys, method):
    assert call(*pair, *FEW, "--method", method, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert method in error and "encoder.norm=true" in error and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation": "open"}, "open, for tent"),
        ({"task": "regression"}, "for test time, and classifies"),
        ({"options": ("tent.optimizer=adam",)}, "tent.learning_rate"),
        ({"options": ("tent.rate=1",)}, "did you mean|learning_rate"),
    ],
)
def test_commands_that_no_stream_can_do(options, message):
    with pytest.raises(InputError, match=message):
        plan(Own(**{"source": ("a.npz",), "target": "b.npz", "method": ("tent",), **options}))


def test_the_stream_holds_every_example_once_and_no_tiny_batch():
    assert [len(rows) for rows in stream_of(27, 8, 0)] == [8, 8, 11]
    assert [len(rows) for rows in stream_of(28, 8, 0)] == [8, 8, 8, 4]
    assert [len(rows) for rows in stream_of(5, 8, 0)] == [5] and [len(r) for r in stream_of(16, 8, 0)] == [8, 8]
    np.testing.assert_array_equal(np.concatenate(stream_of(27, 8, 3)), np.concatenate(stream_of(27, 8, 3)))
    assert sorted(np.concatenate(stream_of(27, 8, 1))) == list(range(27))
    assert (np.concatenate(stream_of(27, 8, 0)) != np.concatenate(stream_of(27, 8, 1))).any()
