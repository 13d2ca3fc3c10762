"""The loop: stopped and resumed equals straight through; non-finite values stop it."""

import itertools
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods import dann
from dalib.methods.base import term
from dalib.train import Cadence, NonFiniteError, Preempted, open_checkpoints, open_record, put_batch, run
from tests.contract.cases import batch, setup
from tests.train.test_checkpoint import same

CONFIG = {"experiment": {"seed": 0}, "data": {}}
DANN = dann()
CADENCE = Cadence(log=2, evaluate=4, save=4)


def heed(asked, parts):
    """A long evaluation of some parts, which asks before each."""
    for _ in range(parts):
        if asked():
            raise Preempted


def batches(start):
    """A batch a step, a function of the step alone."""
    step = start
    while True:
        yield put_batch(batch("vectors", seed=step))
        step += 1


class Killed(BaseException):
    """Stands for a kill: nothing in the library catches it."""


@lru_cache
def prepared(method):
    """``(state, jitted step)``, compiled once for all runs of one method."""
    state, step = setup(method, "vectors")
    return state.replace(step=jnp.int32(0)), jax.jit(step)


def train(folder, method, *, stop=None, total=12, cadence=CADENCE, asked=lambda: False, look=None, every=500):
    state, jitted = prepared(method)

    def killed_step(state, b):
        if stop is not None and int(state.step) == stop:
            raise Killed
        return jitted(state, b)

    def evaluate(state):
        heed(asked, 3)
        return [{"domain": "t", "split": "test", "oracle": True, "metrics": {"accuracy": float(state.step)}}]

    record = open_record(folder, CONFIG)
    with open_checkpoints(folder / "checkpoints") as checkpoints:
        final = run(
            killed_step,
            state,
            batches,
            total_steps=total,
            record=record,
            checkpoints=checkpoints,
            evaluate=evaluate,
            cadence=cadence,
            refresh=look,
            refresh_every=every,
            stop=asked,
        )
    return final, record.events()


def test_killed_and_resumed_is_the_same_run(tmp_path):
    straight, events = train(tmp_path / "straight", DANN)
    assert [e["step"] for e in events if e["event"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [e["step"] for e in events if e["event"] == "evaluate"] == [0, 4, 8, 12]
    for stop in (0, 3, 5, 11):
        with pytest.raises(Killed):
            train(tmp_path / f"k{stop}", DANN, stop=stop)
    # One run killed several times, also with a line half written.
    for stop in (5, 9):
        with pytest.raises(Killed):
            train(tmp_path / "k5", DANN, stop=stop)
    with open(tmp_path / "k5" / "record.jsonl", "a") as file:
        file.write('{"event": "train", "st')
    for stop in (0, 3, 5, 11):
        resumed, again = train(tmp_path / f"k{stop}", DANN)
        assert same(straight, resumed)
        assert again == events


def stop_after(calls):
    """A stop that is asked for at its ``calls``-th question, be it after a step or within an evaluation."""
    counter = itertools.count(1)
    return lambda: next(counter) >= calls


# 1 question at the start, 3 in each of 4 evaluations, 12 after steps.
QUESTIONS = [pytest.param(n, marks=() if n in (3, 9) else pytest.mark.slow) for n in range(1, 26)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("straight"), DANN)


@pytest.mark.parametrize("question", QUESTIONS)
def test_asked_to_stop_anywhere_it_saves_and_goes_on_to_the_same_end(tmp_path, undisturbed, question):
    straight, events = undisturbed
    with pytest.raises(Preempted, match="saved at step") as reason:
        train(tmp_path, DANN, asked=stop_after(question))
    with open_checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps()[-1] == int(str(reason.value).split()[3])
    resumed, again = train(tmp_path, DANN)
    assert same(straight, resumed) and again == events


@pytest.mark.slow
def test_asked_to_stop_again_and_again_it_still_arrives(tmp_path, undisturbed):
    straight, events = undisturbed
    for _ in range(40):
        try:
            # Enough for one evaluation and one step.
            resumed, again = train(tmp_path / "r", DANN, asked=stop_after(6))
            break
        except Preempted:
            pass
    assert same(straight, resumed) and again == events


@pytest.mark.slow
def test_a_stop_during_the_look_at_the_target(tmp_path):
    def look(asked):
        def refresh(state):
            heed(asked, 2)
            return state

        return refresh

    straight, events = train(tmp_path / "straight", DANN, look=look(lambda: False), every=3)
    for calls in (5, 10):
        asked = stop_after(calls)
        with pytest.raises(Preempted):
            train(tmp_path / f"s{calls}", DANN, asked=asked, look=look(asked), every=3)
        resumed, again = train(tmp_path / f"s{calls}", DANN, look=look(lambda: False), every=3)
        assert same(straight, resumed) and again == events


def test_a_stop_behind_a_non_finite_value_saves_nothing(tmp_path):
    exploding = term("fuse", lambda view: jnp.where(view.step == 6, jnp.nan, 0.0))
    # Asked after step 7, which is between two lines of the record.
    with pytest.raises(NonFiniteError, match="step 7"):
        train(tmp_path / "r", exploding, asked=stop_after(1 + 2 * 3 + 7))
    with open_checkpoints(tmp_path / "r" / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [0, 4]


def test_a_finished_run_is_left_alone(tmp_path):
    first, events = train(tmp_path / "r", DANN)
    second, again = train(tmp_path / "r", DANN)
    assert same(first, second) and events == again


def test_stops_at_the_first_non_finite_metric_with_a_checkpoint_before_it(tmp_path):
    exploding = term("fuse", lambda view: jnp.where(view.step == 6, jnp.nan, 0.0))
    with pytest.raises(NonFiniteError, match="step 7: .*loss/fuse = nan") as error:
        train(tmp_path / "r", exploding)
    assert "last checkpoint before it is of step 4" in str(error.value)
    with open_checkpoints(tmp_path / "r" / "checkpoints") as checkpoints:
        state, _ = setup(exploding, "vectors")
        restored = checkpoints.restore(state)
        assert int(restored.step) == 4
        assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(restored.params))


def test_a_cadence_that_would_break_resume_is_refused(tmp_path):
    with pytest.raises(InputError, match="multiple of cadence.log"):
        train(tmp_path / "r", DANN, cadence=Cadence(log=2, evaluate=4, save=5))
    with pytest.raises(InputError, match="≥ 1"):
        train(tmp_path / "r", DANN, cadence=Cadence(log=2, evaluate=0, save=4))
