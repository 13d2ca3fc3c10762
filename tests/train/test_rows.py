"""Rows of a batch on their way to a step: over devices, in parts, and in a population of other domains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.data import paired_stream, stream_rows
from dalib.methods import augmented, source_only
from dalib.methods.parts.augmentation import gaussian_noise
from dalib.train import Pool, Rows, make_mesh, make_population, pool_numbers, put_batch, whole_run
from dalib.train.accumulate import split_rows
from tests.data.test_rows import check, counted, same_bits
from tests.methods.passes import loss_of

SIZES = {"first": 20, "second": 30, "target": 16, "other": 25, "shots": 9}
DOMAINS = {name: counted(name, size) for name, size in SIZES.items()}
OFFSETS = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]), strict=False))
TASKS = (("first", "target"), ("second", "other"))
BATCH, STEPS = 8, 12


def stream(i, seed=0):
    source, target = TASKS[i]
    return paired_stream(DOMAINS[source], DOMAINS[target], batch_size=BATCH, seed=seed, shots=DOMAINS["shots"])


def pool():
    examples = [domain.split("train").__getitems__(range(SIZES[name])) for name, domain in DOMAINS.items()]
    inputs, labels = (np.concatenate(side) for side in zip(*examples, strict=True))
    return Pool(jnp.asarray(inputs), jnp.asarray(labels), jnp.asarray(pool_numbers(*SIZES.values())))


def rows_of(i, start, stop):
    """Rows of the pool for one task, from the order that its stream goes in."""
    names = (*TASKS[i], "shots")
    sizes = [SIZES[name] for name in names]
    found = stream_rows(*sizes[:2], batch_size=BATCH, shots_size=sizes[2], seed=0)(start, stop)
    return Rows(*(rows + np.int32(OFFSETS[name]) for rows, name in zip(found, names, strict=True)))


def show(state, batch):
    """A step that hands its batch out."""
    return state + 1, {"batch": batch}


@pytest.mark.parametrize("devices", [1, 2])
def test_members_on_different_domains_see_the_batches_of_the_loop(devices):
    population = make_population(lambda hyper: show, mesh=make_mesh(jax.devices()[:devices]) if devices > 1 else None)
    state, start = jnp.zeros(2, jnp.int32), 5
    rows = jax.tree.map(lambda *x: np.stack(x), *(rows_of(i, start, start + STEPS) for i in range(2)))
    _, metrics = population.advance(state, pool(), rows, {})
    for i in range(2):
        for step in range(STEPS):
            batch = jax.tree.map(lambda x, i=i, step=step: np.asarray(x[i, step]), metrics["batch"])
            check(batch)
            same_bits(batch, stream(i)[start + step])


def test_a_whole_run_sees_them_too_and_a_pool_without_numbers_says_nothing():
    rows = rows_of(1, 0, STEPS)
    _, metrics, _ = jax.jit(lambda pool: whole_run(show, jnp.int32(0), pool, rows))(pool())
    _, bare, _ = jax.jit(lambda pool: whole_run(show, jnp.int32(0), pool, rows))(pool()._replace(numbers=None))
    for step in range(STEPS):
        same_bits(jax.tree.map(lambda x, step=step: np.asarray(x[step]), metrics["batch"]), stream(1)[step])
    assert [examples.rows for examples in bare["batch"]] == [None] * 3
    np.testing.assert_array_equal(bare["batch"].target.inputs, metrics["batch"].target.inputs)


def test_rows_are_split_over_devices_with_their_examples():
    mesh, feed = make_mesh(), paired_stream(DOMAINS["second"], DOMAINS["target"], batch_size=16, seed=0)
    for step in range(5):
        placed = put_batch(feed[step], mesh)
        same_bits(jax.tree.map(np.asarray, placed), feed[step])
        for examples in (placed.source, placed.target):
            shards = zip(examples.inputs.addressable_shards, examples.rows.addressable_shards, strict=True)
            for inputs, rows in shards:
                assert inputs.device == rows.device and rows.data.shape == (2,)
                np.testing.assert_array_equal(inputs.data[:, 0], rows.data)


def test_parts_of_a_batch_keep_their_rows():
    whole = stream(0)[3]._replace(shots=stream(0)[3].target)  # of a size that 4 divides
    parts = split_rows(jax.tree.map(jnp.asarray, whole), 4)
    assert parts.target.rows.shape == (4, 2)
    for part, before in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part.inputs[..., 0], part.rows)
        np.testing.assert_array_equal(np.sort(part.rows, axis=None), np.sort(before.rows))


def test_a_view_of_the_batch_keeps_its_rows():
    """Inputs change, rows stay, for the shots as well."""
    seen = []

    def loss(view):
        seen.append(view.batch)
        return jnp.float32(0), view, {}

    method = source_only()
    watched = augmented(method._replace(updates=(method.updates[0]._replace(loss=loss),)), gaussian_noise)
    batch = jax.tree.map(jnp.asarray, stream(0)[0])
    loss_of(watched.updates[0], {}, None, batch)
    for before, after in zip(batch, seen[0], strict=True):
        assert (before.inputs != after.inputs).all()
        np.testing.assert_array_equal(before.rows, after.rows)
