"""A population's evaluation in one program: every run's events are those of its own evaluation."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

import dalib.run.population.scores
import dalib.run.run
from dalib.data import from_arrays
from dalib.run.cli.progress import Progress
from dalib.run.config import Experiment, Recipe
from dalib.run.population.members import Job, run_jobs
from dalib.run.population.scores import make_evaluation
from dalib.run.run import accuracies, open_run
from dalib.train import Preempted, stack_members


def domain(name, tests, shift):
    rng = np.random.default_rng(len(name) + tests)
    x = rng.normal(size=(40 + tests, 6)).astype(np.float32)
    y = np.arange(len(x)) % 3
    x[:, 0] += 2 * y + shift
    return from_arrays(name, {"train": (x[:40], y[:40]), "test": (x[40:], y[40:])})


def experiment(source, target, seed, **fields):
    settings = {"encoder_options": (("widths", (8,)),), **fields}
    recipe = Recipe(learning_rate=0.05)
    return Experiment("toy", source, target, "source_only", seed, 4, 8, "mlp", "none", "source", recipe, **settings)


@pytest.fixture
def runs(tmp_path):
    """Two tasks with test splits of different lengths (one, and two batches), and an oracle's run."""
    a, bb, ccc = domain("a", 30, 0.0), domain("bb", 20, 1.0), domain("ccc", 270, -1.0)
    jobs = [
        (experiment("a", "bb", 0), a, bb),
        (experiment("a", "ccc", 1), a, ccc),
        (experiment("ccc", "bb", 2, role="oracle"), ccc, bb),
    ]
    return [open_run(e, source, target, tmp_path / str(i)) for i, (e, source, target) in enumerate(jobs)]


def test_events_are_those_of_each_run(runs):
    states = [run.initial() for run in runs]
    events = make_evaluation(runs)(stack_members([*states, states[-1]]))  # one more, as a mesh would fill up
    assert len(events) == len(runs)
    for run, state, together in zip(runs, states, events, strict=True):
        alone = run.evaluate(state)
        assert [{k: v for k, v in e.items() if k != "metrics"} for e in together] == [
            {k: v for k, v in e.items() if k != "metrics"} for e in alone
        ]
        for one, other in zip(together, alone, strict=True):
            assert one["metrics"] == pytest.approx(other["metrics"])
    seen = {tuple(e["metrics"].items()) for own in events for e in own}
    assert len(seen) > 2, "nets that all predict alike would show nothing"


def test_methods_that_look_at_the_target_are_evaluated_one_by_one(tmp_path):
    a, bb = domain("a", 30, 0.0), domain("bb", 20, 1.0)
    e = experiment("a", "bb", 0, encoder_options=(("widths", (8,)), ("norm", True)))
    e = Experiment(**{**vars(e), "method": "adabn"})
    assert make_evaluation([open_run(e, a, bb, tmp_path / "run")]) is None


class Killed(BaseException):
    """Stands for a kill: nothing in the library catches it."""


def interrupted(monkeypatch, module, name, at, error):
    """Within this context the ``at``-th call of a function raises ``error`` instead."""
    calls, plain = itertools.count(1), getattr(module, name)

    def call(*arguments, **keywords):
        if next(calls) == at:
            raise error
        return plain(*arguments, **keywords)

    patch = monkeypatch.context()
    patch.__enter__().setattr(module, name, call)
    return patch


def test_a_member_that_ended_before_a_kill_changes_nothing_of_the_others(tmp_path, monkeypatch):
    """The last evaluation is put off by SIGTERM, done at the next start, and then a kill parts the members' ends."""
    a, bb = domain("a", 30, 0.0), domain("bb", 270, 1.0)
    progress = Progress(lambda *of: None, lambda *of: None, lambda *of: None)

    def start(folder):
        jobs = [Job(experiment("a", "bb", seed), a, bb, tmp_path / folder / str(seed)) for seed in range(3)]
        run_jobs(jobs, progress, members=None)

    def record(folder, seed):
        lines = [json.loads(x) for x in (tmp_path / folder / str(seed) / "record.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    start("straight")
    # Two sides are predicted before training, two at the end.
    patch = interrupted(monkeypatch, dalib.run.population.scores, "unless_asked", 3, Preempted())
    with pytest.raises(Preempted, match="saved 3 runs at step 4 of 4"):
        start("killed")
    patch.__exit__(None, None, None)
    patch = interrupted(monkeypatch, dalib.run.run, "write_outcome", 2, Killed())
    with pytest.raises(Killed):
        start("killed")
    patch.__exit__(None, None, None)
    assert [record("killed", seed)[-1]["event"] for seed in range(3)] == ["end", "evaluate", "evaluate"]
    start("killed")
    for seed in range(3):
        assert record("killed", seed) == record("straight", seed)
        for file in ("final.npz", "weights.safetensors"):
            assert (tmp_path / "killed" / str(seed) / file).read_bytes() == (
                tmp_path / "straight" / str(seed) / file
            ).read_bytes()


def test_scores_of_runs_that_go_on_together_are_means_over_those_that_have_them():
    cadence = SimpleNamespace(evaluate=20)
    seen = [{"source accuracy": 0.5, "target accuracy": 0.25}, {"target accuracy": 0.75}, {}]  # the second: an oracle
    runs = [SimpleNamespace(seen=lambda scores=scores: scores, cadence=cadence) for scores in seen]
    assert accuracies(runs) == "source accuracy 0.500, target accuracy 0.500"
    assert accuracies(runs, 40) == "source accuracy 0.500, target accuracy 0.500 at step 20"
    assert accuracies(runs[2:]) == ""
