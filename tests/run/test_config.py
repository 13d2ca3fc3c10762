"""The command line: strict, with a did-you-mean, exit status 2 for what the user can mend."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays
from dalib.run.cli.main import main
from dalib.run.config import Experiment, Recipe, method_options
from dalib.run.grid import default_folder
from dalib.run.run import run_experiment
from experiments.digits import Digits, digits, experiments

ROOT = Path(__file__).parents[2]


def test_method_options_are_json_never_code():
    found = method_options(["dann.weight=0.5", "dann.hidden=[16, 16]", "dan.estimator=biased", "dann.norm=true"])
    assert found == {"dann": {"weight": 0.5, "hidden": (16, 16), "norm": True}, "dan": {"estimator": "biased"}}
    with pytest.raises(InputError, match=r"""dan.estimator: got "__import__\('os'\)"\n"""):
        method_options(["dan.estimator=__import__('os')"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": ("dannn",)}, "did you mean 'dann'"),
        ({"method": ("dann",), "options": ("dann.wieght=1",)}, "did you mean 'weight'"),
        ({"method": ("dann",), "options": ("dan.weight=1",)}, "options of the methods being run"),
        ({"options": ("weight",)}, "method.name=value"),
        ({"encoder": "lenett"}, "did you mean 'lenet'"),
        ({"source": "mnst"}, "did you mean 'mnist'"),
        ({"source": "mnist", "target": "mnist"}, "another domain than the source"),
        ({"batch_norm": "joint"}, "source-only row"),
        ({"steps": 0}, "≥ 1"),
        ({"seeds": 0}, "≥ 1"),
    ],
)
def test_bad_options_are_found_before_anything_runs(options, message):
    with pytest.raises(InputError, match=message):
        experiments(Digits(**options))


def test_runs_of_the_default_command():
    found = experiments(Digits())
    assert {e.name for e in found} == {"source_only", "dan", "deep_coral", "dann", "oracle"}
    assert {(e.source, e.target) for e in found} == {
        ("mnist", "optdigits"),
        ("optdigits", "mnist"),
        ("mnist", "mnist_m"),
    }
    assert len(found) == 3 * 5 * 3
    conventions = {e.name: e.batch_norm for e in found}
    assert conventions["source_only"] == "source" and conventions["dann"] == "joint"


def test_other_settings_get_another_folder_and_more_seeds_the_same():
    assert default_folder(Digits(seeds=5)) == default_folder(Digits(method=("dann",)))
    assert default_folder(Digits(steps=50)) != default_folder(Digits())


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.digits", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120
    )


@pytest.mark.parametrize("flag", ["--sedes", "--seed", "--method.dann"])
def test_unknown_and_abbreviated_flags_are_errors(flag):
    result = command(flag, "3")
    assert result.returncode == 2
    assert flag.split(".")[0] in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_input_errors_end_with_status_2_on_one_screen(capsys, tmp_path):
    assert main(digits, Digits, "", ["--method", "dannn", "--out", str(tmp_path / "r")]) == 2
    text = capsys.readouterr().err
    assert "did you mean 'dann'" in text and "Traceback" not in text and text.count("\n") < 20
    assert not (tmp_path / "r").exists()


def test_parts_of_a_batch_with_batch_norm_are_refused_before_anything_is_written(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32), np.arange(24) % 3
    here, there = (from_arrays(name, {s: (x + i, y) for s in ("train", "test")}) for i, name in enumerate("ab"))
    experiment = Experiment(
        benchmark="tiny",
        source="a",
        target="b",
        method="dann",
        seed=0,
        steps=20,
        recipe=Recipe(),
        batch_size=8,
        encoder="mlp",
        bottleneck="linear-bn-relu",
        batch_norm="joint",
        accumulate=2,
    )
    with pytest.raises(InputError, match="(?s)BatchNorm that normalises by the batch.*frozen"):
        run_experiment(experiment, here, there, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("value", "kept", "status"), [("", 1, 0), ("1", 1, 0), ("0", 0, 0), ("no", 0, 2)])
def test_a_command_keeps_its_memory_unless_told(monkeypatch, value, kept, status):
    calls = []
    monkeypatch.setattr("dalib.run.cli.main.keep_memory", lambda: calls.append(True))
    monkeypatch.setenv("DALIB_KEEP_MEMORY", value)
    assert main(lambda options: None, Digits, "nothing", []) == status
    assert len(calls) == kept
