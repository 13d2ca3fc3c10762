"""Which examples a batch holds: rows beside inputs, in every kind of stream. An example's input is its own row."""

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays, paired_stream, stream_rows

NAMES = ("a", "b", "c")


def counted(name, n, *, labels=True):
    """Example i has the inputs (i, its domain's size), and the label i mod 3."""
    i = np.arange(n)
    inputs = np.stack([i, np.full(n, n)], 1).astype(np.float32)
    return from_arrays(name, {"train": (inputs, i % 3 if labels else None)}, class_names=NAMES)


SOURCE, OTHER, TARGET, SHOTS = counted("source", 20), counted("other", 9), counted("target", 7), counted("shots", 5)


def check(batch):
    """Every row says which example is beside it; rows are int32."""
    for examples in filter(None, batch):
        assert examples.rows.dtype == np.int32
        np.testing.assert_array_equal(examples.inputs[:, 0], examples.rows)
    for examples in filter(None, (batch.source, batch.shots)):
        np.testing.assert_array_equal(examples.labels, examples.rows % 3)


def same_bits(one, two):
    """All leaves of two batches."""
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("remainder", ["wrap", "drop"])
@pytest.mark.parametrize("shots", [None, SHOTS], ids=["two streams", "with shots"])
def test_rows_are_those_of_the_examples(remainder, shots):
    stream = paired_stream(SOURCE, TARGET, batch_size=6, seed=1, remainder=remainder, shots=shots)
    seen = []
    for step in range(60):
        check(stream[step])
        seen.append(stream[step].target.rows)
    assert (stream[0].shots is None) == (shots is None)
    assert set(np.concatenate(seen)) == set(range(7))
    # A stream that goes on at a later step, as a resumed run asks for it, counts as before.
    for step, batch in enumerate(stream.batches(17, 40), 17):
        same_bits(batch, stream[step])


@pytest.mark.parametrize("threads", [0, 2])
def test_rows_of_several_sources_count_within_each(threads):
    stream = paired_stream([SOURCE, OTHER], TARGET, batch_size=6, seed=1, shots=SHOTS, shots_batch_size=2)
    for batch in stream.batches(5, 45, threads=threads):
        check(batch)
        # Example r is of source r mod 2, whose size is its second input.
        np.testing.assert_array_equal(batch.source.inputs[:, 1], [20, 9] * 3)
        assert batch.shots.inputs.shape == (2, 2) and (batch.shots.inputs[:, 1] == 5).all()


@pytest.mark.parametrize("remainder", ["wrap", "drop"])
@pytest.mark.parametrize("sources", [[SOURCE], [SOURCE, OTHER]], ids=["one source", "two sources"])
def test_two_processes_hold_the_rows_of_the_whole_batch(sources, remainder):
    def make(index, count):
        return paired_stream(
            sources,
            TARGET,
            batch_size=6,
            shots=SHOTS,
            shots_batch_size=4,
            seed=0,
            remainder=remainder,
            process_index=index,
            process_count=count,
        )

    whole, parts = make(0, 1), [make(i, 2) for i in range(2)]
    for step in range(25):
        pieces = [part[step] for part in parts]
        for piece in pieces:
            check(piece)
        same_bits(jax.tree.map(lambda *x: np.concatenate(x), *pieces), whole[step])


def test_a_transform_changes_the_inputs_and_not_the_rows():
    def noise(x, rng):
        return np.append(x, rng.normal()).astype(np.float32)

    options = dict(batch_size=6, seed=2, shots=SHOTS)
    viewed = paired_stream(SOURCE, TARGET, source_transform=noise, target_transform=noise, **options)
    plain = paired_stream(SOURCE, TARGET, **options)
    for step in range(20):
        check(viewed[step])
        assert viewed[step].shots.inputs.shape == (5, 3)
        for a, b in zip(viewed[step], plain[step], strict=True):
            np.testing.assert_array_equal(a.rows, b.rows)


def test_the_targets_labels_reach_no_leaf():
    """Shuffled, or taken away: all leaves of the batches stay bit for bit."""
    x, y = TARGET.split("train").inputs, TARGET.split("train").labels
    shuffled = np.random.default_rng(0).permutation(y)
    assert (shuffled != y).any()
    streams = [
        paired_stream(
            SOURCE, from_arrays("target", {"train": (x, labels)}, class_names=NAMES), batch_size=4, seed=0, shots=SHOTS
        )
        for labels in (y, shuffled, None)
    ]
    for step in range(30):
        first, *others = [stream[step] for stream in streams]
        for other in others:
            same_bits(first, other)


def test_shots_have_an_order_of_their_own_and_leave_the_others_alone():
    plain = paired_stream(SOURCE, TARGET, batch_size=5, seed=4)
    stream = paired_stream(SOURCE, TARGET, batch_size=5, seed=4, shots=SHOTS, shots_batch_size=3)
    for step in range(40):
        same_bits(stream[step]._replace(shots=None), plain[step])
    seen = np.concatenate([stream[step].shots.rows for step in range(5 * 40)])
    epochs = seen.reshape(-1, 5)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(5), (len(epochs), 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 50  # of 120 orders
    # Another order than that of a target, or of a second or third source, of the same size.
    twin = paired_stream(
        [counted(name, 5) for name in NAMES], counted("t", 5), batch_size=15, target_batch_size=5, seed=4
    )
    orders = [np.concatenate([twin[step].target.rows for step in range(40)])]
    orders += [np.concatenate([twin[step].source.rows[i::3] for step in range(40)]) for i in range(3)]
    assert not any(np.array_equal(order, seen[:200]) for order in orders)


def test_rows_alone_are_those_of_the_batches():
    batches = [paired_stream(SOURCE, TARGET, batch_size=6, seed=3, shots=SHOTS)[step] for step in range(4, 30)]
    found = stream_rows(20, 7, batch_size=6, shots_size=5, seed=3)(4, 30)
    assert len(found) == 3 and found[2].shape == (26, 5)
    for i, rows in enumerate(found):
        np.testing.assert_array_equal(rows, np.stack([batch[i].rows for batch in batches]))
    assert len(stream_rows(20, 7, batch_size=6, seed=3)(0, 2)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(shots=SHOTS, shots_batch_size=6), "shots_batch_size: got 6 for shots/train with 5"),
        (dict(shots=SHOTS, shots_batch_size=3, process_count=2), "shots_batch_size: got 3 over 2 processes"),
        (dict(shots=SHOTS, shots_batch_size=0), "shots_batch_size: got 0"),
        (dict(shots=from_arrays("s", {"train": (np.ones((4, 2)), np.arange(4))})), "other class names in 's'"),
    ],
)
def test_shots_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        paired_stream(SOURCE, TARGET, batch_size=4, seed=0, **options)
    with pytest.raises(InputError, match="shots_batch_size: got 6"):
        stream_rows(20, 7, batch_size=6, shots_size=5, shots_batch_size=6, seed=3)


def test_shots_without_labels_are_refused():
    stream = paired_stream(SOURCE, TARGET, batch_size=4, seed=0, shots=counted("bare", 5, labels=False))
    with pytest.raises(InputError, match="shots: got an unlabelled example in bare/train"):
        stream[0]
