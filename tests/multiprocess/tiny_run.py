"""A whole run on made-up vectors, in seconds: ``python -m tests.multiprocess.tiny_run FOLDER METHOD [STEP]``.

With a step it ends there, as if it were killed: behind the line of the record, before anything is saved.
"""

import sys
from pathlib import Path

import numpy as np

from dalib.data import from_arrays
from dalib.run.config import Experiment, Recipe
from dalib.run.run import run_experiment
from dalib.train.devices.processes import initialize


class Killed(Exception):
    """Stands for a kill."""


def domain(name, shift):
    rng = np.random.default_rng(len(name))
    y = np.arange(60) % 3
    x = (rng.normal(size=(60, 5)) + shift).astype(np.float32)
    x[:, 0] += 2 * y
    return from_arrays(name, {"train": (x[:43], y[:43]), "test": (x[43:], y[43:])})


def tiny_run(folder, method="dann", until=None, batch_size=8):
    """12 steps of a small net with BatchNorm; evaluations at 0, 6, 12, checkpoints at 0, 4, 8, 12."""
    experiment = Experiment(
        benchmark="tiny",
        source="here",
        target="there",
        method=method,
        seed=0,
        steps=12,
        batch_size=batch_size,
        encoder="mlp",
        bottleneck="linear-bn-relu",
        bottleneck_options=(("width", 8),),
        batch_norm={"source_only": "source", "adabn": "source", "shot": "domain"}.get(method, "joint"),
        recipe=Recipe(learning_rate=0.01),
        log_every=2,
        evaluate_every=6,
        save_every=4,
    )

    def report(step, text):
        if step == until:
            raise Killed

    start = folder.parent / "source_only" if method == "shot" else None
    return run_experiment(experiment, domain("here", 0), domain("there", 1), folder, start=start, report=report)


if __name__ == "__main__":
    initialize()
    try:
        tiny_run(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
    except Killed:
        pass
