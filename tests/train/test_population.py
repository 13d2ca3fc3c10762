"""A population is its members: the loop's numbers, exact resume, several devices, memory counted before it starts."""

import itertools
import re
from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays, paired_stream, stream_rows
from dalib.methods import dann
from dalib.methods.base import term
from dalib.tasks import classification
from dalib.train import (
    Cadence,
    NonFiniteError,
    Pool,
    Preempted,
    Rows,
    augmented,
    common_steps,
    fit,
    init_state,
    make_forward,
    make_mesh,
    make_optimizer,
    make_population,
    member_of,
    open_checkpoints,
    open_record,
    run_members,
    stack_members,
    training_step,
)
from tests.contract.cases import CLASSES, classifier
from tests.train.test_checkpoint import same

BATCH, SIZES = 6, (20, 15)
CONFIG = {"experiment": {"seed": 0}, "data": {}}
CADENCE = Cadence(log=2, evaluate=4, save=4)


def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(sum(SIZES), 5)).astype(np.float32)
    y = (np.arange(len(x)) % CLASSES).astype(np.int32)
    x[: SIZES[0], 0] += 2 * y[: SIZES[0]]
    return x, y


def pool(poison=False):
    x, y = arrays()
    return Pool(jnp.asarray(x), jnp.asarray(np.where(np.arange(len(x)) < SIZES[0], y, -1 if not poison else 2)))


def rows_of(seed):
    stream = stream_rows(*SIZES, batch_size=BATCH, seed=seed)

    def rows(start, stop):
        source, target = stream(start, stop)
        return source, target + np.int32(SIZES[0])

    return rows


def domains():
    x, y = arrays()
    cut = SIZES[0]
    return (
        from_arrays("s", {"train": (x[:cut], y[:cut])}),
        from_arrays("t", {"train": (x[cut:], y[cut:])}),
    )


def small_dann(weight):
    return dann(weight=weight, hidden=(8,))


def member_step(learning_rate=0.05, weight=1.0, total=100, method=small_dann):
    method = method(weight=weight)
    net, optimizer = classifier("vectors"), make_optimizer(learning_rate=learning_rate)
    step = training_step(method, make_forward(net, "joint"), optimizer, total_steps=total, task=classification(CLASSES))

    def init(key):
        return init_state(key, net, method, optimizer, jnp.zeros((BATCH, 5)), batch_norm="joint")

    return step, init


@pytest.fixture(scope="module")
def plain():
    """``(population of DANN members, jitted init)``."""
    step, init = member_step()
    return make_population(lambda hyper: step), jax.jit(init)


def taken(seeds, start, stop):
    return Rows(*(np.stack(side) for side in zip(*[rows_of(s)(start, stop) for s in seeds], strict=True)))


def close(a, b, rtol=1e-4):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max())


def test_rows_are_those_of_the_stream():
    source, target = domains()
    stream = paired_stream(source, target, batch_size=BATCH, seed=3)
    of_source, of_target = stream_rows(*SIZES, batch_size=BATCH, seed=3)(4, 12)
    x, y = source.split("train").__getitems__(of_source.reshape(-1))
    t, _ = target.split("train").__getitems__(of_target.reshape(-1))
    batches = [stream[step] for step in range(4, 12)]
    np.testing.assert_array_equal(x, np.concatenate([b.source.inputs for b in batches]))
    np.testing.assert_array_equal(y, np.concatenate([b.source.labels for b in batches]))
    np.testing.assert_array_equal(t, np.concatenate([b.target.inputs for b in batches]))
    assert of_source.shape == (8, BATCH) and of_source.dtype == np.int32
    with pytest.raises(InputError, match="batch_size: got 21"):
        stream_rows(*SIZES, batch_size=21, seed=0)


def test_a_hundred_steps_are_those_of_the_loop(plain):
    population, init = plain
    seeds = (0, 5, 7)
    states, metrics = population.advance(
        stack_members([init(jax.random.key(s)) for s in seeds]), pool(), taken(seeds, 0, 100), {}
    )
    step, _ = member_step()
    jitted = jax.jit(step)
    source, target = domains()
    stream = paired_stream(source, target, batch_size=BATCH, seed=5)
    state, history = init(jax.random.key(5)), []
    for batch in stream.batches(0, 100):
        state, m = jitted(state, batch)
        history.append(m["loss/total"])
    mine = member_of(states, 1)
    assert int(mine.step) == 100
    close(mine.params, state.params)
    np.testing.assert_allclose(metrics["loss/total"][1], np.stack(history), rtol=1e-4)
    assert not np.allclose(metrics["loss/total"][0], metrics["loss/total"][1], rtol=1e-2)


def test_target_labels_do_not_matter(plain):
    population, init = plain
    run = lambda examples: population.advance(  # noqa: E731
        stack_members([init(jax.random.key(s)) for s in (0, 5, 7)]), examples, taken((0, 5, 7), 0, 100), {}
    )[0]
    assert same(run(pool()), run(pool(poison=True)))


@pytest.mark.slow
def test_hyper_parameters_are_traced():
    def step_of(hyper):
        return member_step(hyper["rate"], hyper["weight"])[0]

    hypers = [
        {"rate": jnp.float32(0.05), "weight": jnp.float32(1)},
        {"rate": jnp.float32(0.01), "weight": jnp.float32(0)},
    ]
    init = jax.jit(member_step()[1])
    states, metrics = make_population(step_of).advance(
        stack_members([init(jax.random.key(5))] * 2), pool(), taken((5, 5), 0, 20), stack_members(hypers)
    )
    for i, (rate, weight) in enumerate(((0.05, 1.0), (0.01, 0.0))):
        step, _ = member_step(rate, weight)
        rows = jax.tree.map(lambda x: x[None], Rows(*rows_of(5)(0, 20)))
        alone, _ = make_population(lambda hyper, step=step: step).advance(
            stack_members([init(jax.random.key(5))]), pool(), rows, {}
        )
        close(member_of(states, i).params, member_of(alone, 0).params)
    assert float(metrics["learning_rate"][1, 0]) == pytest.approx(0.01)


@pytest.mark.slow
def test_members_over_devices_are_the_same_members(plain):
    population, init = plain
    step, _ = member_step()
    seeds = tuple(range(8))
    states = [init(jax.random.key(s)) for s in seeds]
    one, _ = population.advance(stack_members(states), pool(), taken(seeds, 0, 10), {})
    mesh = make_mesh()
    several = make_population(lambda hyper: step, mesh=mesh)
    lowered = several.advance.lower(stack_members(states, mesh), pool(), taken(seeds, 0, 10), {})
    text = lowered.compile().as_text()
    assert not any(word in text for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute"))
    eight, _ = several.advance(stack_members(states, mesh), pool(), taken(seeds, 0, 10), {})
    assert len(eight.step.sharding.device_set) == 8
    close(jax.device_get(eight.params), jax.device_get(one.params), rtol=1e-5)


@pytest.mark.slow
def test_memory_is_counted_before_and_divides_the_members(plain):
    population, init = plain
    state = jax.eval_shape(init, jax.random.key(0))
    rows = Rows(*rows_of(0)(0, 2))
    ample = fit(population, state, pool(), rows, {}, members=6, limit=2**40)
    parameters = sum(x.nbytes for x in jax.tree.leaves(init(jax.random.key(0)).params))
    assert ample.members == 6 and ample.needed > 6 * parameters
    some = fit(population, state, pool(), rows, {}, members=6, limit=ample.needed * 2 // 3)
    assert 1 <= some.members < 6
    assert fit(population, state, pool(), rows, {}, members=some.members, limit=some.limit).members == some.members
    with pytest.raises(InputError, match="room for one member"):
        fit(population, state, pool(), rows, {}, members=6, limit=sum(x.nbytes for x in jax.tree.leaves(pool())))


class Killed(BaseException):
    """Stands for a kill: nothing in the library catches it."""


def train(folder, plain, *, seeds=(0, 5), total=12, stop=None, population=None, refresh=None, asked=lambda: False):
    made, init = plain
    population = population or made

    def evaluate(i, state):
        if stop == ("evaluate", int(state.step), i):
            raise Killed
        return [{"domain": "t", "split": "test", "oracle": True, "metrics": {"accuracy": float(state.step)}}]

    records = [open_record(folder / f"seed-{s}", CONFIG) for s in seeds]
    with ExitStack() as stack:
        checkpoints = [stack.enter_context(open_checkpoints(r.folder / "checkpoints")) for r in records]

        def saver(i, save):
            def checked(step, state, notes):
                if stop == ("save", step, i):
                    raise Killed
                save(step, state, notes)

            return checked

        watched = [c._replace(save=saver(i, c.save)) for i, c in enumerate(checkpoints)]
        states = run_members(
            population,
            [init(jax.random.key(s)) for s in seeds],
            pool(),
            [rows_of(s) for s in seeds],
            total_steps=total,
            records=records,
            checkpoints=watched,
            evaluate=evaluate,
            cadence=CADENCE,
            refresh=refresh,
            refresh_every=3,
            names=[f"seed {s}" for s in seeds],
            stop=asked,
        )
    return states, [r.events() for r in records]


PLACES = [
    pytest.param(("save", 0, 1), marks=pytest.mark.slow),
    pytest.param(("evaluate", 4, 1), marks=pytest.mark.slow),
    ("save", 8, 1),
]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_killed_and_resumed_is_the_same_population(tmp_path, plain, place):
    straight, events = train(tmp_path / "straight", plain)
    assert [e["step"] for e in events[1] if e["event"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [e["step"] for e in events[1] if e["event"] == "evaluate"] == [0, 4, 8, 12]
    with pytest.raises(Killed):
        train(tmp_path / "killed", plain, stop=place)
    resumed, again = train(tmp_path / "killed", plain)
    assert all(same(a, b) for a, b in zip(straight, resumed, strict=True)) and again == events


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(0, marks=pytest.mark.slow),
        pytest.param(1, marks=pytest.mark.slow),
        3,
        pytest.param(99, marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop_all_members_are_saved_and_go_on_to_the_same_end(tmp_path, plain, at):
    """With a refresh every 3 steps the program comes back between two lines of the record as well."""
    refresh = lambda i, state: state  # noqa: E731
    straight, events = train(tmp_path / "straight", plain, total=7, refresh=refresh)
    calls = itertools.count()
    with pytest.raises(Preempted, match="saved 2 runs at step"):
        train(tmp_path / "s", plain, total=7, refresh=refresh, asked=lambda: next(calls) >= at or at > 50)
    resumed, again = train(tmp_path / "s", plain, total=7, refresh=refresh)
    assert all(same(a, b) for a, b in zip(straight, resumed, strict=True)) and again == events


@pytest.mark.slow
def test_a_stop_that_saved_some_members_only_is_undone(tmp_path, plain):
    """The member that was saved goes back to the step that all have, and its newer checkpoint does not linger: kept
    there, the next kill between two saves would leave no step that all members have."""
    straight, events = train(tmp_path / "straight", plain, total=14)
    calls = itertools.count()
    with pytest.raises(Killed):
        train(tmp_path / "s", plain, total=14, stop=("save", 6, 1), asked=lambda: next(calls) >= 3)
    with pytest.raises(Killed):
        train(tmp_path / "s", plain, total=14, stop=("save", 8, 1))
    resumed, again = train(tmp_path / "s", plain, total=14)
    assert all(same(a, b) for a, b in zip(straight, resumed, strict=True)) and again == events


@pytest.mark.slow
def test_members_at_different_places_are_refused(tmp_path, plain):
    train(tmp_path, plain, seeds=(0,), total=12)
    with pytest.raises(InputError, match="a step that all members have"):
        train(tmp_path, plain, seeds=(0, 5))


def test_common_steps():
    class Fake:
        def __init__(self, *steps):
            self.steps = lambda: list(steps)

    assert common_steps([Fake(4, 8), Fake(0, 4)]) == [4]
    assert common_steps([Fake(0), Fake()]) == []
    assert common_steps([Fake(4, 8), Fake()]) is None


@pytest.mark.slow
def test_a_member_that_explodes_is_named(tmp_path):
    def fuse(weight):
        return term("fuse", lambda v: jnp.where((v.step == 5) & (v.source.features[0, 0] > -9), jnp.nan, 0.0))

    step, init = member_step(method=fuse, total=12)
    with pytest.raises(NonFiniteError, match=r"seed 0: step 6: .*loss/fuse = nan(.|\n)*before it is of step 4"):
        train(tmp_path, (make_population(lambda hyper: step), jax.jit(init)))


@pytest.mark.slow
def test_refresh_comes_when_the_loop_would_do_it(tmp_path, plain):
    seen = []

    def refresh(i, state):
        seen.append((i, int(state.step)))
        return state

    states, _ = train(tmp_path / "a", plain, total=7, refresh=refresh)
    assert seen == [(i, step) for step in (0, 3, 6) for i in (0, 1)]
    without, _ = train(tmp_path / "b", plain, total=7)
    close(states[0].params, without[0].params, rtol=1e-6)


@pytest.mark.slow
def test_augmentation_on_the_device_is_a_function_of_key_and_step():
    def noise(batch, key):
        target = batch.target.inputs
        return batch._replace(target=batch.target._replace(inputs=target + jax.random.normal(key, target.shape)))

    step, init = member_step()
    changed = augmented(step, noise)
    state = jax.jit(init)(jax.random.key(5))
    states, _ = make_population(lambda hyper: changed).advance(
        stack_members([state, jax.jit(init)(jax.random.key(0))]), pool(), taken((5, 0), 0, 3), {}
    )
    source, target = domains()
    jitted, alone = jax.jit(changed), state
    for batch in paired_stream(source, target, batch_size=BATCH, seed=5).batches(0, 3):
        alone, _ = jitted(alone, batch)
    close(member_of(states, 0).params, alone.params)
    plainly, _ = make_population(lambda hyper: step).advance(stack_members([state]), pool(), taken((5,), 0, 3), {})
    difference = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), member_of(plainly, 0).params, alone.params)
    assert max(map(float, jax.tree.leaves(difference))) > 1e-4


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA does on a CPU")
def test_kernels_are_updated_in_place():
    """A kernel that is copied at every step costs more than its update."""
    step, init = member_step(method=lambda weight: dann(weight=weight, hidden=(40, 40)))
    states = jax.eval_shape(lambda keys: jax.vmap(init)(keys), jax.random.split(jax.random.key(0), 2))
    compiled = make_population(lambda hyper: step).advance.lower(states, pool(), taken((0, 1), 0, 3), {}).compile()
    assert "f32[2,40,40]" in compiled.as_text()
    assert not re.findall(r"= f32\[2,40,40\]\S* copy\(", compiled.as_text())
