"""One contract for all methods: a method is tested by being in the table."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Batch, Source, Target
from dalib.methods import METHODS, combine
from dalib.methods.base import Needs, term, trained_groups
from dalib.methods.view import NET_GROUPS
from dalib.train import make_mesh, put_batch
from dalib.train.devices.sharding import batch_sharding, replicated
from tests.contract.cases import (
    ALL,
    INPUTS,
    assert_close,
    assert_finite,
    batch,
    compiled,
    methods,
    moved_groups,
    quick_jit,
    setup,
    small_method,
    visible,
    widened,
)

DRAWS_BY_ROW = ("mixstyle", "wdgrl")
"""MixStyle draws a partner for each row and WDGRL pairs rows as they come: another order is another draw."""


@pytest.mark.parametrize("kind", sorted(INPUTS.keys() - {"vectors"}))
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "dann" else pytest.mark.slow) for n in ALL])
def test_runs_on_images_and_tokens(name, kind):
    check_step(name, kind)


@pytest.mark.parametrize("name", ALL)
def test_steps_are_finite_and_move_every_group(name):
    check_step(name, "vectors")


def check_step(name, kind):
    state, step = compiled(name, kind)
    new, metrics = step(state, batch(kind))
    assert_finite((visible(new), metrics))
    assert int(new.step) == int(state.step) + 1
    assert all(m.shape == () for m in metrics.values())
    trained = set().union(*(trained_groups(update, state.params) for update in small_method(name).updates))
    assert moved_groups(state.params, new.params) == trained


@pytest.mark.parametrize("name", methods())
def test_jit_equals_eager(name):
    state, step = compiled(name)
    _, plain = setup(small_method(name), "vectors")
    eager, eager_metrics = plain(state, jax.tree.map(jnp.asarray, batch("vectors")))
    jitted, metrics = step(state, batch("vectors"))
    assert_close(visible(eager), visible(jitted))
    assert_close(eager_metrics, metrics)


@pytest.mark.parametrize("name", methods())
def test_unequal_batches_and_identical_domains(name):
    state, step = compiled(name)
    new, metrics = step(state, batch("vectors", n=6, m=4))
    assert_finite((visible(new), metrics))
    same = batch("vectors")
    same = Batch(same.source, Target(same.source.inputs))
    constant = Batch(Source(jnp.ones((6, 5)), same.source.labels), Target(jnp.ones((6, 5))))
    for b in (same, constant):
        new, metrics = step(state, b)
        assert_finite((visible(new), metrics))


@pytest.mark.parametrize("name", methods(n for n in ALL if n not in DRAWS_BY_ROW))
def test_order_of_examples_does_not_matter(name):
    state, step = compiled(name)
    b = batch("vectors")
    rng = np.random.default_rng(1)
    # Several source domains are interleaved: rows may change places within a domain.
    sources = inspect.signature(METHODS[name]).parameters.get("sources")
    k = sources.default if sources else 1
    p, q = np.stack([rng.permutation(6 // k) * k + i for i in range(k)], 1).ravel(), rng.permutation(6)
    permuted = Batch(Source(b.source.inputs[p], b.source.labels[p]), Target(b.target.inputs[q]))
    assert_close(visible(step(state, b)[0]), visible(step(state, permuted)[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", methods())
def test_float32_agrees_with_float64(name):
    state, step = compiled(name)
    single, metrics = step(state, batch("vectors"))
    with jax.enable_x64():
        double, more = quick_jit(step)(widened(state.replace(key=state.key)), widened(batch("vectors")))
        assert jax.tree.leaves(double.params)[0].dtype == jnp.float64
    assert_close(single.params, double.params, rtol=2e-4, atol=2e-5)
    assert_close(metrics, more, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", methods())
def test_eight_devices_equal_one(name):
    state, step = setup(small_method(name), "vectors")
    b = batch("vectors", n=8, m=8)
    one, one_metrics = quick_jit(step)(state, b)
    mesh = make_mesh(jax.devices()[:8])
    sharded = quick_jit(step, in_shardings=(replicated(mesh), batch_sharding(mesh)), out_shardings=replicated(mesh))
    eight, eight_metrics = sharded(jax.device_put(state, replicated(mesh)), put_batch(b, mesh))
    assert_close(visible(one), visible(eight), rtol=1e-5, atol=1e-5)
    assert_close(one_metrics, eight_metrics, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", methods())
def test_a_sum_with_it_is_a_method_again(name):
    method = small_method(name)
    extra = term(
        "extra", lambda view: jnp.mean(view.target.features**2), needs=Needs(batch_norm=method.needs.batch_norm)
    )
    state, step = setup(combine(method, extra), "vectors")
    new, metrics = quick_jit(step)(state, batch("vectors"))
    assert_finite((visible(new), metrics))
    assert any(k.endswith("loss/extra") for k in metrics)
    assert {g for g in state.params if "/" in g} == {
        f"{name}/{g}" for g in setup(method, "vectors")[0].params if g not in ("encoder", "bottleneck", "head")
    }


@pytest.mark.parametrize("name", ALL)
def test_updates_train_known_groups(name):
    method = small_method(name)
    state, _ = compiled(name)
    trained = [trained_groups(update, state.params) for update in method.updates]
    assert all(trained)
    # A method may freeze parts of the net (SHOT its head), but what it brings itself it also trains.
    assert set().union(*trained) >= set(state.params) - set(NET_GROUPS)


def test_target_labels_have_no_place():
    assert Target._fields == ("inputs", "rows")
    with pytest.raises(TypeError):
        Target(np.zeros((2, 3)), np.arange(2), np.zeros(2))
