"""Nets of three libraries through the engine's contract, against the same Linen net."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("equinox", reason="the extra equinox is not installed")
import equinox as eqx
from flax import nnx

from dalib.core.checks import InputError
from dalib.encoders import (
    Classifier,
    LeNet,
    as_encoder,
    as_net,
    from_equinox,
    from_linen,
    from_nnx,
    linen_encoder,
    make_classifier,
    population_form,
)
from dalib.methods import dann, source_only
from dalib.tasks import classification
from dalib.train import (
    CONVENTIONS,
    init_state,
    make_apply,
    make_forward,
    make_optimizer,
    open_checkpoints,
    recompute_statistics,
    training_step,
)
from tests.contract.cases import assert_close, assert_finite, assert_same_bits, leaves, quick_jit, visible
from tests.encoders import foreign
from tests.encoders.foreign import BATCH, CLASSES, LIBRARIES, LINEN, copied, encoder, images, net, variables

each_library = pytest.mark.parametrize("library", LIBRARIES)


def setup(net, method, convention, start=None):
    """A first state and the step."""
    optimizer = make_optimizer(learning_rate=0.1)
    make = lambda key: init_state(  # noqa: E731
        key, net, method, optimizer, BATCH.source.inputs, batch_norm=convention, variables=start
    )
    forward = make_forward(net, convention)
    step = training_step(method, forward, optimizer, total_steps=10, task=classification(CLASSES))
    # Half way: at step 0 the gradient reversal is 0.
    return quick_jit(make)(jax.random.key(3)).replace(step=jnp.int32(5)), step


def test_a_linen_classifier_gives_the_same_bits():
    module = Classifier(LeNet(channels=(2, 3), width=4, norm=True, dropout=0.5), 3, "linear-bn-relu-dropout", "mlp")
    ours, x, key = from_linen(module), images(4)[:, :4, :4, :1].repeat(4, 1).repeat(4, 2), jax.random.key(7)
    theirs = quick_jit(lambda: module.init(key, x, train=False))()
    assert_same_bits(quick_jit(lambda: ours.init(key, x))(), theirs)
    parts = theirs["params"], theirs["batch_stats"]
    assert_same_bits(
        quick_jit(lambda: ours.apply(*parts, x)[0])(), quick_jit(lambda: module.apply(theirs, x, train=False))()
    )
    train = lambda: module.apply(theirs, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"])  # noqa: E731
    outputs, changed = quick_jit(train)()
    found = quick_jit(lambda: ours.apply(*parts, x, key=key, by_batch=True))()
    assert_same_bits(found, (outputs, changed["batch_stats"]))
    head = module.head_module()
    assert_same_bits(ours.init_head(key, outputs.features), head.init(key, outputs.features)["params"])
    made = make_classifier(module.encoder, 3, module.bottleneck, module.head)
    assert_same_bits(quick_jit(lambda: made.init(key, x))(), theirs)


@lru_cache
def linen_step(convention):
    state, step = setup(LINEN, source_only(), convention, variables())
    return quick_jit(step)(state, BATCH)[0]


@each_library
@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_a_step_is_that_of_the_linen_net(library, convention):
    """Parameters and running statistics, under each BatchNorm convention."""
    expected = linen_step(convention)
    state, step = setup(net(library), source_only(), convention, copied(library, variables()))
    after, _ = quick_jit(step)(state, BATCH)
    for slot, stats in expected.model.items():
        like = copied(library, {"params": expected.params, "batch_stats": stats})
        assert jax.tree.structure(after.model[slot]) == jax.tree.structure(like["batch_stats"])
        assert_close(after.model[slot], like["batch_stats"], rtol=1e-5, atol=1e-5)
    assert_close(after.params, like["params"], rtol=1e-5, atol=1e-5)
    moved = any((a != b).any() for a, b in zip(leaves(state.model), leaves(after.model), strict=True))
    assert moved == (convention != "frozen")


@each_library
def test_every_parameter_learns_from_dann(library):
    state, step = setup(net(library, rate=0.5), dann(hidden=(4,)), "joint")
    jitted = quick_jit(step)
    after, metrics = jitted(state, BATCH)
    assert_finite((after.params, after.model, metrics))
    for group in ("encoder", "bottleneck", "head", "discriminator"):
        for before, now in zip(leaves(state.params[group]), leaves(after.params[group]), strict=True):
            assert (before != now).any() or not before.size, group
    for _ in range(2):
        after, _ = jitted(after, BATCH)
    assert jitted._cache_size() == 1


@each_library
def test_evaluation_leaves_the_state_alone(library):
    forward, start = make_forward(net(library, rate=0.5), "joint"), copied(library, variables())
    model = {"shared": start["batch_stats"]}
    outputs, after = quick_jit(lambda p, m: forward.one(p, m, images(3), "source", None, False))(start["params"], model)
    assert_same_bits(after, model)
    assert_close(outputs.logits, LINEN.apply(variables(), images(3)).logits)


@each_library
def test_dropout_and_statistics_are_chosen_apart(library):
    start = copied(library, variables())
    forward, model = make_forward(net(library, rate=0.5), "joint"), {"shared": start["batch_stats"]}

    @quick_jit
    def passes(params, model, key):
        one = lambda key, by_batch: forward.one(params, model, images(8), "source", key, True, by_batch)  # noqa: E731
        return one(None, True), one(None, None), one(key, False)

    fresh, by_convention, dropped = passes(start["params"], model, jax.random.key(1))
    parts = variables()["params"], variables()["batch_stats"]
    expected, stats = from_linen(LINEN).apply(*parts, images(8), by_batch=True)
    assert_same_bits(fresh, by_convention)
    assert_close(fresh[0].logits, expected.logits)
    assert_close(fresh[1]["shared"], copied(library, {"params": parts[0], "batch_stats": stats})["batch_stats"])
    assert_same_bits(dropped[1], model)
    gone = np.asarray(dropped[0].hidden["encoder"]) == 0
    assert 0.2 < gone.mean() < 0.8
    whole = LINEN.apply(variables(), images(8)).hidden["encoder"]
    assert_close(np.where(gone, 0, 2 * np.asarray(whole)), dropped[0].hidden["encoder"])
    assert_same_bits(passes(start["params"], model, jax.random.key(1))[2], dropped)
    other = passes(start["params"], model, jax.random.key(2))[2][0].hidden["encoder"]
    assert ((np.asarray(other) == 0) != gone).any()
    assert gone.any(1).any() and not (gone == gone[:1]).all(), "every example has its own mask"


@each_library
def test_a_resumed_run_is_the_uninterrupted_one(library, tmp_path):
    state, step = setup(net(library, rate=0.5), dann(hidden=(4,)), "domain")
    step = quick_jit(step)
    half, _ = step(state, BATCH)
    whole, _ = step(half, BATCH)
    with open_checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(6, half)
        again = checkpoints.restore(state)
    again, _ = step(again, BATCH)
    assert_same_bits(visible(again), visible(whole))


@each_library
def test_members_together_are_members_alone(library):
    state, step = setup(net(library, rate=0.5), source_only(), "separate")
    states = [state, state.replace(key=jax.random.key(9), params=jax.tree.map(lambda x: 0.9 * x, state.params))]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    together, _ = quick_jit(jax.vmap(step, in_axes=(0, None)))(stacked, BATCH)
    step = quick_jit(step)
    for i, alone in enumerate(states):
        member = jax.tree.map(lambda x, i=i: x[i], together)
        expected, _ = step(alone, BATCH)
        assert_close((member.params, member.model), (expected.params, expected.model))


@each_library
def test_recomputed_statistics(library):
    start, batches = copied(library, variables()), [images(4), images(6, 1)]
    found = recompute_statistics(net(library, rate=0.5), start["params"], start["batch_stats"], batches)
    expected = recompute_statistics(LINEN, variables()["params"], variables()["batch_stats"], batches)
    like = copied(library, {"params": variables()["params"], "batch_stats": expected})
    assert_close(found, like["batch_stats"])


def test_seeds_draw_weights_of_a_factory_and_keep_those_of_a_module():
    x, keys = images(2), (jax.random.key(0), jax.random.key(1))
    for library in LIBRARIES:
        one, same, other = (quick_jit(encoder(library).init)(k, x) for k in (keys[0], keys[0], keys[1]))
        assert_same_bits(one, same)
        assert any((a != b).any() for a, b in zip(leaves(one), leaves(other), strict=True))
    module = foreign.NNX(0.5, rngs=nnx.Rngs(4))
    found = as_encoder(module).init(keys[0], x)
    np.testing.assert_array_equal(found["params"]["layers"]["0"]["kernel"], module.layers[0].kernel[...])
    module.eval()
    assert_same_bits(as_encoder(module).apply(found["params"], found["batch_stats"], x)[0].features, module(x))


def test_a_trained_equinox_module_evaluates_as_there():
    module, state = eqx.nn.make_with_state(foreign.Equinox)(0.5, jax.random.key(4))
    x = jnp.moveaxis(images(6), -1, 1)
    norm = lambda x, s: module.norm(module.layers[0](x), s)  # noqa: E731
    train = jax.vmap(norm, in_axes=(0, None), out_axes=(0, None), axis_name="rows")
    for _ in range(2):
        _, state = train(x, state)
    still = eqx.nn.inference_mode(module)
    expected = jax.vmap(lambda x: still(x, state)[0])(x)
    ours = from_equinox(module, state, channels_first=True)
    v = ours.init(jax.random.key(0), images(6))
    assert_close(ours.apply(v["params"], v["batch_stats"], images(6))[0].features, expected)
    assert as_encoder((module, state)).init(jax.random.key(0), x).keys() == v.keys()


def test_modules_without_state():
    mlp = eqx.nn.MLP(5, 4, 6, 1, key=jax.random.key(0))
    x = jnp.ones((3, 5))
    plain = nnx.Linear(5, 4, rngs=nnx.Rngs(0))
    for module, expected in ((mlp, jax.vmap(mlp)(x)), (plain, plain(x))):
        ours = make_classifier(module, CLASSES)
        v = ours.init(jax.random.key(0), x)
        assert set(v) == {"params"} and set(v["params"]) == {"encoder", "head"}
        outputs, stats = ours.apply(v["params"], {}, x, key=jax.random.key(1), by_batch=True)
        assert stats == {} and outputs.logits.shape == (3, CLASSES)
        assert_close(outputs.features, expected)


def test_parameters_are_nested_dicts_with_strings_for_names():
    for library in LIBRARIES:
        params = encoder(library).init(jax.random.key(0), images(2))["params"]
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            assert all(isinstance(part, jax.tree_util.DictKey) and isinstance(part.key, str) for part in path)
            assert isinstance(leaf, jax.Array)


def test_the_form_for_populations():
    module = Classifier(LeNet(channels=(2, 3), width=4), 3)
    x = jnp.ones((2, 16, 16, 1))

    def text(net):
        v = jax.eval_shape(net.init, jax.random.key(0), x)
        return str(jax.make_jaxpr(lambda p: net.apply(p, {}, x)[0].logits)(v["params"]))

    patches = from_linen(module.with_convolution("patches"))
    assert text(population_form(from_linen(module))) == text(patches)
    composed = make_classifier(linen_encoder(LeNet(channels=(2, 3), width=4)), 3)
    assert "conv_general_dilated[" not in text(population_form(composed))
    foreign_net = net("nnx")
    assert population_form(foreign_net) is foreign_net


def test_mistakes_are_named():
    with pytest.raises(InputError, match="encoder: got builtins.str(.|\n)*flax.nnx.Module"):
        as_encoder("resnet50")
    with pytest.raises(InputError, match="Linen(.|\n)*make_classifier"):
        as_net(foreign.Linen())
    with pytest.raises(InputError, match="BatchNorm layers.1(.|\n)*ema(.|\n)*batch"):
        norm = lambda: eqx.nn.BatchNorm(2, "rows", mode="ema")  # noqa: E731
        from_equinox(eqx.nn.make_with_state(lambda key: eqx.nn.Sequential([eqx.nn.Identity(), norm()])))
    with pytest.raises(InputError, match="got int"):
        from_nnx(3)
    with pytest.raises(InputError, match="got int"):
        from_nnx(lambda rngs: 3)
    with pytest.raises(InputError, match=r"features \[n, d\]"):
        flat = make_classifier(nnx.Conv(2, 3, (3, 3), rngs=nnx.Rngs(0)), CLASSES)
        flat.init(jax.random.key(0), images(2))
    with pytest.raises(InputError, match="test-time"):
        make_apply(net("nnx"))
