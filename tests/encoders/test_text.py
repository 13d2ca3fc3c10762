"""Encoders of token ids: what padding, positions and pooling do, and the published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import BERT, GPT2
from dalib.encoders.registry import make_encoder
from tests.encoders.fill import filled

SIZES = {"vocabulary": 13, "width": 8, "depth": 2, "heads": 2, "positions": 12}
IDS = np.array([[3, 4, 5, 6], [7, 8, 0, 0]], np.int32)


@functools.cache
def _bert(**fields):
    encoder = BERT(**SIZES, mlp_width=8, **fields)
    return encoder, filled(encoder, IDS), jax.jit(encoder.apply)


PARAMETERS = {
    "bert_base": 109_482_240,
    "bert_large": 335_141_888,
    "bert_tiny": 4_385_920,
    "roberta_base": 124_645_632,
    "distilbert_base": 66_362_880,
    "minilm_l6": 22_713_216,
    "minilm_l12": 33_360_000,
    "gpt2": 124_439_808,
    "gpt2_medium": 354_823_168,
}
"""As transformers counts its models, with the pooler where the architecture has one."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name):
    fields = {} if name.startswith(("distil", "gpt2")) else {"pooling": "pooler"}
    encoder = make_encoder(name, **fields)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 3), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == PARAMETERS[name]


def test_padding_changes_nothing():
    for fields in ({}, {"pooling": "mean"}):
        _, variables, apply = _bert(**fields)
        short = apply(variables, IDS[1:, :2])
        padded = apply(variables, IDS)
        np.testing.assert_allclose(padded.features[1], short.features[0], atol=1e-5)
        np.testing.assert_allclose(padded.hidden["tokens"][1, :2], short.hidden["tokens"][0], atol=1e-5)


def test_mean_and_unit_length():
    encoder, variables, _ = _bert(pooling="mean")
    outputs = jax.jit(encoder.clone(normalize=True).apply)(variables, IDS)
    tokens = np.asarray(outputs.hidden["tokens"])
    mean = np.stack([tokens[0].mean(0), tokens[1, :2].mean(0)])
    np.testing.assert_allclose(outputs.features, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)


def test_positions_of_roberta_skip_padding():
    encoder = BERT(**SIZES, mlp_width=8, position_offset=2, pad_id=1, token_types=1)
    positions = encoder._positions(jnp.array([[True, True, False], [True, False, False]]))
    np.testing.assert_array_equal(positions, [[2, 3, 1], [2, 1, 1]])
    variables = {"params": jax.tree.map(np.zeros_like, filled(encoder, IDS)["params"])}
    table = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    variables["params"]["position_embeddings"]["embedding"] = table
    variables["params"]["embeddings_norm"]["scale"] = np.ones(8, np.float32)
    embedded = jax.jit(encoder.apply)(variables, np.array([[5, 6, 1]], np.int32)).hidden["embeddings"]
    expected = table[[2, 3, 1]]
    expected = (expected - expected.mean(1, keepdims=True)) / expected.std(1, keepdims=True)
    np.testing.assert_allclose(embedded[0], expected, atol=1e-4)


def test_gpt2_looks_to_the_left_only_and_takes_the_last_token():
    encoder = GPT2(**SIZES)
    ids = np.array([[3, 4, 5, 6], [7, 8, -1, -1]], np.int32)
    variables = filled(encoder, ids)
    apply = jax.jit(encoder.apply)
    outputs = apply(variables, ids)
    np.testing.assert_array_equal(outputs.features[0], outputs.hidden["tokens"][0, 3])
    np.testing.assert_array_equal(outputs.features[1], outputs.hidden["tokens"][1, 1])
    changed = apply(variables, np.where(ids == 6, 9, ids)).hidden["tokens"]
    np.testing.assert_allclose(changed[0, :3], outputs.hidden["tokens"][0, :3], atol=1e-6)
    assert np.abs(changed[0, 3] - outputs.hidden["tokens"][0, 3]).max() > 1e-3


def test_ids_outside_the_vocabulary_are_not_hidden():
    _, variables, apply = _bert()
    outputs = apply(variables, np.where(IDS == 6, 13, IDS))
    assert np.isnan(outputs.features[0]).all()
    assert np.isfinite(outputs.features[1]).all()


def test_unit_length_of_zeros_has_a_finite_gradient():
    from dalib.encoders.text.bert import unit_length

    gradient = jax.grad(lambda x: jnp.sum(unit_length(x)))(jnp.zeros((1, 3)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "name, fields, inputs, message",
    [
        ("bert_tiny", {}, jnp.ones((2, 5)), "float32(.|\n)*dalib.data.encode"),
        ("bert_tiny", {}, jnp.ones((5,), jnp.int32), "rank 1"),
        ("bert_tiny", {}, jnp.ones((1, 513), jnp.int32), "513 tokens(.|\n)*512"),
        ("roberta_base", {}, jnp.ones((1, 513), jnp.int32), "513 tokens(.|\n)*512"),
        ("bert_tiny", {"pooling": "poler"}, jnp.ones((1, 5), jnp.int32), "did you mean 'pooler'"),
        ("gpt2", {"pooling": "cls"}, jnp.ones((1, 5), jnp.int32), "last, mean"),
        ("bert_tiny", {"heads": 3}, jnp.ones((1, 5), jnp.int32), "3 heads for a width of 128"),
    ],
)
def test_bad_input_is_named(name, fields, inputs, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(make_encoder(name, **fields).init, jax.random.key(0), inputs)
