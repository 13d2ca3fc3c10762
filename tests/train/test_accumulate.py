"""Large batches in parts: exact where it is allowed, refused where it would be another objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Source, Target
from dalib.encoders import MLP, Classifier
from dalib.encoders.classifier import MLPHead
from dalib.methods import cdan, combine, dan, dann, mcd, source_only
from dalib.methods.base import term
from dalib.methods.transformers import augmented
from dalib.tasks import classification
from dalib.train import (
    fully_sharded,
    init_state,
    make_forward,
    make_mesh,
    make_optimizer,
    make_step,
    put_batch,
    training_step,
)
from dalib.train.accumulate import join_rows, part_rows
from dalib.train.devices.sharding import replicated
from tests.contract.cases import ALL, CLASSES, assert_close, batch, classifier, leaves, quick_jit, small_method

OWN_PASSES = {
    *("adamatch", "cc_loss", "fixmatch", "uda", "mean_teacher"),  # views of the inputs
    *("vat", "vada"),  # perturbed inputs
    *("mixstyle",),  # statistics mixed within the net
    *("adda", "shot"),  # a pass of the target alone
}
"""Methods that look at the net through other passes than the common one; the cached form refuses them."""

SAME_ALL_THE_SAME = {
    "adabn": "source_only's loss; its point is BatchNorm, where accumulation is refused",
    "fixmatch": "no target example is confident before training: source_only's loss",
    "mean_teacher": "no target example is confident before training: source_only's loss",
    "mixstyle": "a net on vectors has no feature maps whose styles could be mixed: source_only's loss",
    "pada": "before their first update the class weights are even: DANN's loss",
    "mme": "means over examples, but its metrics count domains that lie interleaved in the whole batch",
}
"""Methods that declare nothing and whose gradients are those of the whole batch even so."""


def setup(method, net=None, b=None, convention=None):
    net = net or classifier("vectors", method.name == "adabn")
    rows = 6 if method.name == "rsd" else 12  # its spans need fewer rows than features
    b = b or batch("vectors", rows, rows)
    convention = convention or ("frozen" if method.name == "adabn" else method.needs.batch_norm)
    optimizer = make_optimizer(learning_rate=0.05)
    init = quick_jit(
        lambda key: init_state(key, net, method, optimizer, jnp.asarray(b.source.inputs), batch_norm=convention)
    )
    state = init(jax.random.key(0)).replace(step=jnp.int32(5))

    def step(method=method, **form):
        forward = make_forward(net, convention)
        return training_step(method, forward, optimizer, total_steps=20, task=classification(CLASSES), **form)

    return state, step, b


def steps(step, state, b, count=3):
    jitted = quick_jit(step)
    for _ in range(count):
        state, metrics = jitted(state, b)
    return state, metrics


def distance(a, b, start):
    """The largest difference between two ends over the largest move from the start, group by group."""
    worst = 0.0
    for group in start:
        old, x, y = (np.concatenate([v.ravel() for v in leaves(tree[group])]) for tree in (start, a, b))
        if (move := np.abs(x - old).max()) > 0 or np.abs(y - old).max() > 0:
            worst = max(worst, float(np.abs(x - y).max() / max(move, 1e-12)))
    return worst


def marked(names, core):
    return [pytest.param(n, marks=() if n in core else pytest.mark.slow) for n in names]


DECLARED = [n for n in ALL if small_method(n).needs.per_example]


@pytest.mark.parametrize("name", marked(DECLARED, ("dann",)))
def test_means_over_examples_average_to_the_whole_batch(name):
    state, step, b = setup(small_method(name))
    whole, metrics = steps(step(), state, b)
    parts, more = steps(step(accumulate=3), state, b)
    assert distance(whole.params, parts.params, state.params) < 1e-5
    assert_close(metrics, more, rtol=1e-5)
    assert_close((whole.model, whole.method), (parts.model, parts.method), rtol=1e-5)


@pytest.mark.parametrize("name", marked([n for n in ALL if n not in DECLARED], ()))
def test_methods_that_do_not_declare_it_are_refused_and_would_differ(name):
    method = small_method(name)
    state, step, b = setup(method)
    with pytest.raises(InputError, match=f"(?s)method '{name}', whose losses are not.*cached=True"):
        step(accumulate=2)
    whole, _ = steps(step(), state, b, 1)
    parts, _ = steps(step(method._replace(needs=method.needs._replace(per_example=True)), accumulate=2), state, b, 1)
    apart = distance(whole.params, parts.params, state.params)
    assert apart < 1e-5 if name in SAME_ALL_THE_SAME else apart > 1e-3


@pytest.mark.parametrize("name", marked(ALL, ("dan", "vat")))
def test_the_cached_form_is_the_whole_batch_for_all_it_admits(name):
    state, step, b = setup(small_method(name))
    if name in OWN_PASSES:
        with pytest.raises(InputError, match=f"(?s)method '{name}'.* a pass through the net of its own"):
            steps(step(accumulate=3, cached=True), state, b)
        return
    whole, metrics = steps(step(), state, b)
    parts, more = steps(step(accumulate=3, cached=True), state, b)
    assert distance(whole.params, parts.params, state.params) < 1e-5
    assert_close(metrics, more, rtol=1e-5)
    assert_close((whole.model, whole.method), (parts.model, parts.method), rtol=1e-5)


def test_the_cached_form_goes_with_random_views_of_the_batch():
    noisy = augmented(dan(), lambda key, x: x + 0.3 * jax.random.normal(key, x.shape, x.dtype))
    state, step, b = setup(noisy)
    whole, metrics = steps(step(), state, b)
    parts, more = steps(step(accumulate=3, cached=True), state, b)
    assert distance(whole.params, parts.params, state.params) < 1e-5
    assert_close(metrics, more, rtol=1e-5)


def test_a_method_that_does_not_declare_it_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="(?s)method 'dan', whose losses are not.*cached=True"):
        training_step(
            dan(),
            make_forward(classifier("vectors", False), "joint"),
            make_optimizer(learning_rate=0.1),
            total_steps=1,
            task=classification(3),
            accumulate=2,
        )


def test_options_and_sums_decide_too():
    assert dann().needs.per_example and not dann(norm=True).needs.per_example
    assert cdan().needs.per_example and not cdan(entropy=True).needs.per_example
    assert (
        mcd().needs.per_example
        and not mcd(balance=0.01).needs.per_example
        and not mcd(balance=jnp.zeros(())).needs.per_example
    )
    assert combine(dann(), mcd(), batch_norm="joint").needs.per_example and not combine(dann(), dan()).needs.per_example
    assert not term("mine", lambda view: 0.0).needs.per_example


@pytest.mark.parametrize("cached", marked((False, True), (True,)))
@pytest.mark.parametrize("convention", marked(("joint", "separate", "source", "domain", "frozen"), ("joint",)))
def test_batch_statistics_are_refused_and_frozen_ones_are_not(convention, cached):
    state, step, b = setup(dann(), classifier("vectors", True), convention=convention)
    if convention == "frozen":
        jax.eval_shape(step(accumulate=2, cached=cached), state, b)
        return
    with pytest.raises(InputError, match="(?s)BatchNorm that normalises by the batch.*frozen"):
        jax.eval_shape(step(accumulate=2, cached=cached), state, b)


def test_numbers_that_do_not_fit_are_refused():
    state, step, b = setup(source_only())
    for bad in (0, 2.0, True):
        with pytest.raises(InputError, match="(?s)accumulate: got .*an integer ≥ 1"):
            step(accumulate=bad)
    with pytest.raises(InputError, match="5 parts of 12 source examples"):
        jax.eval_shape(step(accumulate=5), state, b)
    with pytest.raises(InputError, match="4 parts of 6 target examples"):
        jax.eval_shape(step(accumulate=4, cached=True), state, batch("vectors", 12, 6))


@pytest.mark.slow
def test_both_forms_draw_the_same_dropout_in_all_their_passes():
    net = Classifier(MLP((12,)), CLASSES, None, MLPHead(CLASSES, (8,), dropout=0.5))
    state, step, b = setup(dann(), net)
    averaged, _ = steps(step(accumulate=3), state, b)
    cached, _ = steps(step(accumulate=3, cached=True), state, b)
    whole, _ = steps(step(), state, b)
    assert distance(averaged.params, cached.params, state.params) < 1e-5
    assert distance(averaged.params, whole.params, state.params) > 1e-3


def test_part_i_has_every_kth_row():
    x = np.arange(12).reshape(6, 2)
    assert part_rows(jnp.asarray(x), 3)[1].tolist() == x[[1, 4]].tolist()
    assert join_rows(part_rows(jnp.asarray(x), 3)).tolist() == x.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("form", ({}, {"cached": True}), ids=str)
def test_eight_devices_equal_one(form):
    method = small_method("dann")
    net, optimizer = classifier("vectors"), make_optimizer(learning_rate=0.05)
    b = batch("vectors", 32, 32)
    state, step, _ = setup(method, net, b)
    one, _ = steps(step(), state, b)
    start = jax.tree.map(jnp.copy, state.params)  # a step consumes its state, and placing may share its memory
    mesh = make_mesh(jax.devices()[:8])
    settings = {"total_steps": 20, "task": classification(CLASSES), "accumulate": 2, **form}
    split = make_step(method, make_forward(net, method.needs.batch_norm), optimizer, mesh=mesh, **settings)
    eight = jax.device_put(state, replicated(mesh))
    placed = put_batch(b, mesh)
    text = split.lower(eight, placed).compile().as_text()
    assert "all-to-all" not in text and "collective-permute" not in text
    for _ in range(3):
        eight, _ = split(eight, placed)
    assert distance(one.params, jax.device_get(eight.params), start) < 1e-5


@pytest.mark.slow
def test_a_split_state_goes_in_parts_too():
    method, net, optimizer = small_method("dann"), classifier("vectors"), make_optimizer(learning_rate=0.05)
    b = batch("vectors", 32, 32)
    state, step, _ = setup(method, net, b)
    one, _ = steps(step(), state, b)
    start = jax.tree.map(jnp.copy, state.params)
    mesh = make_mesh(jax.devices()[:8])
    places = fully_sharded(mesh, state, min_size=32)
    settings = {"total_steps": 20, "task": classification(CLASSES), "accumulate": 2, "state_sharding": places}
    forward = make_forward(net, method.needs.batch_norm)
    split = make_step(method, forward, optimizer, mesh=mesh, **settings)
    eight = jax.device_put(state, places)
    for _ in range(3):
        eight, _ = split(eight, put_batch(b, mesh))
    assert distance(one.params, jax.device_get(eight.params), start) < 1e-5
    with pytest.raises(InputError, match="a whole state on every device"):
        make_step(method, forward, optimizer, mesh=mesh, cached=True, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("form", ({}, {"cached": True}), ids=str)
def test_temporary_memory_shrinks(form):
    """4,096 rows through eight layers of 64: the net's activations are most of what a whole step holds.

    The cached form takes what follows the net on the whole batch, so the discriminator has to be small here.
    """
    net = Classifier(MLP((64,) * 8), CLASSES)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 16)).astype(np.float32)
    b = Batch(Source(x, (np.arange(4096) % CLASSES).astype(np.int32)), Target(x + 1))
    state, step, _ = setup(dann(hidden=(4,)), net, b)

    def temporaries(**form):
        return jax.jit(step(**form), donate_argnums=0).lower(state, b).compile().memory_analysis().temp_size_in_bytes

    whole, parts = temporaries(), temporaries(accumulate=16, **form)
    assert parts < whole / 3, f"{parts} of {whole} bytes"
