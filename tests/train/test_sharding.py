"""Splitting the state over devices: which leaves are split, and that a step means the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from dalib.core.checks import InputError
from dalib.encoders import Bottleneck, Classifier
from dalib.methods import METHODS, dann
from dalib.tasks import classification
from dalib.train import (
    fully_sharded,
    init_state,
    make_forward,
    make_mesh,
    make_optimizer,
    make_step,
    open_checkpoints,
    put_batch,
)
from dalib.train.step import split_init, split_step
from tests.contract.cases import CLASSES, STEPS, assert_close, batch, classifier, visible

DIFFERENT = ("dan", "dann", "irm", "mcd", "mean_teacher", "pada", "wdgrl")
"""A term, a penalty, second derivatives, three updates, a teacher in the state, class weights in the state, repeats."""


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_the_longest_divisible_axis_of_large_leaves_is_split():
    mesh = make_mesh()
    shapes = {
        "dense": shape(256, 512),
        "tall": shape(513, 256),
        "conv": shape(3, 3, 128, 64),
        "odd": shape(513, 129),
        "small": shape(64, 64),
        "step": shape(),
        "empty": shape(0, 8),
    }
    found = fully_sharded(mesh, shapes)
    assert {name: s.spec for name, s in found.items()} == {
        "dense": P(None, "data"),
        "tall": P(None, "data"),
        "conv": P(None, None, "data"),
        "odd": P(),
        "small": P(),
        "step": P(),
        "empty": P(),
    }
    assert fully_sharded(mesh, shapes, min_size=4096)["small"].spec == P("data")
    with pytest.raises(InputError, match="min_size: got -1"):
        fully_sharded(mesh, shapes, min_size=-1)


def pieces(method, kind="vectors", momentum_kind="adam"):
    net = classifier(kind, "adabn" in method.name)
    optimizer = make_optimizer(learning_rate=0.01, kind=momentum_kind)
    sample = batch(kind).source.inputs

    def init(key):
        return init_state(key, net, method, optimizer, sample, batch_norm=method.needs.batch_norm)

    return init, (method, make_forward(net, method.needs.batch_norm), optimizer)


def bytes_per_device(tree):
    return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree) if hasattr(x, "nbytes"))


def train(method, *, split, kind="vectors", steps=5):
    mesh = make_mesh()
    init, parts = pieces(method, kind)
    places = fully_sharded(mesh, jax.eval_shape(init, jax.random.key(0)), min_size=16) if split else None
    state = jax.jit(init, out_shardings=places)(jax.random.key(0))
    settings = {"total_steps": STEPS, "task": classification(CLASSES)}
    step = make_step(*parts, mesh=mesh, state_sharding=places, **settings)
    if not split:
        state = jax.device_put(state, jax.sharding.NamedSharding(mesh, P()))
    state = state.replace(step=state.step + STEPS // 2)
    for seed in range(steps):
        state, metrics = step(state, put_batch(batch(kind, 24, 24, seed), mesh))
    return state, metrics, places


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENT)
def test_a_split_state_trains_as_a_whole_one(name):
    """Parameters within 1e-5 after five steps, and every part of the state is back in its place."""
    method = METHODS[name]() if name != "dann" else dann(hidden=(64, 64))
    whole, metrics, _ = train(method, split=False)
    split, same, places = train(method, split=True)
    assert_close(visible(whole), visible(split))
    assert_close(metrics, same)
    for x, place in zip(jax.tree.leaves(split), jax.tree.leaves(places), strict=True):
        assert x.sharding.is_equivalent_to(place, x.ndim), f"{x.shape}: {x.sharding}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dann", "mean_teacher"])
def test_a_split_state_trains_as_a_whole_one_with_batch_norm(name):
    whole, metrics, _ = train(METHODS[name](), split=False, kind="images")
    split, same, _ = train(METHODS[name](), split=True, kind="images")
    assert_close(visible(whole), visible(split), rtol=1e-4, atol=1e-5)
    assert_close(metrics, same, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_split_step_needs_less_memory():
    """Compiled, not run: a wide net whose parameters outweigh its activations."""
    mesh, method = make_mesh(), dann(hidden=(1024, 1024))
    init, parts = pieces(method)
    shapes = jax.eval_shape(init, jax.random.key(0))
    found = {}
    for split in (False, True):
        places = fully_sharded(mesh, shapes) if split else None
        step = make_step(*parts, mesh=mesh, state_sharding=places, total_steps=STEPS, task=classification(CLASSES))
        found[split] = step.lower(shapes, jax.tree.map(jnp.asarray, batch("vectors", 24, 24))).compile()
    memory = {split: compiled.memory_analysis() for split, compiled in found.items()}
    arguments = {split: m.argument_size_in_bytes for split, m in memory.items()}
    assert arguments[True] < 0.15 * arguments[False]
    assert memory[True].alias_size_in_bytes > 0.9 * arguments[True] - 10_000, "the state is donated"
    gathers = found[True].as_text().count(" all-gather(") + found[True].as_text().count(" all-gather-start(")
    assert gathers >= 1, "compilers may gather several leaves at once"


def test_a_state_sharding_needs_a_mesh():
    init, parts = pieces(dann(hidden=(8,)))
    places = fully_sharded(make_mesh(), jax.eval_shape(init, jax.random.key(0)))
    with pytest.raises(InputError, match="state_sharding"):
        make_step(*parts, state_sharding=places, total_steps=STEPS, task=classification(CLASSES))


def test_shapes_alone_place_a_large_net():
    """Only what cannot be split stays whole: a sixteenth and a bit of ViT-sized matrices."""
    net = Classifier(classifier("vectors").encoder, 8, Bottleneck(2048, norm=False))
    shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((2, 5), np.float32))
    places = fully_sharded(make_mesh(), shapes, min_size=2**10)
    assert places["params"]["bottleneck"]["fc"]["kernel"].spec == P(None, "data")


@pytest.mark.slow
def test_a_run_with_a_split_state():
    """From its first moment; what the host replaces between steps finds its place again."""
    method, mesh = dann(hidden=(64, 64)), make_mesh()
    init, parts = pieces(method)
    settings = {"total_steps": STEPS, "task": classification(CLASSES)}
    state = split_init(init, mesh, min_size=16)(jax.random.key(0))
    kernel = state.params["discriminator"]["Dense_1"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (8, 64)
    step = split_step(*parts, mesh=mesh, min_size=16, **settings)
    whole, usual = jax.jit(init)(jax.random.key(0)), make_step(*parts, mesh=mesh, **settings)
    whole = jax.device_put(whole, jax.sharding.NamedSharding(mesh, P()))
    held = bytes_per_device((whole.params, whole.optimizer))
    assert bytes_per_device((state.params, state.optimizer)) < 0.2 * held, (
        "the discriminator's and Adam's are an eighth each"
    )
    for seed in range(5):
        b = put_batch(batch("vectors", 24, 24, seed), mesh)
        state = state.replace(model=jax.tree.map(np.asarray, state.model), step=np.asarray(state.step))
        state, metrics = step(state, b)
        whole, same = usual(whole, b)
    assert_close(visible(whole), visible(state))
    assert_close(same, metrics)
    assert state.params["discriminator"]["Dense_1"]["kernel"].addressable_shards[0].data.shape == (8, 64)


@pytest.mark.slow
def test_a_checkpoint_of_one_placement_resumes_in_another(tmp_path):
    """Split to split keeps the places; whole to split and split to whole give the same numbers."""
    init, _ = pieces(dann(hidden=(64, 64)))
    split = split_init(init, make_mesh(), min_size=16)(jax.random.key(0))
    whole = jax.jit(init)(jax.random.key(0))
    for saved, like in ((split, split), (whole, split), (split, whole)):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with open_checkpoints(folder) as checkpoints:
            checkpoints.save(1, saved)
            found = checkpoints.restore(jax.tree.map(jnp.copy, like))
        assert_close(visible(found), visible(saved), rtol=0, atol=0)
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True):
            assert x.sharding.is_equivalent_to(y.sharding, x.ndim)
