"""``dalib select`` on real runs: what is kept, what is chosen, and that target labels change nothing of it."""

import shutil

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.run_folders import load_runs
from dalib.evaluate import VALIDATORS
from dalib.run.cli.select import command
from dalib.run.select.candidates import accuracies, choose_among
from dalib.run.select.kept import Rows, kept_steps, read_kept
from tests.run.own_data import MLP, SMALL, archive, blobs, call

KEEP = 20


def adapt(folder, y, *more, keep=KEEP):
    """The runs of source_only and dann on two clouds, the target with labels ``y``."""
    folder.mkdir(exist_ok=True)
    source = archive(folder / "here.npz", *blobs(60))
    target = archive(folder / "there.npz", blobs(48, shift=0.5, seed=1)[0], y)
    options = [*SMALL.split(), *MLP.split(), "--keep", keep, "--out", folder / "out", *more]
    assert call("--source", f"a={source}", "--target", f"b={target}", "--method", "dann", *options) == 0
    return folder / "out"


LABELS = np.arange(48) % 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DALIB_DEVICES", "1")
        return adapt(tmp_path_factory.mktemp("kept"), LABELS)


@pytest.fixture(scope="module")
def choice(runs):
    (found,) = choose_among(load_runs(runs))
    return found


def test_what_is_kept(runs):
    for run in load_runs(runs):
        steps = kept_steps(run.path)
        assert list(steps) == [0, 2, 4]
        own = read_kept(steps[4])
        assert own.target_logits.shape == (KEEP, 3) and own.source_logits.shape == (12, 3)  # a fifth is held out
        assert own.train_features.shape == own.target_features.shape == (KEEP, 8) and own.head.shape == (8, 3)
        assert not own.lacks(sorted({need for v in VALIDATORS.values() for need in v.needs}))
        with np.load(steps[4]) as archive:
            assert {archive[name].dtype for name in archive.files if "logits" in name} == {np.dtype(np.float16)}
            assert sum(archive[name].nbytes for name in archive.files) <= KEEP * (3 * 8 + 3 * 3 + 4) * 2 + 8 * 3 * 2
        # The last step's predictions are those of the weights: source accuracy agrees with the record's.
        last = next(e for e in run.evaluations if e.step == 4 and e.domain == "a")
        assert (own.source_logits.argmax(1) == own.source_labels).mean() == pytest.approx(last.metrics["accuracy"])


def test_target_labels_change_nothing(runs, choice, tmp_path):
    """Other labels of the target: kept files, ranking, picks and expected accuracies are the same bits."""
    other = adapt(tmp_path / "other", np.random.default_rng(3).permutation(LABELS))
    mine, (theirs,) = choice, choose_among(load_runs(other))
    for a, b in zip(load_runs(runs), load_runs(other), strict=True):
        for step, path in kept_steps(a.path).items():
            assert path.read_bytes() == kept_steps(b.path)[step].read_bytes()
    assert repr(mine.ranking) == repr(theirs.ranking)
    assert repr(mine.picks) == repr(theirs.picks) and repr(mine.expected) == repr(theirs.expected)
    assert accuracies(mine) != accuracies(theirs)  # the oracle's column does see them


def test_the_command(runs, capsys):
    assert command([str(runs), "--by", "ami", "im", "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert "a → b: 4 candidates, by ami and im (mean rank)" in text
    assert "dann seed 0 step 4" in text and "source_only seed 0" in text
    assert all(f"\n{name} " in text for name in ("snd", "ensv", "transfer_score", "mixval"))
    assert "expected accuracy" in text and "regret" in text and "chose nothing" in text
    assert "calibration error from" in text and "MLLS" in text


@pytest.mark.slow
def test_without_labels_there_is_no_regret(runs, tmp_path, capsys):
    out = adapt(tmp_path / "none", None, "--no-target-labels")
    capsys.readouterr()
    assert command([str(out)]) == 0
    text = capsys.readouterr().out
    assert "expected accuracy" in text and "regret" not in text and "oracle" not in text


@pytest.mark.slow
def test_runs_that_kept_nothing_are_chosen_by_their_record(runs, tmp_path, capsys):
    """Keeping changes no number of a run; its record alone is enough for a choice."""
    out = adapt(tmp_path / "plain", LABELS, keep=0)
    for a, b in zip(load_runs(runs), load_runs(out), strict=True):
        assert a.evaluations == b.evaluations and not kept_steps(b.path)
    capsys.readouterr()
    assert command([str(out)]) == 0
    text = capsys.readouterr().out
    assert "by v_measure" in text and "run with --keep 500" in text and "regret" in text
    both = choose_among([*load_runs(runs), *(run for run in load_runs(out) if run.name == "dann")])
    assert list(both[0].left_out.values()) == ["kept no predictions"]


def test_bad_input(runs, tmp_path, capsys):
    alone = tmp_path / "alone"
    shutil.copytree(runs / "a-b" / "dann", alone)
    damaged = tmp_path / "damaged"
    shutil.copytree(runs, damaged)
    file = next(damaged.rglob("step-00000004.npz"))
    file.write_bytes(file.read_bytes()[:50])
    for arguments, said in [
        ([str(runs), "--by", "amy"], "did you mean 'ami'"),
        ([str(tmp_path / "nowhere")], "not a folder"),
        ([], "no folder"),
        ([str(alone)], "source_only"),
        ([str(damaged)], "step-00000004.npz"),
        ([str(runs), "--top", "0"], "top"),
    ]:
        assert command(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("error:") == 1 and "Traceback" not in error


def test_predictions_that_are_not_finite_come_last(runs, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(runs, broken)
    file = next((broken / "a-b" / "dann").rglob("step-00000004.npz"))
    with np.load(file) as archive:
        arrays = dict(archive)
    arrays["target_logits"][0, 0] = np.nan
    np.savez(file, **arrays)
    (found,) = choose_among(load_runs(broken), ["im"], top=1)
    last = found.ranking[-1]
    assert (last.candidate.name, last.state) == ("dann seed 0 step 4", "undefined") and "not finite" in last.why


def test_list(capsys):
    assert command(["--list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in VALIDATORS) and "label_shift" in text


def test_mixtures_keep_the_kind_of_input():
    class Images:
        def __init__(self, dtype):
            self.x = (np.arange(12).reshape(3, 2, 2) * 9).astype(dtype)

        def __getitems__(self, rows):
            return self.x[list(rows)], np.zeros(len(rows))

    for dtype in (np.uint8, np.float32):
        inputs, labels = Rows(Images(dtype), np.array([0, 2]), np.array([2, 1])).__getitems__([1])
        expected = 0.55 * Images(np.float32).x[2] + 0.45 * Images(np.float32).x[1]
        assert inputs.dtype == dtype and (labels == -1).all()
        np.testing.assert_allclose(inputs[0], np.rint(expected) if dtype == np.uint8 else expected, rtol=1e-6)


def test_a_regression_keeps_nothing(tmp_path):
    with pytest.raises(InputError, match="keep"):
        from dalib.run.config import Experiment, Recipe

        common = {"benchmark": "b", "source": "s", "target": "t", "method": "source_only", "seed": 0, "steps": 1}
        rest = {"batch_size": 2, "encoder": "mlp", "bottleneck": "none", "batch_norm": "source", "recipe": Recipe()}
        Experiment(**common, **rest, kind="regression", keep=5).check()


@pytest.mark.slow
def test_members_of_a_population_keep_what_they_keep_one_by_one(tmp_path):
    two = ("--seeds", 2, "--log-every", 2)
    together, alone = (adapt(tmp_path / name, LABELS, *two, "--population", name) for name in ("auto", "off"))
    for a, b in zip(load_runs(together), load_runs(alone), strict=True):
        for step, path in kept_steps(a.path).items():
            mine, theirs = read_kept(path), read_kept(kept_steps(b.path)[step])
            np.testing.assert_allclose(mine.target_logits, theirs.target_logits, atol=2e-3)
    (choice,) = choose_among(load_runs(together), ["im"], top=1)
    assert all(np.isfinite(found.estimates["gde"].value) for found in choice.expected.values())  # seeds are peers
