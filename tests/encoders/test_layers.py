"""The two forms of a convolution are one function; the pool is the library's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dalib.checks import InputError
from dalib.encoders.layers import conv, convolution_as_matrix, max_pool_2x2


@pytest.mark.parametrize("stride, padding, side", [(1, 0, (8, 8)), (2, 2, (9, 7)), (5, 0, (17, 11)), (5, 1, (13, 8))])
def test_patches_equal_the_library_forward_and_backward(stride, padding, side):
    x = np.random.default_rng(0).normal(size=(3, *side, 4)).astype(np.float32)
    nets = {form: conv(6, 5, stride=stride, padding=padding, form=form) for form in ("library", "patches")}
    variables = nets["library"].init(jax.random.key(1), x)
    shape = jax.eval_shape(nets["library"].apply, variables, x).shape
    weights = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    def value(form):
        scalar = jax.value_and_grad(lambda v, x: jnp.sum(weights * nets[form].apply(v, x)), argnums=(0, 1))
        return jax.jit(scalar)(variables, x)

    same_variables = nets["patches"].init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, variables, same_variables)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), value("library"), value("patches")
    )


def test_patches_equal_the_library_in_float64():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        x, kernel = random.normal(size=(2, 9, 8, 3)), random.normal(size=(3, 3, 3, 5))
        padding = ((1, 1), (1, 1))
        expected = lax.conv_general_dilated(x, kernel, (2, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        ours = jax.jit(lambda x, kernel: convolution_as_matrix(x, kernel, (2, 1), padding))(x, kernel)
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_patches_refuse_what_they_cannot_do():
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 2, 4))
    with pytest.raises(InputError, match="grouped"):
        convolution_as_matrix(x, kernel, (1, 1), ((0, 0), (0, 0)), feature_group_count=2)
    with pytest.raises(InputError, match="library"):
        convolution_as_matrix(x, jnp.ones((3, 3, 4, 4)), (1, 1), ((0, 0), (0, 0)), rhs_dilation=(2, 2))


def test_unknown_form_is_named():
    with pytest.raises(InputError, match="patches"):
        conv(4, 3, form="patch")


def test_pool_equals_the_librarys():
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 7, 6, 3)).astype(np.float32)
    weights = random.normal(size=(2, 3, 3, 3)).astype(np.float32)

    def value(pool):
        return jax.jit(jax.value_and_grad(lambda x: jnp.sum(weights * pool(x))))(x)

    expected = value(lambda x: nn.max_pool(x, (2, 2), (2, 2)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), value(max_pool_2x2), expected)
