"""Features kept in the cache: the same as computed, found again, torn files made again, weights kept apart."""

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.readers.tabular.words import LENGTH, fit_words, word_vectors
from dalib.encoders.registry import make_encoder
from dalib.run.own import features
from dalib.run.own.features import BLOCK, Pretrained, feature_function, fingerprint, text_features


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


def test_texts_become_sparse_rows_of_one_length_whatever_their_number_of_words():
    texts = ["good", "a good book, a very good book", "bad"]
    sparse, notes = word_vectors("source", texts, fit_words(texts, 5000))
    assert not notes
    assert sparse.format == "csr" and sparse.nnz == 1 + 6 + 1
    found = sparse.toarray()
    assert found.shape == (3, 5000) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), LENGTH, rtol=1e-6)
    assert found[0] @ found[1] > 0 == found[0] @ found[2]


def test_words_weigh_what_the_source_and_nothing_else_tells():
    from sklearn.feature_extraction.text import TfidfVectorizer

    source, target = ["good book", "good film", "bad film film"], ["bad book book", "good"]
    words = fit_words(source, 1 << 20)
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(source)
    for texts in (source, target):
        found, wanted = word_vectors("x", texts, words)[0], LENGTH * theirs.transform(texts)
        known = texts if texts is source else texts[1:]  # "book book" is no pair of the source, so theirs lacks it
        rows = slice(len(texts) - len(known), None)
        ours, reference = (found @ found.T).toarray()[rows, rows], (wanted @ wanted.T).toarray()[rows, rows]
        np.testing.assert_allclose(ours, reference, rtol=1e-6)
    again, _ = word_vectors("x", target, fit_words(source + target, 1 << 20))
    assert abs(again - word_vectors("x", target, words)[0]).max() > 0.1


def test_texts_without_words_are_counted_and_none_at_all_is_an_error():
    texts = ["good", "!!!", "a b", "bad"]
    words = fit_words(texts, 64)
    found, notes = word_vectors("target t.csv", texts, words)
    assert np.diff(found.indptr).tolist() == [1, 0, 0, 1]
    assert notes == ["target t.csv: 2 of 4 texts have no word (rows 2, 3): zeros"]
    with pytest.raises(InputError, match="2 texts without a word"):
        word_vectors("target t.csv", texts[1:3], words)
