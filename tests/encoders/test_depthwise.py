"""The two forms of a depthwise convolution are one function, in both modes of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dalib.core.checks import InputError
from dalib.encoders.layers.depthwise import depthwise, depthwise_as_taps

slow = pytest.mark.slow
GEOMETRIES = [
    ((9, 8), 3, 2, 1),
    pytest.param((8, 8), 3, 1, 1, marks=slow),
    pytest.param((7, 9), 5, 2, 2, marks=slow),
    pytest.param((8, 7), 4, 2, "SAME", marks=slow),
    pytest.param((6, 8), 3, 2, 0, marks=slow),
]


def library(x, kernel, stride, padding):
    pads = padding if isinstance(padding, str) else ((padding, padding), (padding, padding))
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=axes, feature_group_count=x.shape[-1]
    )


def taps(x, kernel, stride, padding):
    pads = padding if isinstance(padding, str) else ((padding, padding), (padding, padding))
    return depthwise_as_taps(x, kernel, (stride, stride), pads, feature_group_count=x.shape[-1])


@pytest.mark.parametrize("side, size, stride, padding", GEOMETRIES)
def test_taps_equal_the_library_with_all_derivatives(side, size, stride, padding):
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = random.normal(size=(2, *side, 3)), random.normal(size=(size, size, 1, 3))
        dx, dkernel = random.normal(size=x.shape), random.normal(size=kernel.shape)

        @jax.jit
        def everything(weights):
            results = []
            for form in (library, taps):
                value = lambda x, k, form=form: form(x, k, stride, padding)  # noqa: E731
                forward = jax.jvp(value, (x, kernel), (dx, dkernel))
                backward = jax.vjp(value, x, kernel)[1](weights)
                slope = lambda x, value=value: jnp.sum(jax.grad(lambda k: jnp.sum(value(x, k) ** 2))(kernel) ** 2)  # noqa: E731
                results.append((forward, backward, jax.grad(slope)(x)))
            return results

        expected, ours = everything(random.normal(size=library(x, kernel, stride, padding).shape))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-8), ours, expected)


def test_bfloat16_is_summed_in_float32():
    random = np.random.default_rng(0)
    x, kernel = (jnp.asarray(random.uniform(size=s), jnp.bfloat16) for s in ((1, 7, 7, 2), (7, 7, 1, 2)))
    exact = np.sum(np.asarray(x, np.float32) * np.asarray(kernel, np.float32)[None, :, :, 0], axis=(1, 2))
    ours = taps(x, kernel, 1, 0)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours[:, 0, 0], exact.astype(jnp.bfloat16))


def test_forms_have_the_same_parameters_and_are_as_asked():
    x = jnp.ones((1, 8, 8, 4))
    nets = {form: depthwise(4, 3, padding=1, form=form) for form in ("library", "patches", "auto")}
    variables = {form: jax.eval_shape(net.init, jax.random.key(0), x) for form, net in nets.items()}
    assert variables["library"] == variables["patches"] == variables["auto"]
    assert variables["library"]["params"]["kernel"].shape == (3, 3, 1, 4)
    programs = {form: str(jax.make_jaxpr(net.apply)(variables[form], x)) for form, net in nets.items()}
    assert "conv_general_dilated" in programs["library"]
    assert "conv_general_dilated" not in programs["patches"]
    assert programs["auto"] == programs["patches"]  # the tests run on a CPU


def test_what_it_cannot_do_is_refused():
    x = jnp.ones((1, 8, 8, 4))
    with pytest.raises(InputError, match="one kernel a channel"):
        depthwise_as_taps(x, jnp.ones((3, 3, 1, 8)), (1, 1), ((0, 0), (0, 0)), feature_group_count=4)
    with pytest.raises(InputError, match="library"):
        depthwise_as_taps(
            x, jnp.ones((3, 3, 1, 4)), (1, 1), ((0, 0), (0, 0)), feature_group_count=4, rhs_dilation=(2, 2)
        )
    with pytest.raises(InputError, match="did you mean 'patches'"):
        depthwise(4, 3, form="patch")
