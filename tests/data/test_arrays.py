"""Domains and array sources: what they hold, and what they refuse."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import UNLABELLED, Domain, from_arrays
from dalib.data.domain import as_labels, split_labels, stratified_holdout
from dalib.data.matching import join
from dalib.data.readers.arrays import is_sparse


def domain(**kwargs):
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    y = np.array([0, 1, 2, 0, 1, 1], np.int64)
    return from_arrays("toy", {"train": (x, y), "test": (x[:2] + 100, y[:2])}, **kwargs)


def test_gather_in_the_asked_order_with_repeats():
    x, y = domain().split("train").__getitems__([5, 0, 5])
    np.testing.assert_array_equal(x, [[20, 21, 22, 23], [0, 1, 2, 3], [20, 21, 22, 23]])
    np.testing.assert_array_equal(y, [1, 0, 1])
    assert y.dtype == np.int32 and x.dtype == np.float32


def test_class_names_and_counts():
    assert domain().class_names == ("0", "1", "2")
    named = domain(class_names=["a", "b", "c", "d"])
    assert named.class_names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(named.counts("train"), [2, 3, 1, 0])
    np.testing.assert_array_equal(named.counts("test"), [1, 1, 0, 0])


def test_source_without_labels_attribute_is_read_in_chunks():
    class Plain:
        def __len__(self):
            return 2500

        def __getitems__(self, indices):
            assert len(indices) <= 1024
            return np.zeros((len(indices), 1)), np.asarray(indices, np.int32) % 7

        def fingerprint(self):
            return "plain"

    np.testing.assert_array_equal(split_labels(Plain()), np.arange(2500) % 7)


def test_fingerprint_sees_inputs_labels_names_and_shape():
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    y = np.array([0, 1, 2, 0, 1, 1])
    base = from_arrays("toy", {"train": (x, y)})
    assert base.fingerprint() == from_arrays("toy", {"train": (x.copy(), y.copy())}).fingerprint()
    changed = x.copy()
    changed[3, 2] += 1
    others = [
        from_arrays("other", {"train": (x, y)}),
        from_arrays("toy", {"test": (x, y)}),
        from_arrays("toy", {"train": (changed, y)}),
        from_arrays("toy", {"train": (x, y[::-1])}),
        from_arrays("toy", {"train": (x.reshape(6, 2, 2), y)}),
        from_arrays("toy", {"train": (x, y)}, class_names=["a", "b", "c"]),
    ]
    assert len({base.fingerprint(), *(d.fingerprint() for d in others)}) == 7
    assert len(base.fingerprint()) == 64


def test_inputs_cannot_be_changed_through_the_domain():
    with pytest.raises(ValueError, match="read-only"):
        domain().split("train").inputs[0] = 1


def test_bfloat16_and_jax_arrays():
    import jax.numpy as jnp

    for x in (np.ones((3, 2), ml_dtypes.bfloat16), jnp.ones((3, 2))):
        assert from_arrays("d", {"train": (x, np.arange(3))}).split("train").inputs.dtype == x.dtype
    x = np.ones((3, 2), ml_dtypes.bfloat16)
    x[1, 1] = np.nan
    with pytest.raises(InputError, match="row 1"):
        from_arrays("d", {"train": (x, np.arange(3))})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_inputs_name_domain_split_and_row(bad):
    x = np.zeros((9000, 3))
    x[8000, 1] = x[8500, 0] = bad
    with pytest.raises(InputError, match=r"cells/train(.|\n)*row 8000"):
        from_arrays("cells", {"train": (x, np.zeros(9000, int))})


X, Y = np.zeros((4, 2)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("splits", "class_names", "message"),
    [
        ({"train": (X, Y[:3])}, None, r"labels of d/train: got shape \(3,\)"),
        ({"train": (X, Y.astype(float))}, None, "dtype float64"),
        ({"train": (X, Y - 1)}, None, "label -1 in row 0"),
        ({"train": (X, Y)}, ["only"], "label 1 in row 1"),
        ({"train": (X[:0], Y[:0])}, None, r"shape \(0, 2\)"),
        ({"train": (np.array(["a"] * 4), Y)}, None, "dtype <U1"),
        ({"train": (X, Y)}, ["a", "a"], "repeated a"),
        ({"train": (X, Y)}, "ab", "class_names: got 'ab'(.|\n)*a list, each entry a word"),
        ({"train": X}, None, "pair"),
        ({}, ["a"], "splits"),
        ({"train": (X, None)}, None, "no labels"),
        ({"train": (X, Y + 2**31)}, ["a", "b"], "2147483648 in row 0"),
        ({"train": (X, np.array([0, 1, 2**32, 1]))}, None, "4294967296 in row 2"),
        ({"train": (X, np.array([0, 1, 99999999, 1]))}, None, "labels below 100,000"),
        ({"train": (X + 1j, Y)}, None, "dtype complex128"),
        ({"train": (X + [[0, 0], [0, 1e39], [0, 0], [0, 0]], Y)}, None, "too large for float32, first in row 1"),
        ({"train": (np.array([[1], [1], [2**31], [1]]), Y)}, None, "2147483648 in row 2"),
        ({"train": (X[:, :0], Y)}, None, r"shape \(4, 0\)"),
    ],
)
def test_refused(splits, class_names, message):
    with pytest.raises(InputError, match=message):
        from_arrays("d", splits, class_names=class_names)


def test_labels_of_any_source_do_not_wrap():
    np.testing.assert_array_equal(as_labels(np.array([-1, 2**31 - 1])), [-1, 2**31 - 1])
    with pytest.raises(InputError, match="2147483648 in row 1"):
        as_labels(np.array([0, 2**31]))
    with pytest.raises(InputError, match="4294967295 in row 0"):
        as_labels(np.array([2**32 - 1], np.uint32))


def test_empty_source_and_no_name_are_refused():
    class Empty:
        def __len__(self):
            return 0

    with pytest.raises(InputError, match="no examples in train of domain 'd'"):
        Domain("d", ("a",), {"train": Empty()})
    with pytest.raises(InputError, match="name"):
        from_arrays("", {"train": (X, Y)})


def test_unknown_split_says_did_you_mean():
    with pytest.raises(InputError, match="did you mean 'train'"):
        domain().split("trian")


def test_split_without_labels():
    unlabelled = from_arrays("d", {"train": (X, None)}, class_names=["a", "b"])
    assert (unlabelled.labels("train") == UNLABELLED).all()
    np.testing.assert_array_equal(unlabelled.counts("train"), [0, 0])


def test_stratified_holdout_keeps_proportions_and_is_deterministic():
    labels = np.repeat([0, 1, 2], [50, 20, 2])[np.random.default_rng(0).permutation(72)]
    kept, held = stratified_holdout(labels, 0.2, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(72))
    np.testing.assert_array_equal(np.bincount(labels[held]), [10, 4, 1])
    np.testing.assert_array_equal(held, stratified_holdout(labels, 0.2, seed=3)[1])
    assert not np.array_equal(held, stratified_holdout(labels, 0.2, seed=4)[1])
    for fraction in (0, 1, 1.5):
        with pytest.raises(InputError, match="holdout"):
            stratified_holdout(labels, fraction, seed=0)
    with pytest.raises(InputError, match="single example"):
        stratified_holdout(np.array([0, 0, 1]), 0.5, seed=0)
    with pytest.raises(InputError, match="seed"):
        stratified_holdout(labels, 0.2, seed=-1)


def test_importing_the_package_loads_no_heavy_library():
    heavy = ["grain", "tensorflow_datasets", "tensorflow", "PIL", "sklearn", "skimage", "mlxtend", "matplotlib"]
    code = f"import sys, dalib.data; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_sparse_rows_become_dense_when_they_are_read():
    from scipy import sparse

    x = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 0], [0, 3, 4]], np.float32)
    y = np.array([0, 1, 1, 0])
    made = [
        from_arrays("toy", {"train": (form(x), y)}) for form in (sparse.csr_matrix, sparse.coo_array, sparse.csc_array)
    ]
    for found in made:
        rows, labels = found.split("train").__getitems__([3, 0, 3])
        np.testing.assert_array_equal(rows, x[[3, 0, 3]])
        assert isinstance(rows, np.ndarray) and rows.dtype == np.float32 and labels.tolist() == [0, 0, 0]
    assert len({found.fingerprint() for found in made}) == 1
    twice = sparse.csr_array((np.ones(3, np.float32), ([0, 0, 1], [1, 1, 0])), (4, 3))
    assert from_arrays("toy", {"train": (twice, y)}).fingerprint() != made[0].fingerprint()
    forms = (("a", sparse.csr_matrix), ("b", sparse.csr_array))
    other = [
        from_arrays(name, {s: (form(x + i), y) for s in ("train", "test")}) for i, (name, form) in enumerate(forms)
    ]
    joined = join(other)
    assert is_sparse(joined.split("train").inputs) and len(joined.split("train")) == 8
    np.testing.assert_array_equal(joined.split("train").__getitems__(range(8))[0], np.concatenate([x, x + 1]))
    bad = sparse.csr_array(np.where(x == 4, np.nan, x))
    with pytest.raises(InputError, match="first in row 3"):
        from_arrays("toy", {"train": (bad, y)})
    with pytest.raises(InputError, match="sparse matrix of shape"):
        from_arrays("toy", {"train": (sparse.csr_array(x * 1j), y)})
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        from_arrays("toy", {"train": (sparse.csr_array(x), y[:3])})
