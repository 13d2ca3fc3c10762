"""Whole runs: the same on any number of devices and processes, and killed on one number and resumed on another."""

import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from tests.multiprocess.processes import finish, start
from tests.multiprocess.tiny_run import Killed, tiny_run

PROGRAM = "tests.multiprocess.tiny_run"


def on(monkeypatch, devices, folder, method="dann", until=None):
    """A run, or its beginning, on some devices of this process."""
    monkeypatch.setenv("DALIB_DEVICES", str(devices))
    try:
        return tiny_run(folder, method, until)
    except Killed:
        return folder


def lines(folder, name="record.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def assert_same_run(folder, other):
    """The same events at the same steps with the same numbers, and the same net."""
    a, b = lines(folder), lines(other)
    assert [(e["event"], e["step"]) for e in a] == [(e["event"], e["step"]) for e in b]
    assert [e["step"] for e in a if e["event"] == "train"] == [2, 4, 6, 8, 10, 12] and a[-1]["event"] == "end"
    for x, y in zip(a, b, strict=True):
        for key, value in x.get("metrics", {}).items():
            assert y["metrics"][key] == pytest.approx(value, rel=1e-4, abs=1e-5), f"step {x['step']} {key}"
    first, second = np.load(folder / "final.npz"), np.load(other / "final.npz")
    np.testing.assert_array_equal(first["confusion"], second["confusion"])
    np.testing.assert_allclose(second["features_target"], first["features_target"], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run on one device, in one go."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return on(monkeypatch, 1, tmp_path_factory.mktemp("one") / "dann")


@pytest.mark.slow
@pytest.mark.parametrize("begin, go_on", [(8, 1), (1, 8)])
def test_killed_on_some_devices_and_resumed_on_others(begin, go_on, straight, tmp_path, monkeypatch):
    folder = on(monkeypatch, begin, tmp_path / "dann", until=6)
    assert lines(folder)[-1]["step"] == 6
    on(monkeypatch, go_on, folder)
    assert_same_run(straight, folder)
    stretches = lines(folder, "stretches.jsonl")
    assert [(s["from"], s["devices"], s["processes"]) for s in stretches] == [(0, begin, 1), (4, go_on, 1)]
    # Seconds go on from the line that the checkpoint knew.
    seconds = [e["seconds"] for e in lines(folder) if e["event"] in ("train", "end")]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_DEVICES", "8")
    with pytest.raises(InputError, match="a multiple of 8, such as 8 or 16"):
        tiny_run(tmp_path / "run", batch_size=12)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_resume_what_devices_began_and_back(straight, tmp_path, monkeypatch):
    folder = on(monkeypatch, 8, tmp_path / "a", until=6)
    finish(start(2, 2, PROGRAM, folder, "dann"))
    assert_same_run(straight, folder)
    assert [(s["devices"], s["processes"]) for s in lines(folder, "stretches.jsonl")] == [(8, 1), (4, 2)]
    folder = tmp_path / "b"
    finish(start(2, 2, PROGRAM, folder, "dann", 6))
    on(monkeypatch, 1, folder)
    assert_same_run(straight, folder)
    assert [(s["devices"], s["processes"]) for s in lines(folder, "stretches.jsonl")] == [(4, 2), (1, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adabn", "mean_teacher", "shot"])
def test_what_methods_do_between_steps_is_the_same_in_processes(method, tmp_path, monkeypatch):
    """Statistics recomputed over the target, averaged weights, the look at the whole target, another run's weights."""
    for name in ["source_only"] * (method == "shot") + [method]:
        on(monkeypatch, 1, tmp_path / "one" / name, name)
        finish(start(2, 2, PROGRAM, tmp_path / "two" / name, name))
        assert_same_run(tmp_path / "one" / name, tmp_path / "two" / name)
