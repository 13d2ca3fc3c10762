"""Evaluation passes: constant shape, every example exactly once."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import EvaluationBatch, UnlabelledBatch, evaluation_batches, from_arrays, unlabelled_batches

N = 10
DOMAIN = from_arrays("d", {"test": (np.arange(N, dtype=np.float32)[:, None], np.arange(N) % 4)})


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 16, 25])
def test_mask_counts_each_example_exactly_once(batch_size):
    batches = evaluation_batches(DOMAIN, "test", batch_size)
    assert len(batches) == -(-N // batch_size)
    for _ in range(2):  # a pass can be repeated
        seen = []
        for batch in batches:
            assert isinstance(batch, EvaluationBatch)
            assert batch.inputs.shape == (batch_size, 1) and batch.labels.shape == batch.mask.shape == (batch_size,)
            assert batch.mask.dtype == bool and batch.labels.dtype == np.int32
            np.testing.assert_array_equal(batch.labels, batch.inputs[:, 0] % 4)
            seen.extend(batch.inputs[batch.mask, 0])
        np.testing.assert_array_equal(seen, np.arange(N))


def test_unlabelled_pass_is_the_same_without_labels():
    pairs = zip(unlabelled_batches(DOMAIN, "test", 4), evaluation_batches(DOMAIN, "test", 4), strict=True)
    for one, two in pairs:
        assert isinstance(one, UnlabelledBatch) and one._fields == ("inputs", "mask")
        np.testing.assert_array_equal(one.inputs, two.inputs)
        np.testing.assert_array_equal(one.mask, two.mask)


def test_transform_and_its_randomness_depend_on_the_row_alone():
    def noisy(x, rng):
        return x + rng.uniform()

    one = np.concatenate([b.inputs[b.mask] for b in evaluation_batches(DOMAIN, "test", 3, noisy)])
    two = np.concatenate([b.inputs[b.mask] for b in evaluation_batches(DOMAIN, "test", 7, noisy)])
    np.testing.assert_array_equal(one, two)
    assert (np.floor(one[:, 0]) == np.arange(N)).all() and len(np.unique(one % 1)) == N


@pytest.mark.parametrize("passed", [evaluation_batches, unlabelled_batches])
def test_processes_read_their_own_rows(passed):
    """Put together they are the batch; what others read is zero, labels and mask are whole."""
    noisy = {"transform": lambda x, rng: x + 1 + rng.uniform()}
    parts = [passed(DOMAIN, "test", 6, process_index=p, process_count=3, **noisy) for p in range(3)]
    for whole, *own in zip(passed(DOMAIN, "test", 6, **noisy), *parts, strict=True):
        np.testing.assert_array_equal(sum(batch.inputs for batch in own), whole.inputs)
        for p, batch in enumerate(own):
            assert batch.inputs[2 * p : 2 * p + 2].all() and np.count_nonzero(batch.inputs) == 2
            for a, b in zip(batch[1:], whole[1:], strict=True):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="multiple of the number of processes"):
        passed(DOMAIN, "test", 5, process_index=0, process_count=3)


def test_refused():
    for size in (0, -1, 2.0, True):
        with pytest.raises(InputError, match="batch_size"):
            evaluation_batches(DOMAIN, "test", size)
    with pytest.raises(InputError, match="split"):
        unlabelled_batches(DOMAIN, "tset", 3)
    unlabelled = from_arrays("u", {"test": (np.ones((3, 1)), None)}, class_names=["a"])
    assert len(list(unlabelled_batches(unlabelled, "test", 2))) == 2
    with pytest.raises(InputError, match="without labels in u/test"):
        list(evaluation_batches(unlabelled, "test", 2))
