"""Features kept in the cache: the same as computed, found again, torn files made again, weights kept apart."""

import jax
import numpy as np
import pytest

from dalib.encoders.registry import make_encoder
from dalib.run.own import features
from dalib.run.own.features import BLOCK, Pretrained, feature_function, fingerprint, text_features
from dalib.run.own.inputs import LENGTH, WORDS, word_vectors


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path))
    encoder = make_encoder("bert_tiny", vocabulary=50, width=8, depth=1, heads=2, mlp_width=8, positions=80)
    ids = np.ones((2, 4), np.int32)
    return Pretrained(encoder, jax.jit(encoder.init)(jax.random.key(0), ids), None)


def test_texts_of_all_lengths_keep_their_places(model, tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 50, (BLOCK + 6, 70), dtype=np.int32)
    for i, length in enumerate(rng.integers(1, 71, len(ids))):
        ids[i, length:] = 0
    found = text_features(feature_function(model), ids, 0)
    plain = jax.jit(lambda x: model.encoder.apply(model.variables, x, train=False).features)(ids)
    np.testing.assert_allclose(found, plain, atol=1e-5)
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:90])
    again = text_features(feature_function(model), ids, 0)
    np.testing.assert_array_equal(found, again)
    assert sorted(tmp_path.rglob("*.npy")) == files


def test_what_is_there_is_not_computed_again(model, monkeypatch):
    x = np.ones((3, 4), np.int32)
    first = feature_function(model)(x)
    monkeypatch.setattr(features.jax, "jit", lambda f: pytest.fail)
    np.testing.assert_array_equal(feature_function(model)(x), first)


def test_other_weights_or_fields_have_other_fingerprints(model):
    other = jax.tree.map(lambda leaf: leaf + 1, model.variables)
    cls = model.encoder.clone(normalize=True)
    prints = {fingerprint(m) for m in (model, model._replace(variables=other), model._replace(encoder=cls))}
    assert len(prints) == 3


def test_texts_become_rows_of_one_length_whatever_their_number_of_words():
    found = word_vectors(["good", "a good book, a very good book", "bad"])
    assert found.shape == (3, WORDS) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), LENGTH, rtol=1e-6)
    assert found[0] @ found[1] > 0 == found[0] @ found[2]
