"""Own data in one line: the real command on small data."""

import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.report import load_runs
from dalib.run.own.closed_form import CLASSIFIERS
from experiments.ledger.compare import entries
from experiments.ledger.published import load
from tests.run.own_data import MLP, SMALL, archive, blobs, call, images


@pytest.fixture
def pair(tmp_path):
    source = archive(tmp_path / "here.npz", *blobs())
    target = archive(tmp_path / "there.npz", *blobs(24, shift=0.5, seed=1))
    return source, target


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_classifiers_separate_blobs_and_use_weights(classifier):
    x, y = blobs()
    rows, labels = blobs(seed=5)
    np.testing.assert_array_equal(CLASSIFIERS[classifier](x, y, None)(rows), labels)
    weights = np.where(y == 0, 1e-6, 1.0)
    if classifier == "1nn":
        with pytest.raises(InputError, match="svm or logreg"):
            CLASSIFIERS[classifier](x, y, weights)
        return
    unsure = np.full((1, x.shape[1]), 0.1, np.float32)
    unsure[0, :2] = 1.5  # between class 0, which counts for nothing, and class 1
    assert CLASSIFIERS[classifier](x, y, weights)(unsure) == [1]


def test_closed_form_methods_leave_the_same_records(tmp_path, pair):
    source, target = pair
    command = ["--source", source, "--target", target, "--method", "coral", "--classifier", "svm", "--no-report"]
    assert call(*command, "--out", tmp_path / "out") == 0
    runs = load_runs(tmp_path / "out")
    assert {run.name for run in runs} == {"source_only+svm", "coral+svm"} and all(run.finished for run in runs)
    metrics = runs[0].evaluations[0].metrics
    assert runs[0].evaluations[0].oracle and metrics["accuracy"] == 1.0 and metrics["macro_f1"] == 1.0
    few = [*command[:-1], "--no-baseline", "--no-report", "--method", "tca", "--options", "tca.dim=2"]
    assert call(*few, "--out", tmp_path / "few") == 0
    (tca,) = load_runs(tmp_path / "few")
    assert tca.experiment["method_options"] == [["dim", 2]]
    assert tca.final is not None and tca.final.features_target.shape[1] == 2
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*")}
    assert call(*command, "--out", tmp_path / "out") == 0
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*")}


def test_what_a_closed_form_run_says_of_itself(tmp_path, pair):
    source, target = pair
    command = [
        "--source",
        f"a={source}",
        "--target",
        f"b={target}",
        "--method",
        "tca",
        "dann",
        "--options",
        "tca.dim=2",
    ]
    assert call(*command, "--no-baseline", *SMALL.split(), *MLP.split(), "--out", tmp_path / "out") == 0
    config = json.loads((tmp_path / "out/a-b/tca+1nn/seed-0/config.json").read_text())
    assert config["experiment"] == {
        "benchmark": "own",
        "source": "a",
        "target": "b",
        "method": "tca",
        "seed": 0,
        "role": "method",
        "encoder": "features",
        "classifier": "1nn",
        "relation": "closed",
        "method_options": [["dim", 2]],
        "protocol": [["split", "transductive"], ["kind", "vectors"], ["scale", "source"]],
    }
    assert (config["name"], config["task"], config["seed"]) == ("tca+1nn", "a → b", 0)
    net = json.loads((tmp_path / "out/a-b/dann/seed-0/config.json").read_text())
    assert set(net) == set(config) and sorted(net["data"].values()) == sorted(config["data"].values())


def test_ledger_takes_runs_on_own_data_that_are_a_benchmark(tmp_path):
    x, y = blobs(n=90)
    archive(tmp_path / "a.npz", np.abs(x) + 0.1, y)
    archive(tmp_path / "w.npz", np.abs(x) + 0.2, y)
    variant = next(n.variant for n in load() if n.table == "surf-full")
    places = ["--source", f"amazon={tmp_path}/a.npz", "--target", f"webcam={tmp_path}/w.npz", "--scale", "l1-domain"]
    arguments = ["--benchmark", "office_caltech10_surf", "--protocol", f"variant={variant}", "--no-report"]
    assert call(*places, *arguments, "--method", "coral", "--classifier", "1nn", "--out", tmp_path / "out") == 0
    found = [e for e in entries(load(), load_runs(tmp_path / "out")) if e.ours is not None]
    assert {(e.number.label, e.number.task) for e in found} == {
        ("1NN", "amazon → webcam"),
        ("1NN, recomputed", "amazon → webcam"),
    }
    assert all(e.verdict == "above" and not any("variant" in d for d in e.differences) for e in found)


def test_the_same_data_twice_is_refused(tmp_path, pair, capsys):
    assert call("--source", f"x={pair[0]}", "--target", pair[0], "--out", tmp_path / "out") == 2
    assert "same data twice" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_classes_that_differ_are_named_before_anything_runs(tmp_path, pair, capsys):
    x, y = blobs(classes=2, shift=0.3, seed=4)
    target = archive(tmp_path / "two.npz", x, y)
    assert call("--source", pair[0], "--target", target, "--out", tmp_path / "out") == 2
    assert "only in here, not in two: 2" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_nets_on_vectors_without_target_labels(tmp_path, pair):
    x, _ = blobs(24, shift=0.5, seed=1)
    target = archive(tmp_path / "bare.npz", x)
    out = tmp_path / "out"
    command = ["--source", pair[0], "--target", target, "--no-target-labels", "--no-baseline", *SMALL.split()]
    assert call(*command, *MLP.split(), "--method", "dan", "--population", "off", "--out", out) == 0
    (run,) = load_runs(out)
    assert run.finished and not any(event.oracle for event in run.evaluations) and run.final is None
    with np.load(run.path / "predictions.npz") as found:
        assert found["probabilities"].shape == (24, 3)
        np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found["predictions"], found["probabilities"].argmax(1))
        wanted = [["example", "class", "probability", "row"]] + [
            [str(i), str(label), f"{found['probabilities'][i, label]:.6f}", str(i + 1)]
            for i, label in enumerate(found["predictions"])
        ]
    lines = (run.path / "predictions.csv").read_text().splitlines()
    assert [line.split(",") for line in lines] == wanted


@pytest.mark.slow
def test_target_labels_change_nothing_but_the_score(tmp_path, pair):
    x, y = blobs(24, shift=0.5, seed=1)
    wrong = archive(tmp_path / "wrong.npz", x, (y + 1) % 3)
    bare = archive(tmp_path / "bare.npz", x)
    command = ["--source", pair[0], "--method", "dann", "--no-baseline", *SMALL.split(), *MLP.split()]
    for name, target, more in (("right", pair[1], []), ("wrong", wrong, []), ("bare", bare, ["--no-target-labels"])):
        assert call(*command, "--target", f"t={target}", *more, "--out", tmp_path / name) == 0
    runs = [load_runs(tmp_path / name)[0] for name in ("right", "wrong", "bare")]
    weights = [(run.path / "weights.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] == weights[2]
    assert runs[0].training == runs[1].training == runs[2].training


@pytest.mark.slow
def test_several_sources_partial_targets_and_the_report(tmp_path, pair):
    other = archive(tmp_path / "other.npz", *blobs(shift=-0.5, seed=2))
    out = tmp_path / "out"
    small = [*SMALL.replace("--no-report", "").split(), *MLP.split()]
    sources = ["--source", pair[0], "--source", other]
    assert call(*sources, "--target", pair[1], "--method", "m3sda", "dann", *small, "--out", out) == 0
    runs = load_runs(out)
    assert {run.name for run in runs} == {"source_only", "m3sda", "dann"}
    assert {run.task for run in runs} == {"here + other → there"}
    (page,) = out.rglob("report.html")
    assert "m3sda" in page.read_text()
    x, y = blobs(classes=2, shift=0.3, seed=4)
    two = archive(tmp_path / "two.npz", x, y)
    partial = ["--source", pair[0], "--target", two, "--relation", "partial", "--method", "pada"]
    assert call(*partial, *small, "--out", tmp_path / "partial") == 0


@pytest.mark.slow
def test_images_series_and_texts(tmp_path):
    images(tmp_path / "photos", n=5)
    images(tmp_path / "sketches", n=5, seed=1)
    small = [*SMALL.split(), "--no-baseline", "--method", "dan", "--holdout", "0.4"]
    places = ["--source", tmp_path / "photos", "--target", tmp_path / "sketches", "--size", "16", "--encoder", "lenet"]
    places += ["--augment", "crop", "flip"]
    assert call(*places, *small, "--out", tmp_path / "images") == 0
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        archive(tmp_path / f"{name}.npz", rng.normal(size=(12, 2, 32)), np.arange(12) % 2)
        rows = [{"text": f"{('good', 'bad')[i % 2]} thing {name} {i}", "label": i % 2} for i in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        call("--source", tmp_path / "one.npz", "--target", tmp_path / "two.npz", *small, "--out", tmp_path / "s") == 0
    )
    texts = ["--source", tmp_path / "one.jsonl", "--target", tmp_path / "two.jsonl"]
    assert call(*texts, *small, *MLP.split(), "--out", tmp_path / "t") == 0
    assert load_runs(tmp_path / "images")[0].experiment["augment"] == "crop+flip"
    assert {load_runs(tmp_path / name)[0].experiment["encoder"] for name in ("images", "s", "t")} == {
        "lenet",
        "series_cnn",
        "mlp",
    }


@pytest.mark.slow
def test_texts_are_learnt_at_the_default_rate(tmp_path):
    """Two words in a hundred tell the class: 96 %. With rows of length 1 these steps lead to 60 %."""
    rng = np.random.default_rng(0)
    for name in ("books", "films"):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            for i in range(400):
                words = [f"word{j}" for j in rng.integers(0, 300, 98)]
                for _ in range(2):
                    words.insert(int(rng.integers(0, 40)), ("bad", "good")[i % 2])
                file.write(json.dumps({"text": " ".join(words), "label": i % 2}) + "\n")
    texts = ["--source", tmp_path / "books.jsonl", "--target", tmp_path / "films.jsonl", "--method", "source_only"]
    assert call(*texts, "--seeds", "1", "--steps", "200", "--no-report", "--out", tmp_path / "out") == 0
    (run,) = load_runs(tmp_path / "out")
    assert [event.metrics["accuracy"] for event in run.evaluations if event.oracle][-1] > 0.8


@pytest.mark.slow
def test_a_method_that_diverges_leaves_the_others_alone(tmp_path, pair, capsys):
    command = [
        "--source",
        pair[0],
        "--target",
        pair[1],
        "--method",
        "dan",
        "im",
        *SMALL.replace("--no-report", "").split(),
        *MLP.split(),
    ]
    out = tmp_path / "out"
    assert call(*command, "--options", "dan.weight=1e38", "--out", out) == 1
    assert "dan" in capsys.readouterr().err.split("stopped:")[1]
    assert {run.name: run.finished for run in load_runs(out)} == {"source_only": True, "dan": False, "im": True}
    assert "im" in (out / "here-there" / "report.html").read_text()
