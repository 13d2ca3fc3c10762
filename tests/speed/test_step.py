"""The benchmarks of the step and of the input pipeline run as commands and say what they measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dalib.core.checks import InputError
from experiments.speed.step import Benchmark, check
from experiments.speed.turns import begin, end, take_turns

ROOT = Path(__file__).parent.parent.parent
SMALL = "--encoder resnet18 --image-size 32 --batch 2 --rounds 2 --images 32".split()


def run(module, *arguments):
    command = [sys.executable, "-m", f"experiments.speed.{module}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def count(start):
    """A contestant that counts its calls."""
    calls = []
    return {"go": lambda: calls.append(start)}, {"process": os.getpid()}, lambda: calls


def broken():
    raise ValueError("no such\nthing")


@pytest.mark.slow
def test_contestants_take_turns_in_processes_of_their_own():
    sides = {str(i): begin(f"side {i}", count, i, threads=1) for i in (1, 2)}
    assert len({os.getpid(), *(side.facts["process"] for side in sides.values())}) == 3
    times = take_turns(sides, "go", 3)
    assert {key: len(values) for key, values in times.items()} == {"1": 3, "2": 3}
    assert [end(side) for side in sides.values()] == [[1] * 3, [2] * 3]
    with pytest.raises(RuntimeError, match="faulty: ValueError: .*no such"):
        begin("faulty", broken, threads=1)


def test_wrong_settings_are_named():
    for wrong, said in (
        (Benchmark(encoder="resnet5", batch=2), "did you mean 'resnet"),
        (Benchmark(methods=("mcd",), batch=2), "methods"),
        (Benchmark(dtypes=("float16",), batch=2), "dtypes"),
        (Benchmark(rounds=0, batch=2), "rounds: got 0"),
        (Benchmark(batch=1), "batch"),
    ):
        with pytest.raises(InputError, match=said):
            check(wrong)


@pytest.mark.slow
def test_step_alone():
    result = run("step", *SMALL, "--reference", "none", "--methods", "dann", "deep_coral", "--dtypes", "float32")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert list(summary["steps"]) == ["dann float32", "deep_coral float32"]
    for entry in summary["steps"].values():
        assert list(entry["seconds"]) == ["ours"] and "ratio" in entry and "over_fastest" not in entry
        assert entry["examples_per_s"]["ours"] == pytest.approx(4 / entry["seconds"]["ours"])
        # ResNet-18 at 32² is 37 million multiplications and additions an image, three times that with both gradients;
        # the compiler leaves out those with padding, most of a 3×3 window on the last maps of one pixel.
        assert 4 * 3 * 2 * 25e6 < entry["operations"] < 4 * 3 * 2 * 60e6
    assert 0 < entry["of_memory_ceiling"]
    assert summary["first_step_s"]["cached"] < summary["first_step_s"]["cold"]
    assert summary["input"]["times_the_appetite"] > 0


@pytest.mark.slow
def test_input_pipeline():
    sizes = "--images 32 --width 60 --height 50 --size 32 --rounds 1 --threads 0 2".split()
    result = run("input_pipeline", *sizes)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert set(summary["results"]) == {"decode", "folder", "array_record", "arrays", "crops", "experiments"}
    assert all(rate > 0 for rates in summary["results"].values() for rate in rates.values())
    assert summary["of_decode"]["folder"]["2"] == pytest.approx(
        summary["results"]["folder"]["2"] / summary["results"]["decode"]["2"]
    )
    assert run("input_pipeline", "--images", "3").returncode == 2


@pytest.mark.parity
def test_pytorchs_losses_are_ours():
    torch = pytest.importorskip("torch")
    from dalib.discrepancy import coral, mk_mmd
    from experiments.speed import step_torch

    x, y = np.random.default_rng(0).normal(size=(2, 6, 20)).astype(np.float32)
    y += 0.3
    for ours, theirs in ((mk_mmd, step_torch.mk_mmd), (coral, step_torch.coral)):
        expected = float(theirs(torch.from_numpy(x), torch.from_numpy(y)))
        np.testing.assert_allclose(float(ours(x, y)), expected, rtol=1e-4)


@pytest.mark.parity
def test_step_beside_pytorch():
    pytest.importorskip("torch")
    result = run("step", *SMALL, "--reference", "eager", "channels_last", "--methods", "dan", "--images", "0")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    for entry in summary["steps"].values():
        assert set(entry["ratio"]) == {"eager", "channels_last"}
        assert entry["over_fastest"] == pytest.approx(min(entry["ratio"].values()))
