"""A method that keeps something for every target example: alone, as a population, killed and resumed, on 8 devices.

Every example's first input is its row over 64, so that a wrong row can't go unseen.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.data import from_arrays, stream_rows
from dalib.methods import METHODS, Method
from dalib.methods.base import Needs
from dalib.run.cli.progress import Progress
from dalib.run.config import Experiment, Recipe
from dalib.run.population.members import Job, _groups, run_jobs
from dalib.run.program import make_program
from dalib.run.run import run_experiment
from dalib.train import open_checkpoints

STEPS, BATCH, SCALE = 12, 8, 64
SIZES = {"here": 43, "there": 29, "yonder": 29, "far": 31}


class Killed(BaseException):
    """Stands for a kill: nothing in the library catches it."""


def bank() -> Method:
    """Pulls each target example to where it was seen last; counts its visits and the rows that are wrong."""

    def init(key, spec):
        del key
        size = spec.target_size
        return {}, {"seen": jnp.zeros((size, spec.width)), "visits": jnp.zeros((size,), jnp.int32)}

    def penalty(view):
        features, rows, state = view.target.features, view.batch.target.rows, view.state
        value = jnp.mean(jnp.square(features - state["seen"][rows]))
        new = {
            "seen": state["seen"].at[rows].set(jax.lax.stop_gradient(features)),
            "visits": state["visits"].at[rows].add(1),
        }
        wrong = [(side.inputs[:, 0] * SCALE != side.rows).sum() for side in view.batch[:2]]
        return value, view.keep(new), {"loss/bank": value, "bank/wrong": (wrong[0] + wrong[1]).astype(jnp.float32)}

    return Method("bank", init=init, penalties=(penalty,), needs=Needs(target_rows=True))


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    monkeypatch.setitem(METHODS, "bank", bank)


def domain(name):
    n, rng = SIZES[name], np.random.default_rng(len(name))
    y = np.arange(n + 9) % 3
    x = rng.normal(size=(n + 9, 5)).astype(np.float32)
    x[:, 1] += 2 * y
    x[:, 0] = np.arange(n + 9) / SCALE
    return from_arrays(name, {"train": (x[:n], y[:n]), "test": (x[n:], y[n:])})


def experiment(target="there", method="bank", seed=0):
    return Experiment(
        benchmark="tiny",
        source="here",
        target=target,
        method=method,
        seed=seed,
        steps=STEPS,
        batch_size=BATCH,
        encoder="mlp",
        bottleneck="linear-bn-relu",
        bottleneck_options=(("width", 8),),
        batch_norm="joint" if method != "source_only" else "source",
        recipe=Recipe(learning_rate=0.01),
        log_every=2,
        evaluate_every=6,
        save_every=4,
    )


def job(folder, target="there", method="bank", seed=0):
    return Job(experiment(target, method, seed), domain("here"), domain(target), folder)


def single(monkeypatch, job, *, devices=1, until=None):
    def report(step, text):
        if step == until:
            raise Killed

    monkeypatch.setenv("DALIB_DEVICES", str(devices))
    return run_experiment(*job[:4], report=report)


def together(monkeypatch, jobs, *, until=None, devices=1):
    def step(number, text):
        if number == until:
            raise Killed

    monkeypatch.setenv("DALIB_DEVICES", str(devices))
    run_jobs(jobs, Progress(lambda *a: None, step, lambda text: None), members=None)


def ended(monkeypatch, job):
    """``(leaves of the last state by path, metrics of the record)`` of a finished run."""
    monkeypatch.setenv("DALIB_DEVICES", "1")
    program = make_program(job.experiment, 3)
    sample = jnp.zeros((BATCH, 5))
    like = program.init(jax.random.key(0), sample, target_size=SIZES[job.experiment.target])
    with open_checkpoints(job.folder / "checkpoints") as checkpoints:
        state = checkpoints.load(STEPS, like)
    parts = {"params": state.params, "moments": state.optimizer, "model": state.model, "method": state.method}
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    lines = [json.loads(line) for line in (job.folder / "record.jsonl").read_text().splitlines()]
    assert lines[-1]["event"] == "end"
    metrics = [line["metrics"] for line in lines if line["event"] == "train"]
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}, metrics


def check_right(found, job):
    """No row was wrong at any step, and every example was visited as often as the order says."""
    leaves, metrics = found
    assert len(metrics) == STEPS // 2 and [line["bank/wrong"] for line in metrics] == [0.0] * len(metrics)
    size = SIZES[job.experiment.target]
    rows = stream_rows(SIZES["here"], size, batch_size=BATCH, seed=job.experiment.seed)(0, STEPS)[1]
    visits = np.bincount(rows.ravel(), minlength=size)
    np.testing.assert_array_equal(leaves["['method']['visits']"], visits)
    assert ((leaves["['method']['seen']"] != 0).any(1) == (visits > 0)).all() and visits.min() > 0


def check_same(one, other, *, bits):
    assert one[0].keys() == other[0].keys()
    for name, x in one[0].items():
        if bits:
            assert x.tobytes() == other[0][name].tobytes(), name
        else:
            np.testing.assert_allclose(other[0][name], x, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """``job -> end`` of the same job done alone on one device, in one go."""
    base, known = tmp_path_factory.mktemp("straight"), {}

    def of(monkeypatch, given):
        e = given.experiment
        name = f"{e.target}-{e.seed}"
        if name not in known:
            own = given._replace(folder=base / name)
            single(monkeypatch, own)
            known[name] = ended(monkeypatch, own)
        return known[name]

    return of


def test_alone_every_row_is_right(tmp_path, monkeypatch, straight):
    given = job(tmp_path)
    check_right(straight(monkeypatch, given), given)


def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path, monkeypatch, straight):
    given = job(tmp_path / "run")
    with pytest.raises(Killed):
        single(monkeypatch, given, until=6)  # goes on from the checkpoint of step 4
    single(monkeypatch, given)
    found = ended(monkeypatch, given)
    check_right(found, given)
    check_same(straight(monkeypatch, given), found, bits=True)


def test_eight_devices_keep_what_one_keeps(tmp_path, monkeypatch, straight):
    given = job(tmp_path / "run")
    single(monkeypatch, given, devices=8)
    found = ended(monkeypatch, given)
    check_right(found, given)
    check_same(straight(monkeypatch, given), found, bits=False)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_population_over_two_targets_keeps_what_its_members_keep(tmp_path, monkeypatch, straight, devices):
    """The second target comes later in the pool, and its rows count from 0 all the same."""
    jobs = [job(tmp_path / target, target) for target in ("there", "yonder")]
    together(monkeypatch, jobs, devices=devices)
    for given in jobs:
        assert '"together": 2' in (given.folder / "record.jsonl").read_text()
        found = ended(monkeypatch, given)
        check_right(found, given)
        check_same(straight(monkeypatch, given), found, bits=False)


@pytest.mark.slow
def test_a_killed_population_ends_with_the_same_bits(tmp_path, monkeypatch):
    whole, killed = ([job(tmp_path / name / t, t) for t in ("there", "yonder")] for name in ("whole", "killed"))
    together(monkeypatch, whole)
    with pytest.raises(Killed):
        together(monkeypatch, killed, until=6)
    together(monkeypatch, killed)
    for a, b in zip(whole, killed, strict=True):
        check_right(ended(monkeypatch, b), b)
        check_same(ended(monkeypatch, a), ended(monkeypatch, b), bits=True)


def test_only_a_state_that_depends_on_the_targets_size_divides_a_population(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_DEVICES", "1")

    def targets(method):
        jobs = [job(tmp_path, target, method) for target in ("there", "far", "yonder")]
        return [[given.experiment.target for given in group] for group in _groups(jobs)]

    assert targets("dann") == [["there", "far", "yonder"]]
    assert targets("bank") == [["there", "yonder"], ["far"]]


@pytest.mark.slow
def test_targets_of_two_sizes_are_done_in_two_populations(tmp_path, monkeypatch, straight):
    jobs = [job(tmp_path / f"{t}-{s}", t, seed=s) for t in ("there", "far") for s in range(2)]
    together(monkeypatch, jobs)
    for given in jobs:
        assert '"together": 2' in (given.folder / "record.jsonl").read_text()
        check_right(ended(monkeypatch, given), given)
