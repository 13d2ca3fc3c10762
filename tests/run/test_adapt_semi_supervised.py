"""Semi-supervised runs on data of one's own: ``dalib adapt --method mme --target-labelled FILE``."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import paired_stream
from dalib.report import load_runs
from dalib.run.own.adapt import experiments
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.own.read import read_domains
from dalib.run.run import run_experiment
from tests.run.own_data import MLP, archive, blobs, call

FEW = f"--steps 8 --batch-size 8 --seeds 1 --log-every 4 --evaluate-every 8 --save-every 4 --no-report {MLP}".split()
X, Y = blobs(33, shift=0.7, seed=1)
SHOTS = [0, 1, 2, 9, 10, 11]


@pytest.fixture
def places(tmp_path):
    """A source, a target of 33 examples, and six of these with labels."""
    archive(tmp_path / "here.npz", *blobs(60))
    archive(tmp_path / "there.npz", X, Y)
    archive(tmp_path / "few.npz", X[SHOTS], Y[SHOTS])
    return {
        "source": (str(tmp_path / "here.npz"),),
        "target": str(tmp_path / "there.npz"),
        "target_labelled": str(tmp_path / "few.npz"),
    }


def command(places, *arguments):
    given = ["--source", *places["source"], "--target", places["target"]]
    return call(*given, "--target-labelled", places["target_labelled"], *FEW, *arguments)


def test_mme_runs_beside_source_only_and_learns_from_the_shots(tmp_path, places, capsys):
    assert command(places, "--method", "mme", "--out", tmp_path / "out") == 0
    assert "6 of 33 vectors are among --target-labelled" in capsys.readouterr().err
    runs = {run.name: run for run in load_runs(tmp_path / "out")}
    assert set(runs) == {"source_only", "mme"} and runs["mme"].finished
    assert runs["mme"].experiment["shots"] == 6 and runs["mme"].experiment["method_options"] == [["sources", 1]]
    assert "shots" not in runs["source_only"].experiment
    assert "mme/accuracy_shots" in runs["mme"].training[0].metrics and len(runs["mme"].config["data"]) == 3
    for run in runs.values():
        assert run.final.confusion.sum() == 27


def test_shots_are_no_part_of_the_unlabelled_target_and_every_one_is_seen(places):
    options = Own(method=("mme",), scale="none", **places)
    data = read_domains(options, plan(options))
    shots = data.shots.split("train")
    np.testing.assert_array_equal(shots.inputs, X[SHOTS])
    np.testing.assert_array_equal(shots.labels, Y[SHOTS])
    others = [i for i in range(33) if i not in SHOTS]
    for name in ("train", "test"):
        np.testing.assert_array_equal(data.target.split(name).inputs, X[others])
    assert data.examples == [(i + 1, str(i)) for i in others]
    stream = paired_stream(data.source, data.target, shots=data.shots, batch_size=8, seed=0)
    assert len(stream[0].shots.labels) == 6 and sorted(stream[0].shots.rows) == list(range(6))
    np.testing.assert_array_equal(stream[0].shots.inputs, X[SHOTS][stream[0].shots.rows])


def test_the_shots_change_what_is_learnt_and_count_in_the_fingerprint(tmp_path, places, capsys):
    assert command(places, "--method", "mme", "--out", tmp_path / "a") == 0
    archive(tmp_path / "few.npz", X[SHOTS], (Y[SHOTS] + 1) % 3)
    assert command(places, "--method", "mme", "--out", tmp_path / "b") == 0
    first, second = (
        next(run for run in load_runs(tmp_path / name) if run.name == "mme").training[-1].metrics["loss/task"]
        for name in "ab"
    )
    assert first != second
    capsys.readouterr()
    assert command(places, "--method", "mme", "--out", tmp_path / "a") == 2
    assert "made by another configuration" in capsys.readouterr().err


def test_killed_and_resumed_it_ends_with_the_same_record(tmp_path, places):
    assert command(places, "--method", "mme", "--out", tmp_path / "whole") == 0
    (whole,) = (tmp_path / "whole").rglob("mme/seed-0")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (cut,) = (tmp_path / "cut").rglob("mme/seed-0")
    lines = (whole / "record.jsonl").read_text().splitlines()
    (cut / "record.jsonl").write_text("\n".join(line for line in lines if json.loads(line)["step"] <= 4) + "\n")
    (cut / "final.npz").unlink()
    shutil.rmtree(cut / "checkpoints" / "8")
    assert command(places, "--method", "mme", "--out", tmp_path / "cut") == 0

    def timeless(text):
        return {k: v for k, v in json.loads(text).items() if k != "seconds"}

    assert [timeless(x) for x in (cut / "record.jsonl").read_text().splitlines()] == list(map(timeless, lines))
    with np.load(whole / "final.npz") as a, np.load(cut / "final.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": ("mme",), "target_labelled": None}, "semi-supervised(.|\n)*labelled examples of the target"),
        ({"method": ("dan",)}, "a semi-supervised method with it: mme"),
        ({"method": ("mme",), "options": ("mme.sources=2",)}, "--target-labelled is no source"),
        ({"method": ("mme",), "relation": "partial"}, "partial, for mme"),
        ({"method": ("mme",), "task": "regression"}, "for classes"),
    ],
)
def test_commands_that_contradict_themselves(options, message):
    with pytest.raises(InputError, match=message):
        plan(Own(**{"source": ("a.npz",), "target": "b.npz", "target_labelled": "c.npz", **options}))


def test_other_classes_and_too_many_shots_are_refused_before_anything_is_written(tmp_path, places, capsys):
    archive(tmp_path / "few.npz", X[:3], np.array([0, 1, 7]))
    assert command(places, "--method", "mme", "--out", tmp_path / "out") == 2
    assert "--target-labelled must have the source's classes; only in one of here and few: 2, 7" in (
        capsys.readouterr().err
    )
    archive(tmp_path / "few.npz", X, Y)
    assert command(places, "--method", "mme", "--out", tmp_path / "out") == 2
    assert "all 33 examples of target" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_shots_must_be_those_that_the_experiment_counts(tmp_path, places):
    options = Own(method=("mme",), batch_size=8, **places)
    todo = plan(options)
    data = read_domains(options, todo)
    plain, mme = experiments(options, todo, data.source, data.target, data.view, data.encoder, data.shots)[:2]
    for experiment, shots, message in ((mme, None, "got 6, and no domain"), (plain, data.shots, "got 0, and 6")):
        with pytest.raises(InputError, match=message):
            run_experiment(experiment, data.source, data.target, tmp_path / "out", shots=shots)
    with pytest.raises(InputError, match="mme, which is for: semi-supervised"):
        replace(mme, shots=0).check()
    assert not (tmp_path / "out").exists()


def test_mme_has_the_head_of_its_paper_and_others_by_option(places):
    both = ["weight-norm", "weight-norm"]
    for chosen, heads in (("auto", ["linear", "cosine"]), ("linear", ["linear", "linear"]), ("weight-norm", both)):
        options = Own(method=("mme",), head=chosen, seeds=1, **places)
        todo = plan(options)
        data = read_domains(options, todo)
        found = experiments(options, todo, data.source, data.target, data.view, data.encoder, data.shots)
        assert [experiment.name for experiment in found] == ["source_only", "mme"]
        assert [experiment.head for experiment in found] == heads
    with pytest.raises(InputError, match="head: got 'cosin'"):
        plan(Own(method=("mme",), head="cosin", **places))
