"""Attention in closed form, masks, the two orders of a block, what is random in training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.layers.attention import MLP, Attention, Block, attend, blocks, causal_mask, layer_norm, padding_mask
from tests.encoders.fill import filled


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Stack(nn.Module):
    """Two blocks, as the encoders use them."""

    remat: bool = False
    fields: tuple = ()

    @nn.compact
    def __call__(self, x, mask=None, *, train=False):
        return blocks(x, 2, mask=mask, train=train, remat=self.remat, heads=2, mlp_width=8, **dict(self.fields))


def test_attend_is_the_weighted_mean_of_values():
    query, key, value = _normal(2, 3, 2, 4), _normal(2, 5, 2, 4, seed=1), _normal(2, 5, 2, 6, seed=2)
    bias, mask = _normal(1, 2, 3, 5, seed=3), _normal(2, 1, 3, 5, seed=4) > -0.5
    assert mask.any(-1).all() and not mask.all()
    ours = np.asarray(jax.jit(attend)(query, key, value, mask=mask, bias=jnp.asarray(bias)))
    for n, t, h in np.ndindex(2, 3, 2):
        seen = mask[n, 0, t]
        scores = np.exp(key[n, seen, h] @ query[n, t, h] / 2 + bias[0, h, t, seen])
        np.testing.assert_allclose(ours[n, t, h], scores / scores.sum() @ value[n, seen, h], rtol=2e-5, atol=1e-6)


def test_a_query_without_keys_has_finite_gradients():
    x = jnp.asarray(_normal(1, 3, 1, 2))
    mask = jnp.zeros((1, 1, 3, 3), bool)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(attend(x, x, x, mask=mask) ** 2)))(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_softmax_is_float32_in_bfloat16():
    x = jnp.ones((1, 3, 1, 2), jnp.bfloat16)
    program = str(jax.make_jaxpr(attend)(x, x, x))
    assert ":f32[1,1,3,3] = exp" in program
    assert attend(x, x, x).dtype == jnp.bfloat16


def test_masks_hide_the_future_and_the_padding():
    x = _normal(2, 4, 6)
    module = Attention(heads=2)
    variables = filled(module, x)
    apply = jax.jit(module.apply)
    causal = apply(variables, x, causal_mask(4))
    later = x.copy()
    later[:, 2:] += 1
    changed = np.abs(np.asarray(apply(variables, later, causal_mask(4)) - causal)).max((0, 2))
    assert changed[:2].max() == 0 and changed[2:].min() > 0
    valid = jnp.asarray([[1, 1, 1, 0], [1, 1, 0, 0]])
    padded = apply(variables, x, padding_mask(valid))
    np.testing.assert_allclose(
        padded[1, :2], apply(variables, x[1:, :2], padding_mask(jnp.ones((1, 2))))[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("norm_first", [True, False])
def test_pre_norm_and_post_norm(norm_first):
    x = _normal(2, 3, 4)
    block = Block(heads=2, mlp_width=8, norm_first=norm_first, epsilon=1e-3)
    variables = filled(block, x)

    def expected(params, x):
        def norm(y, which):
            return layer_norm(1e-3).apply({"params": params[which]}, y)

        def attention(y):
            return Attention(2).apply({"params": params["attention"]}, y)

        def mlp(y):
            return MLP(8).apply({"params": params["mlp"]}, y)

        if norm_first:
            y = x + attention(norm(x, "norm1"))
            return y + mlp(norm(y, "norm2"))
        y = norm(x + attention(x), "norm1")
        return norm(y + mlp(y), "norm2")

    ours, theirs = jax.jit(lambda v, x: (block.apply(v, x), expected(v["params"], x)))(variables, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_layer_scale_multiplies_the_branches():
    x = _normal(2, 3, 4)
    block = Block(heads=2, mlp_width=8, layer_scale=0.25)
    params = filled(block, x)["params"]
    silent = {**params, "scale1": np.zeros(4, np.float32), "scale2": np.zeros(4, np.float32)}
    twice = {**silent, "scale1": 2 * params["scale1"]}
    once = {**silent, "scale1": params["scale1"]}
    apply = jax.jit(lambda params: block.apply({"params": params}, x) - x)
    np.testing.assert_array_equal(apply(silent), 0)
    np.testing.assert_allclose(apply(twice), 2 * apply(once), rtol=1e-4, atol=1e-5)


def test_stochastic_depth_drops_whole_examples_and_scales_the_others():
    x = _normal(64, 2, 4)
    block = Block(heads=2, mlp_width=4, layer_scale=1.0, stochastic_depth=0.5)
    variables = filled(block, x)
    variables["params"]["scale2"] = np.zeros(4, np.float32)  # the attention's branch alone

    @jax.jit
    def branches(key):
        evaluated, trained = (block.apply(variables, x, None, train, rngs={"dropout": key}) for train in (False, True))
        return evaluated - x, trained - x

    evaluated, trained = map(np.asarray, branches(jax.random.key(1)))
    kept = np.abs(trained).max((1, 2)) > 0
    assert 16 < kept.sum() < 48
    np.testing.assert_allclose(trained[kept], 2 * evaluated[kept], rtol=1e-4, atol=1e-5)


def test_rematerialised_blocks_have_the_same_names():
    x = jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)
    plain, remat = (jax.eval_shape(Stack(remat=r).init, jax.random.key(0), x) for r in (False, True))
    assert plain == remat
    assert "remat" in str(jax.make_jaxpr(lambda v, x: Stack(remat=True).apply(v, x)[0])(remat, x))


@pytest.mark.slow
def test_rematerialised_blocks_are_the_same_function():
    x = _normal(2, 3, 4)
    fields = (("dropout", 0.5), ("attention_dropout", 0.5))
    variables = filled(Stack(), x)

    def gradient(stack):
        def loss(variables):
            return jnp.sum(stack.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})[0] ** 2)

        return jax.jit(jax.grad(loss))(variables)

    plain, remat = (gradient(Stack(remat=remat, fields=fields)) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, remat)


@pytest.mark.slow
def test_stochastic_depth_rises_from_the_first_block():
    x = _normal(32, 3, 4)
    stack = Stack(fields=(("stochastic_depth", 1.0),))
    variables = filled(stack, x)
    _, evaluated = stack.apply(variables, x)
    _, trained = stack.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(evaluated["block_0"], trained["block_0"])
    np.testing.assert_array_equal(trained["block_1"], trained["block_0"])


def test_wrong_fields_are_named():
    x = jnp.ones((1, 2, 6))
    with pytest.raises(InputError, match=r"heads(.|\n)*divides"):
        Attention(heads=4).init(jax.random.key(0), x)
    with pytest.raises(InputError, match="did you mean 'quick_gelu'"):
        MLP(4, activation="quickgelu").init(jax.random.key(0), x)
