"""Where a command's examples come from: pools without labels, tests of their own, names that are no paths."""

import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.files import folder_name
from dalib.data.readers.places import place_of
from dalib.report import load_runs
from dalib.run.own.closed_form import choose_c
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.own.read import read_domains
from tests.run.own_data import MLP, SMALL, archive, blobs, call, images


@pytest.fixture
def places(tmp_path):
    """A source and its test, a pool without labels and its test."""
    archive(tmp_path / "a.npz", *blobs())
    archive(tmp_path / "a_test.npz", *blobs(12, seed=3))
    archive(tmp_path / "pool.npz", blobs(24, shift=0.5, seed=1)[0])
    archive(tmp_path / "test.npz", *blobs(15, shift=0.5, seed=2))
    return tmp_path


def read(places, **options):
    options = Own(**{"source": (f"{places}/a.npz",), "target": f"{places}/pool.npz", "scale": "none", **options})
    return read_domains(options, plan(options))


def test_a_pool_needs_no_labels_where_a_test_is_named(places, capsys):
    data = read(places, target_test=f"{places}/test.npz")
    assert "read without its labels, which are optional here" in capsys.readouterr().err
    assert (data.target.labels("train") == -1).all()
    np.testing.assert_array_equal(data.target.labels("test"), np.arange(15) % 3)
    assert data.target.class_names == ("0", "1", "2") and data.examples == [(i + 1, str(i)) for i in range(15)]
    with pytest.raises(InputError, match="pool.npz: got arrays x(.|\n)*--no-target-labels predicts it"):
        read(places)
    with pytest.raises(InputError, match="pool.npz: got arrays x"):
        read(places, target_test=f"{places}/test.npz", oracle=True)


def test_the_labels_of_a_pool_that_has_some_are_read_and_may_be_left(places):
    archive(places / "pool.npz", *blobs(24, shift=0.5, seed=1))
    test = {"target_test": f"{places}/test.npz"}
    assert (read(places, **test).target.labels("train") == np.arange(24) % 3).all()
    left = read(places, **test, target_labels=False)
    assert (left.target.labels("train") == -1).all() and (left.target.labels("test") >= 0).all()
    archive(places / "test.npz", blobs(15, shift=0.5, seed=2)[0])
    assert (read(places, **test, target_labels=False).target.labels("test") == -1).all()
    with pytest.raises(InputError, match="test.npz: got arrays x"):
        read(places, **test)


def test_a_test_may_lack_classes_but_not_add_some(places):
    x, y = blobs(15, shift=0.5, seed=2)
    archive(places / "test.npz", x[y < 2], y[y < 2])
    data = read(places, target_test=f"{places}/test.npz")
    assert data.target.class_names == ("0", "1", "2") and set(data.target.labels("test")) == {0, 1}
    archive(places / "test.npz", x, y + 1)
    with pytest.raises(InputError, match="only in pool, not in a: 3"):
        read(places, target_test=f"{places}/test.npz")
    opened = read(places, target_test=f"{places}/test.npz", relation="universal")
    assert opened.target.class_names == ("0", "1", "2", "3")


def test_a_folder_of_images_without_classes_is_a_pool_and_a_folder_of_splits_is_not(tmp_path):
    images(tmp_path / "a")
    images(tmp_path / "test", seed=2)
    images(tmp_path / "b", seed=1)
    pool = tmp_path / "pool"
    pool.mkdir()
    for i, path in enumerate(sorted((tmp_path / "b").rglob("*.png"))):
        path.rename(pool / f"{i}.png")
    options = Own(source=(f"{tmp_path}/a",), target=str(pool), target_test=f"{tmp_path}/test", size=8, holdout=0.4)
    data = read_domains(options, plan(options))
    assert len(data.target.split("train")) == 6 and (data.target.labels("train") == -1).all()
    images(tmp_path / "whole" / "train", seed=4)
    images(tmp_path / "whole" / "test", seed=5)
    options = Own(source=(f"{tmp_path}/a",), target=f"{tmp_path}/whole", target_test=f"{tmp_path}/test", holdout=0.4)
    with pytest.raises(InputError, match="split folders"):
        read_domains(options, plan(options))


def test_a_test_of_the_source_leaves_all_of_it_to_train_on(places):
    data = read(places, source_test=(f"{places}/a_test.npz",), target_labels=False, scale="source")
    assert len(data.source.split("train")) == 30 and len(data.source.split("test")) == 12
    raw = np.load(places / "a.npz")["x"]
    test = data.source.split("test").__getitems__(range(12))[0]
    np.testing.assert_allclose(test, (np.load(places / "a_test.npz")["x"] - raw.mean(0)) / raw.std(0), atol=1e-5)
    archive(places / "a_test.npz", blobs(12)[0], np.arange(12) % 4)
    with pytest.raises(InputError, match="only in --source-test a_test, not in a: 3"):
        read(places, source_test=(f"{places}/a_test.npz",), target_labels=False)
    with pytest.raises(InputError, match="1, for 2 --source"):
        read(places, source=(f"{places}/a.npz", f"{places}/test.npz"), source_test=(f"{places}/a_test.npz",))


@pytest.mark.parametrize("several", [False, True])
def test_without_a_holdout_all_of_the_source_is_trained_on_and_scored_as_such(places, several):
    source = (f"{places}/a.npz", f"{places}/test.npz") if several else (f"{places}/a.npz",)
    data = read(places, source=source, target_labels=False, holdout=0.0)
    assert data.source.split("train") is data.source.split("test")
    assert len(data.source.split("train")) == 45 if several else 30


def test_the_command_with_a_pool_a_test_and_baselines_in_closed_form(places, capsys):
    command = ["--source", places / "a.npz", "--source-test", places / "a_test.npz", "--target", places / "pool.npz"]
    command += ["--target-test", places / "test.npz", "--method", "dan", "source_only+svm", "--no-baseline"]
    assert call(*command, *SMALL.split(), *MLP.split(), "--out", places / "out") == 0
    printed = capsys.readouterr()
    # The table is there without a report, and the display ends with the scores of the end.
    assert "source_only+svm" in printed.out and "100.0" in printed.out and "report:" not in printed.out
    assert "source accuracy" in printed.err.splitlines()[-1] and "at step" not in printed.err.splitlines()[-1]
    runs = {run.name: run for run in load_runs(places / "out")}
    assert set(runs) == {"dan", "source_only+svm"}
    assert runs["dan"].experiment["protocol"][-1] == ["source split", "a test of its own"]
    svm = runs["source_only+svm"]
    assert svm.experiment["classifier_options"] == [["C", "source"]]
    (fitted,) = [json.loads(x) for x in (svm.path / "record.jsonl").read_text().splitlines() if "fitted" in x]
    assert fitted["C"] == 1.0 and fitted["accuracy"] == 1.0


@pytest.mark.parametrize("name", ["../x", "x/y", "..", ".", "a\nb", "\\share", "a\0b", "\udcff"])
def test_names_of_domains_are_no_paths(tmp_path, name, capsys):
    path = archive(tmp_path / "a.npz", *blobs())
    with pytest.raises(InputError, match="--source name=PATH"):
        place_of("source", f"{name}={path}")
    other = archive(tmp_path / "b.npz", *blobs(shift=0.5, seed=1))
    assert call("--source", f"{name}={path}", "--target", other, "--method", "coral", "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists() and "Traceback" not in capsys.readouterr().err
    # What comes from elsewhere (a data set's own domains) is kept inside, too.
    folder = folder_name(name)
    assert (tmp_path / "out" / folder).resolve().parent == (tmp_path / "out").resolve()
    assert folder.isprintable() and folder.encode()


def test_folders_of_usual_names_stay_and_long_ones_are_cut():
    for name in ("amazon-webcam", "a + b-c", "Ça v1.2_x", "coral+svm", "%"):
        assert folder_name(name) == name
    long = [folder_name("ü" * 400 + end) for end in "ab"]
    assert len(set(long)) == 2 and all(len(name.encode()) < 200 for name in long)


def test_examples_in_two_roles_are_refused(places):
    a, test = f"{places}/a.npz", f"{places}/test.npz"
    for options, roles in (
        ({"source_test": (a,), "target_labels": False}, "--source .*a.npz and --source-test"),
        ({"source": (a, f"x={a}"), "target_labels": False}, "--source .*a.npz and --source"),
        ({"target": test, "target_test": test}, "--target .*test.npz and --target-test(.|\n)*leave --target-test out"),
        ({"target": test, "target_test": a}, "--source .*a.npz and --target-test"),
    ):
        with pytest.raises(InputError, match=f"the same data twice: {roles}"):
            read(places, **options)


def test_a_classifier_is_no_method(places):
    with pytest.raises(InputError, match="svm, which is a classifier(.|\n)*source_only.svm"):
        plan(Own(source=("a.npz",), target="b.npz", method=("svm",)))


def test_kinds_that_differ_are_the_one_fault(tmp_path, places):
    images(tmp_path / "photos")
    with pytest.raises(InputError, match="--target .*photos: images") as error:
        read(places, target=f"{tmp_path}/photos")
    assert "classes: got" not in str(error.value)


@pytest.mark.parametrize("classifier", ["svm", "logreg"])
def test_c_is_chosen_on_labelled_rows(classifier):
    # Rows so short that a machine with C = 1 sees nothing of them and answers with the larger class.
    rng = np.random.default_rng(0)
    y = (np.arange(60) % 3 == 0).astype(int)
    x = np.eye(6)[y] * 3 + 0.3 * rng.normal(size=(60, 6))
    short = (x + rng.normal(size=x.shape)).astype(np.float32) * 0.01
    found = choose_c(classifier, short, y, None)
    assert found["C"] >= 10 and found["accuracy"] > 0.9
    assert choose_c(classifier, short, y, None) == found
    # More columns than rows: the same machine in the coordinates of what the rows span.
    wide = np.concatenate([short, np.zeros((60, 200), np.float32)], axis=1)
    assert choose_c(classifier, wide, y, None)["C"] == found["C"]
    # Among equally good ones the nearest to 1; a class with a single row can't be left out.
    assert choose_c(classifier, x, y, np.ones(60)) == {"C": 1.0, "accuracy": 1.0}
    assert choose_c(classifier, x[:4], np.array([0, 0, 0, 1]), None) == {"C": 1.0}


def test_a_pool_of_a_regression_needs_no_numbers(places):
    rng = np.random.default_rng(0)
    for name, n in (("a", 20), ("test", 9)):
        x = rng.normal(size=(n, 4)).astype(np.float32)
        np.savez(places / f"{name}.npz", x=x, y=x[:, :2].astype(np.float64))
    np.savez(places / "pool.npz", x=rng.normal(size=(12, 4)).astype(np.float32))
    command = ["--source", places / "a.npz", "--target", places / "pool.npz", "--target-test", places / "test.npz"]
    few = ["--task", "regression", "--method", "dan", "--no-baseline", *SMALL.split(), *MLP.split()]
    assert call(*command, *few, "--out", places / "out") == 0
    (run,) = load_runs(places / "out")
    (last,) = [e for e in run.evaluations if e.oracle and e.step == 4]
    assert np.isfinite(last.metrics["root_mean_squared_error"])
    assert run.final.predictions_target.shape == (9, 2)
