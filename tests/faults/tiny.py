"""Small runs for tests of faults: two members of one population, every kind of file written."""

import itertools
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import dalib.run.population.members
from dalib.data import from_arrays
from dalib.run.cli.progress import Progress
from dalib.run.config import Experiment, Recipe
from dalib.run.population.members import Job, run_jobs

SILENT = Progress(lambda *of: None, lambda *of: None, lambda *of: None)
SEEDS = range(2)


class Killed(BaseException):
    """Stands for a kill: nothing in the library catches it."""


def domain(name, tests, shift):
    rng = np.random.default_rng(len(name) + tests)
    x = rng.normal(size=(40 + tests, 6)).astype(np.float32)
    y = np.arange(len(x)) % 3
    x[:, 0] += 2 * y + shift
    return from_arrays(name, {"train": (x[:40], y[:40]), "test": (x[40:], y[40:])})


def jobs_in(folder: Path) -> list[Job]:
    """8 steps of DANN on vectors, BatchNorm and all; lines every 2, checkpoints and evaluations every 4 steps."""
    a, bb = domain("a", 30, 0.0), domain("bb", 270, 1.0)
    options = (("widths", (8,)), ("norm", True))
    cadence = {"log_every": 2, "evaluate_every": 4, "save_every": 4}
    fields = {"encoder_options": options, **cadence}
    recipe = Recipe(learning_rate=0.05)
    experiments = [
        Experiment("toy", "a", "bb", "dann", seed, 8, 8, "mlp", "none", "joint", recipe, **fields) for seed in SEEDS
    ]
    return [Job(e, a, bb, folder / str(e.seed)) for e in experiments]


def start(folder: Path, *, members: int | None = None) -> None:
    """One start of the command."""
    run_jobs(jobs_in(folder), SILENT, members=members)


@contextmanager
def asked_at(call):
    """SIGTERM arrives before the ``call``-th question whether to stop."""
    calls = itertools.count(1)

    @contextmanager
    def deferred():
        yield lambda: next(calls) >= call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dalib.run.population.members, "deferred", deferred)
        yield


def outcome(folder: Path) -> dict:
    """All that a run leaves, but for seconds and what each start notes."""
    found = {}
    for seed in SEEDS:
        own = folder / str(seed)
        lines = [json.loads(line) for line in (own / "record.jsonl").read_text().splitlines()]
        found[seed, "record"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        for file in ("final.npz", "weights.safetensors"):
            found[seed, file] = (own / file).read_bytes()
        found[seed, "files"] = sorted(p.name for p in own.iterdir())
        names = {p.name for p in (own / "checkpoints").iterdir()}
        found[seed, "checkpoints"] = max(int(n) for n in names if n.isdigit()), len(names), {n.isdigit() for n in names}
    return found


def assert_same(straight: dict, other: dict) -> None:
    """The first thing that differs."""
    assert straight.keys() == other.keys()
    for key, one in straight.items():
        if key[1] == "record":
            for a, b in zip(one, other[key], strict=True):
                assert a == b, f"seed {key[0]}: {a} undisturbed, {b} after kills"
        assert one == other[key], key
