"""Vision transformers: published sizes, what the pooled features are, other grids, the doors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors

from dalib.core.checks import InputError
from dalib.encoders import ViT
from dalib.encoders.layers.positions import resample_positions
from dalib.encoders.registry import make_encoder
from tests.encoders.fill import filled

TINY = {"patch": 4, "width": 8, "depth": 1, "heads": 2, "image_size": 8}


def _images(height, width, n=2):
    return np.random.default_rng(0).normal(size=(n, height, width, 3)).astype(np.float32)


# Published counts of parameters; DINOv2's without the mask token (one row), which inference never uses.
@pytest.mark.parametrize(
    "name, fields, parameters, features",
    [
        pytest.param("vit_b16", {"num_classes": 1000}, 86_567_656, 768, marks=pytest.mark.slow),
        ("vit_b32", {"num_classes": 1000}, 88_224_232, 768),
        pytest.param("vit_l16", {"num_classes": 1000}, 304_326_632, 1024, marks=pytest.mark.slow),
        pytest.param("vit_s16", {"num_classes": 1000}, 22_050_664, 384, marks=pytest.mark.slow),
        pytest.param("deit_s16", {"num_classes": 1000}, 22_050_664, 384, marks=pytest.mark.slow),
        pytest.param("deit_b16", {"num_classes": 1000}, 86_567_656, 768, marks=pytest.mark.slow),
        pytest.param("dino_vits16", {}, 21_665_664, 384, marks=pytest.mark.slow),
        ("dino_vits8", {}, 21_670_272, 384),
        pytest.param("dino_vitb16", {}, 85_798_656, 768, marks=pytest.mark.slow),
        ("dinov2_vits14", {}, 22_056_576 - 384, 384),
        pytest.param("dinov2_vitb14", {}, 86_580_480 - 768, 768, marks=pytest.mark.slow),
        pytest.param("dinov2_vitl14", {}, 304_368_640 - 1024, 1024, marks=pytest.mark.slow),
        ("clip_vit_b32", {"projection": 512}, 87_849_216, 512),
        pytest.param("clip_vit_b16", {"projection": 512}, 86_192_640, 512, marks=pytest.mark.slow),
        pytest.param("clip_vit_l14", {"projection": 768}, 303_966_208, 768, marks=pytest.mark.slow),
    ],
)
def test_published_sizes(name, fields, parameters, features):
    encoder = make_encoder(name, **fields)
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    outputs, variables = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters
    assert outputs.features.shape == (1, features)
    assert (None if outputs.logits is None else outputs.logits.shape[1]) == fields.get("num_classes")
    patches = (224 // encoder.patch) ** 2
    assert all(h.shape == (1, 1 + patches, encoder.width) for h in outputs.hidden.values())


def test_features_are_the_class_token_or_the_mean_of_patches():
    x = _images(8, 8)
    token = ViT(**TINY)
    variables = filled(token, x)
    first = jax.jit(token.apply)(variables, x)
    np.testing.assert_array_equal(first.features, first.hidden["tokens"][:, 0])
    mean = jax.jit(ViT(**TINY, pooling="mean").apply)(variables, x)
    np.testing.assert_allclose(mean.features, np.asarray(first.hidden["tokens"])[:, 1:].mean(1), rtol=1e-5, atol=1e-6)
    # Sequence: class token first, then patches row by row, each with its position.
    kernel, bias = variables["params"]["patch_embed"]["kernel"], variables["params"]["patch_embed"]["bias"]
    patch = x[1, 4:8, 0:4].reshape(-1) @ kernel.reshape(-1, 8) + bias
    np.testing.assert_allclose(
        first.hidden["embedded"][1, 3], patch + variables["params"]["pos_embed"][3], rtol=1e-4, atol=1e-5
    )


def test_head_and_projection():
    x = _images(8, 8)
    net = ViT(**TINY, projection=5, num_classes=3)
    variables = filled(net, x)
    outputs = jax.tree.map(np.asarray, jax.jit(net.apply)(variables, x))
    params = variables["params"]
    np.testing.assert_allclose(
        outputs.features, outputs.hidden["tokens"][:, 0] @ params["projection"]["kernel"], rtol=1e-4, atol=1e-5
    )
    expected = outputs.features @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-4, atol=1e-5)


def test_other_grids_use_the_same_variables():
    net = ViT(**TINY, resample="antialias")
    variables = filled(net, _images(8, 8))
    x = _images(13, 23)  # 3 × 5 whole patches
    changed = x.copy()
    changed[:, 12:] = changed[:, :, 20:] = 7  # beyond whole patches
    apply = jax.jit(net.apply)
    outputs = apply(variables, x)
    assert outputs.hidden["tokens"].shape == (2, 16, 8)
    np.testing.assert_array_equal(outputs.features, apply(variables, changed).features)
    blank = np.asarray(apply(variables, np.zeros_like(x)).hidden["embedded"][0])
    table = variables["params"]["pos_embed"]
    positions = np.asarray(resample_positions(jnp.asarray(table[1:]), (3, 5), "antialias"))
    expected = variables["params"]["patch_embed"]["bias"] + positions
    np.testing.assert_allclose(blank[1:], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(blank[0], variables["params"]["cls_token"] + table[0], rtol=1e-5, atol=1e-6)


def test_dropout_needs_a_key_in_training_alone():
    x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    for rate in ("dropout", "attention_dropout"):
        net = ViT(**TINY, **{rate: 0.3})
        variables = jax.eval_shape(net.init, jax.random.key(0), x)
        jax.eval_shape(functools.partial(net.apply, train=False), variables, x)
        with pytest.raises(errors.InvalidRngError):
            jax.eval_shape(functools.partial(net.apply, train=True), variables, x)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"pooling": "tokens"}, "did you mean 'token'"),
        ({"resample": "corner", "image_size": 16}, "did you mean 'corners'"),
        ({"image_size": 3}, "at least one patch"),
        ({"heads": 3}, "divides the width"),
        ({"activation": "gellu"}, "did you mean 'gelu'"),
        ({"num_classes": -1}, "num_classes"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(ViT(**(TINY | fields)).init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))


def test_images_without_a_whole_patch_are_refused():
    with pytest.raises(InputError, match="4×4"):
        ViT(**TINY).init(jax.random.key(0), jnp.ones((1, 8, 3, 3)))
