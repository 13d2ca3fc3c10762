"""The forms of a convolution are one function; the pool is the library's."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dalib.core.checks import InputError
from dalib.encoders.layers.convolution import CACHED, convolution_as_matrix, convolution_by_size, convolution_canonical
from dalib.encoders.layers.layers import conv, max_pool_2x2

FORMS = ("library", "canonical", "patches")
GEOMETRY = [
    (1, 0, (8, 8), 5),
    (1, 1, (8, 9), 1),
    (2, 2, (9, 7), 5),
    (2, 3, (10, 13), 4),
    (5, 0, (17, 11), 4),
    (5, 1, (13, 8), 4),
]


@pytest.mark.parametrize("stride, padding, side, channels", GEOMETRY)
def test_all_forms_equal_the_library_forward_and_backward(stride, padding, side, channels):
    x = np.random.default_rng(0).normal(size=(3, *side, channels)).astype(np.float32)
    nets = {form: conv(6, 5, stride=stride, padding=padding, form=form) for form in FORMS}
    variables = nets["library"].init(jax.random.key(1), x)
    shape = jax.eval_shape(nets["library"].apply, variables, x).shape
    weights = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    def value(form):
        scalar = jax.value_and_grad(lambda v, x: jnp.sum(weights * nets[form].apply(v, x)), argnums=(0, 1))
        return jax.jit(scalar)(variables, x)

    expected = value("library")
    for form in FORMS[1:]:
        jax.tree.map(np.testing.assert_array_equal, variables, nets[form].init(jax.random.key(1), x))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), expected, value(form))


def test_patches_equal_the_library_in_float64():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        x, kernel = random.normal(size=(2, 9, 8, 3)), random.normal(size=(3, 3, 3, 5))
        padding = ((1, 1), (1, 1))
        expected = lax.conv_general_dilated(x, kernel, (2, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        ours = jax.jit(lambda x, kernel: convolution_as_matrix(x, kernel, (2, 1), padding))(x, kernel)
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_canonical_gradients_are_canonical_convolutions_in_a_loop_too():
    """XLA on a CPU has no fast path for any other layout where it does not bring it about itself."""

    def body(carry, _):
        x, kernel = carry
        pull = jax.vjp(lambda *both: convolution_canonical(*both, (2, 2), ((1, 1), (1, 1))), x, kernel)[1]
        return jax.tree.map(lambda a, b: a - 0.1 * b, carry, pull(jnp.ones((2, 4, 4, 6)))), None

    def loop(x, kernel):
        return lax.scan(body, (x, kernel), None, length=3)[0]

    text = str(jax.make_jaxpr(loop)(jnp.ones((2, 8, 8, 5)), jnp.ones((3, 3, 5, 6))))
    layouts = re.findall(r"ConvDimensionNumbers\(\s*lhs_spec=(.*?), rhs_spec=(.*?), out_spec=(.*?)\)\s", text)
    # Forward, gradient of x, gradient of the kernel.
    assert layouts == [("(0, 3, 1, 2)", "(3, 2, 0, 1)", "(0, 3, 1, 2)")] * 3


def test_canonical_in_forward_mode_and_twice():
    random = np.random.default_rng(0)
    x, kernel, direction = (jnp.asarray(random.normal(size=s)) for s in ((2, 6, 5, 5), (3, 3, 5, 4), (2, 6, 5, 5)))

    def slope(convolve):
        """Forward over reverse, as virtual adversarial training needs it."""

        def loss(x, kernel):
            return jnp.sum(jnp.tanh(convolve(x, kernel, (1, 1), ((1, 1), (1, 1)))) ** 2)

        def along(kernel):
            return jax.jvp(lambda x: loss(x, kernel), (x,), (direction,))[1]

        return jax.value_and_grad(along)(kernel)

    def library(*arguments):
        return lax.conv_general_dilated(*arguments, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, slope(convolution_canonical), slope(library))


def test_the_automatic_form_goes_by_the_size_of_the_patches():
    def program(form, batch):
        net = conv(4, 3, padding=1, form=form)
        x = jax.ShapeDtypeStruct((batch, 32, 32, 8), jnp.float32)
        variables = jax.eval_shape(net.init, jax.random.key(0), x)
        return str(jax.make_jaxpr(net.apply)(variables, x))

    most = CACHED // (32 * 32 * 9 * 8 * 4)
    assert program("auto", most) == program("patches", most) != program("canonical", most)
    assert program("auto", most + 1) == program("canonical", most + 1)


def test_canonical_hands_groups_and_dilations_to_the_library():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    for fields in ({"feature_group_count": 2}, {"kernel_dilation": 2}):
        nets = [
            nn.Conv(4, (3, 3), conv_general_dilated=form, **fields)
            for form in (None, convolution_canonical, convolution_by_size)
        ]
        variables = nets[0].init(jax.random.key(0), x)
        expected, *others = (net.apply(variables, x) for net in nets)
        for other in others:
            np.testing.assert_array_equal(expected, other)


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
