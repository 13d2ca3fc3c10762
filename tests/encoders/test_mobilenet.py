"""MobileNets, EfficientNets, ConvNeXt: published sizes, hidden activations, padding, rematerialisation, depth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.layers.inverted_residual import divisible, drop_path, last_of_stages
from dalib.encoders.layers.layers import conv
from dalib.encoders.registry import make_encoder
from dalib.encoders.vision import efficientnet
from tests.encoders.fill import filled

IMAGE = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
# Parameters with 1000 classes: torchvision's weights say so; the Lite ones are counted in the published files.
QUICK = {"mobilenet_v3_small": 2542856}
REST = {
    "convnext_tiny": 28589128,
    "mobilenet_v2": 3504872,
    "mobilenet_v3_large": 5483032,
    "efficientnet_b0": 5288548,
    "efficientnet_b1": 7794184,
    "efficientnet_b2": 9109994,
    "efficientnet_b3": 12233232,
    "efficientnet_b4": 19341616,
    "efficientnet_lite0": 4652008,
    "efficientnet_lite1": 5416680,
    "efficientnet_lite2": 6092072,
    "convnext_small": 50223688,
    "convnext_base": 88591464,
}
COUNTS = [*QUICK.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in REST.items())]


@pytest.mark.parametrize("name, count", COUNTS)
def test_published_numbers_of_parameters(name, count):
    variables = jax.eval_shape(make_encoder(name, num_classes=1000).init, jax.random.key(0), IMAGE)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_sides_of_the_stages_and_logits():
    encoder = make_encoder("mobilenet_v3_small", num_classes=5)
    x = jax.ShapeDtypeStruct((2, 65, 97, 3), jnp.float32)
    outputs = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)[0]
    assert outputs.features.shape == (2, 1024)
    assert outputs.logits.shape == (2, 5)
    sides = {name: h.shape[1:3] for name, h in outputs.hidden.items() if name != "pool"}
    expected = {"stem": (33, 49), "stage1": (17, 25), "stage2": (9, 13), "stage3": (5, 7), "stage4": (3, 4)}
    assert sides == expected | {"last": (3, 4)}


def test_same_padding_of_an_even_side_is_behind():
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype(np.float32)
    nets = [conv(3, 3, stride=2, padding="SAME", form=form, use_bias=False) for form in ("library", "patches")]
    variables = nets[0].init(jax.random.key(1), x)
    library, patches = (net.apply(variables, x) for net in nets)
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = conv(3, 3, stride=2, use_bias=False).apply(variables, padded)
    np.testing.assert_allclose(library, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(patches, expected, rtol=1e-5, atol=1e-6)


SMALL = {
    "efficientnet_b0": {"stages": (efficientnet.Stage(6, 3, 1, 8, 2),), "width": 0.25, "drop_path": 0.0},
    "convnext_tiny": {"depths": (2,), "widths": (4,), "drop_path": 0.0},
}


@pytest.mark.parametrize("name", SMALL)
def test_remat_keeps_less_under_the_same_names(name):
    """What the backward pass keeps is in the leaves of the function that runs it; its compilation says little, since
    XLA on a CPU merges what is computed again."""
    x = jnp.ones((2, 64, 64, 3))
    plain = make_encoder(name, **SMALL[name])
    shapes, kept = [], []
    for encoder in (plain, plain.clone(remat=True)):
        variables = jax.eval_shape(encoder.init, jax.random.key(0), x)
        apply = functools.partial(encoder.apply, train=True, mutable=["batch_stats"])
        backward = lambda v, apply=apply: jax.vjp(lambda v: apply(v, x)[0].features, v)[1]  # noqa: E731
        shapes.append(variables)
        kept.append(sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(backward, variables))))
    assert shapes[0] == shapes[1]
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_remat_changes_no_values(name):
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    plain = make_encoder(name, **SMALL[name])
    variables = filled(plain, x)
    results = []
    for encoder in (plain, plain.clone(remat=True)):

        def loss(params, encoder=encoder):
            state = {**variables, "params": params}
            outputs, changed = encoder.apply(state, x, train=True, mutable=["batch_stats"])
            return jnp.sum(outputs.features**2), changed

        results.append(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(results[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * scale), *results)


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return drop_path(x, 0.25, train=train)

    x = jnp.ones((4000, 2, 1, 3))
    out = np.asarray(Net().apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    first = out[:, :1, :1, :1]
    np.testing.assert_array_equal(out, np.broadcast_to(first, out.shape))
    np.testing.assert_allclose(np.unique(first), [0, 1 / 0.75], rtol=1e-6)
    assert abs(first.mean() - 1) < 0.04
    np.testing.assert_array_equal(Net().apply({}, x, False), x)


def test_channels_are_rounded_as_published():
    assert [divisible(c) for c in (1, 11, 12, 24 * 1.1, 40 * 1.1, 1280 * 1.4)] == [8, 16, 16, 24, 48, 1792]


def test_stages_end_where_the_resolution_changes():
    assert last_of_stages([1, 2, 1, 2, 1]) == {0: "stage1", 2: "stage2", 4: "stage3"}
    assert last_of_stages([2, 1]) == {1: "stage1"}


def test_wrong_fields_and_images_are_named():
    with pytest.raises(InputError, match="depths"):
        make_encoder("convnext_tiny", depths=(1, 1)).init(jax.random.key(0), jnp.ones((1, 64, 64, 3)))
    for name in ("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny"):
        with pytest.raises(InputError, match="at least 32×32"):
            make_encoder(name).init(jax.random.key(0), jnp.ones((1, 16, 16, 3)))
    with pytest.raises(InputError, match="num_classes"):
        small = make_encoder("efficientnet_b0", num_classes=-1, **SMALL["efficientnet_b0"])
        jax.eval_shape(small.init, jax.random.key(0), IMAGE)
