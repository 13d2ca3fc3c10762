"""The paired stream: a pure function of (seed, step, process)."""

import inspect

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Source, Target
from dalib.data import Domain, from_arrays, from_folder, paired_stream
from dalib.data.order import EndlessOrder, endless_order
from dalib.data.readers.images import train_transform


def domain(name, n, *, offset=0):
    """Example i has the inputs (i + offset, −i) and the label i mod 3."""
    i = np.arange(n)
    return from_arrays(name, {"train": (np.stack([i + offset, -i], 1).astype(np.float32), i % 3)})


SOURCE, TARGET = domain("source", 20), domain("target", 7, offset=1000)


def ids(batches, which="source"):
    return np.concatenate([getattr(batch, which).inputs[:, 0] for batch in batches]).astype(int)


def equal(one, two):
    """The same batch in every leaf: inputs, labels and rows."""
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip((*one.source, *one.target), (*two.source, *two.target), strict=True)
    )


def test_batches_are_of_the_shared_types_with_rows_aligned():
    batch = paired_stream(SOURCE, TARGET, batch_size=4, target_batch_size=3, seed=0)[5]
    assert isinstance(batch, Batch) and isinstance(batch.source, Source) and isinstance(batch.target, Target)
    assert batch.source.inputs.shape == (4, 2) and batch.target.inputs.shape == (3, 2)
    np.testing.assert_array_equal(batch.source.labels, batch.source.inputs[:, 0] % 3)
    np.testing.assert_array_equal(batch.source.inputs[:, 0], -batch.source.inputs[:, 1])
    assert batch.source.labels.dtype == np.int32
    assert (batch.target.inputs[:, 0] >= 1000).all()


def test_pure_function_of_seed_and_step():
    one = paired_stream(SOURCE, TARGET, batch_size=4, seed=3)
    two = paired_stream(SOURCE, TARGET, batch_size=4, seed=3)
    backwards = {step: two[step] for step in reversed(range(200))}
    assert all(equal(one[step], backwards[step]) for step in range(200))
    other = paired_stream(SOURCE, TARGET, batch_size=4, seed=4)
    assert not np.array_equal(ids([one[0], one[1]]), ids([other[0], other[1]]))


@pytest.mark.parametrize("batch_size", [4, 5, 7])
def test_every_example_once_an_epoch_and_epochs_differ(batch_size):
    stream = paired_stream(SOURCE, TARGET, batch_size=batch_size, seed=0)
    steps = range(20 * 7)
    for which, n, offset in (("source", 20, 0), ("target", 7, 1000)):
        seen = ids([stream[s] for s in steps], which)
        epochs = seen[: len(seen) // n * n].reshape(-1, n)
        np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(n) + offset, (len(epochs), 1)))
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_domains_are_shuffled_independently():
    twin = domain("twin", 20, offset=0)
    stream = paired_stream(SOURCE, twin, batch_size=20, seed=0)
    assert all(not np.array_equal(ids([stream[s]]), ids([stream[s]], "target")) for s in range(5))
    alone = paired_stream(SOURCE, TARGET, batch_size=5, seed=0)
    np.testing.assert_array_equal(ids([alone[s] for s in range(8)]), ids([stream[s] for s in range(2)]))


def test_drop_leaves_out_the_partial_batch_of_each_epoch():
    stream = paired_stream(SOURCE, TARGET, batch_size=6, seed=0, remainder="drop")
    wrap = paired_stream(SOURCE, TARGET, batch_size=6, seed=0)
    assert (stream.steps_per_epoch, wrap.steps_per_epoch) == (3, 4)
    left_out = set()
    for epoch in range(30):
        seen = ids([stream[3 * epoch + s] for s in range(3)])
        assert len(set(seen)) == 18
        left_out |= set(range(20)) - set(seen)
    assert left_out == set(range(20))
    # The first epoch is the same walk in both policies; the target drops by its own length, 7 − 6.
    np.testing.assert_array_equal(ids([stream[s] for s in range(3)]), ids([wrap[s] for s in range(3)]))
    assert all(len(set(ids([stream[s]], "target"))) == 6 for s in range(20))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("remainder", ["wrap", "drop"])
def test_slices_of_the_processes_make_the_whole_batch(count, remainder):
    options = dict(batch_size=8, target_batch_size=4, seed=1, remainder=remainder)
    jitter = {"source_transform": lambda x, rng: x + rng.normal(), "target_transform": lambda x, rng: x + rng.normal()}
    whole = paired_stream(SOURCE, TARGET, **options, **jitter)
    parts = [
        paired_stream(SOURCE, TARGET, process_index=p, process_count=count, **options, **jitter) for p in range(count)
    ]
    for step in (0, 1, 2, 17):
        pieces = [part[step] for part in parts]
        assert all(piece.source.inputs.shape[0] == 8 // count for piece in pieces)
        np.testing.assert_array_equal(np.concatenate([p.source.inputs for p in pieces]), whole[step].source.inputs)
        np.testing.assert_array_equal(np.concatenate([p.source.labels for p in pieces]), whole[step].source.labels)
        np.testing.assert_array_equal(np.concatenate([p.target.inputs for p in pieces]), whole[step].target.inputs)


def test_a_process_reads_its_own_rows_only():
    read = {"source": [], "target": []}

    class Watched:
        def __init__(self, which, split):
            self.which, self.split = which, split

        def __len__(self):
            return len(self.split)

        def __getitems__(self, indices):
            read[self.which] += map(int, indices)
            return self.split.__getitems__(indices)

        def fingerprint(self):
            return ""

    watched = [Domain(d.name, d.class_names, {"train": Watched(d.name, d.split("train"))}) for d in (SOURCE, TARGET)]
    batch = paired_stream(*watched, batch_size=6, seed=0, process_index=1, process_count=3)[2]
    assert read == {"source": ids([batch]).tolist(), "target": (ids([batch], "target") - 1000).tolist()}
    assert len(read["source"]) == len(read["target"]) == 2


def test_target_labels_cannot_be_reached():
    """Permuting or removing the target's labels changes nothing; the batch has no place for them."""
    rng = np.random.default_rng(0)
    x, y = TARGET.split("train").inputs, TARGET.split("train").labels
    streams = [
        paired_stream(
            SOURCE, from_arrays("target", {"train": (x, labels)}, class_names=["a", "b", "c"]), batch_size=4, seed=0
        )
        for labels in (y, rng.permutation(y), None)
    ]
    for step in range(10):
        batches = [stream[step] for stream in streams]
        assert equal(batches[0], batches[1]) and equal(batches[0], batches[2])
    assert Target._fields == ("inputs", "rows")
    assert not any("label" in name for name in dir(streams[0]) + list(inspect.signature(Target).parameters))


def test_unlabelled_source_is_refused():
    unlabelled = from_arrays("s", {"train": (np.ones((4, 2)), None)}, class_names=["a"])
    with pytest.raises(InputError, match="unlabelled example in s/train"):
        paired_stream(unlabelled, TARGET, batch_size=2, seed=0)[0]


def test_random_transforms_repeat_on_seeking_and_differ_between_epochs_and_domains():
    def noise(x, rng):
        return np.append(x, rng.normal()).astype(np.float32)

    def make(seed=0):
        return paired_stream(SOURCE, SOURCE, batch_size=5, seed=seed, source_transform=noise, target_transform=noise)

    first = [make()[step] for step in range(12)]
    assert equal(first[9], make()[9])
    drawn = np.concatenate([[*b.source.inputs[:, 2], *b.target.inputs[:, 2]] for b in first])
    assert len(np.unique(drawn)) == len(drawn)
    assert not equal(first[0], make(seed=1)[0])


@pytest.mark.parametrize("threads", [0, 2])
def test_batches_in_order_and_resumable(threads):
    stream = paired_stream(SOURCE, TARGET, batch_size=4, seed=0)
    got = list(stream.batches(3, 40, threads=threads, prefetch=4))
    assert len(got) == 37
    assert all(equal(batch, stream[step]) for step, batch in enumerate(got, 3))
    assert list(stream.batches(5, 5, threads=threads)) == []
    endless = stream.batches(7, threads=threads)
    assert all(equal(next(endless), stream[step]) for step in range(7, 30))


def test_decoding_in_threads(tmp_path):
    from PIL import Image

    for i in range(6):
        folder = tmp_path / f"class{i % 2}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8 + i, 9), (i, 0, 0)).save(folder / f"{i}.png")
    images = from_folder("images", tmp_path)
    view = train_transform(7)
    stream = paired_stream(images, images, batch_size=4, seed=0, source_transform=view, target_transform=view)
    got = list(stream.batches(0, 6, threads=3))
    assert got[0].source.inputs.shape == (4, 7, 7, 3) and got[0].source.inputs.dtype == np.float32
    assert all(equal(batch, stream[step]) for step, batch in enumerate(got))
    raw = paired_stream(images, images, batch_size=4, seed=0)
    with pytest.raises(InputError, match=r"several|one shape"):
        raw[0]
    with pytest.raises(InputError, match="one shape"):
        list(raw.batches(0, 2, threads=2))


def test_cost_of_a_step_does_not_grow_with_the_step():
    """One permutation an epoch is drawn, and kept; far seeking draws one more."""
    drawn = []
    order = endless_order(1000, batch_size=64, seed=0, domain=0)

    def permutation(epoch):
        drawn.append(epoch)
        return order.permutation(epoch)

    counted = EndlessOrder(1000, 64, "wrap", permutation)
    counted.rows(counted.positions(10**9))
    assert len(drawn) <= 2
    before = order.permutation.cache_info().misses
    for step in range(10**6, 10**6 + 16):
        order.rows(order.positions(step))
    assert order.permutation.cache_info().misses - before <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=8), "batch_size: got 8 for target/train with 7 examples"),
        (dict(batch_size=21, target_batch_size=4), "batch_size: got 21 for source/train with 20"),
        (dict(batch_size=4, target_batch_size=8), "target_batch_size: got 8"),
        (dict(batch_size=0), "batch_size: got 0"),
        (dict(batch_size=2.0), "batch_size"),
        (dict(batch_size=4, seed=-1), "seed"),
        (dict(batch_size=4, remainder="pad"), "'wrap' or 'drop'"),
        (dict(batch_size=4, process_index=2, process_count=2), "process_index"),
        (dict(batch_size=5, process_count=2), "5 over 2 processes"),
        (dict(batch_size=4, split="trian"), "did you mean 'train'"),
    ],
)
def test_refused(options, message):
    with pytest.raises(InputError, match=message):
        paired_stream(SOURCE, TARGET, **{"seed": 0, **options})


def test_bad_steps_are_refused():
    stream = paired_stream(SOURCE, TARGET, batch_size=4, seed=0)
    with pytest.raises(InputError, match="step"):
        stream[-1]
    for bad in (dict(threads=-1), dict(prefetch=0), dict(start=-1)):
        with pytest.raises(InputError, match="batches"):
            stream.batches(**bad)


OTHER, THIRD = domain("other", 9, offset=100), domain("third", 13, offset=200)


def test_several_sources_are_interleaved_each_in_its_own_endless_order():
    stream = paired_stream([SOURCE, OTHER, THIRD], TARGET, batch_size=6, seed=1)
    batches = [stream[step] for step in range(9 * 13)]
    for i, (n, offset) in enumerate(((20, 0), (9, 100), (13, 200))):
        seen = np.concatenate([batch.source.inputs[i::3, 0] for batch in batches]).astype(int)
        epochs = seen[: len(seen) // n * n].reshape(-1, n)
        np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(n) + offset, (len(epochs), 1)))
    for batch in batches[:5]:
        np.testing.assert_array_equal(batch.source.labels, -batch.source.inputs[:, 1] % 3)
        assert batch.source.labels.dtype == np.int32 and batch.source.inputs.dtype == np.float32
    assert stream.steps_per_epoch == 10
    # The first source runs as it would alone, and the target does not notice the sources.
    alone = paired_stream(SOURCE, TARGET, batch_size=2, target_batch_size=6, seed=1)
    np.testing.assert_array_equal(ids(batches[:4])[::3], ids([alone[step] for step in range(4)]))
    np.testing.assert_array_equal(ids(batches[:4], "target"), ids([alone[step] for step in range(4)], "target"))


def test_several_sources_are_a_pure_function_of_the_step_and_one_in_a_list_is_one():
    stream = paired_stream((SOURCE, OTHER), TARGET, batch_size=4, seed=3)
    again = paired_stream((SOURCE, OTHER), TARGET, batch_size=4, seed=3)
    backwards = {step: again[step] for step in reversed(range(40))}
    assert all(equal(stream[step], backwards[step]) for step in range(40))
    assert all(equal(a, backwards[step]) for step, a in enumerate(stream.batches(5, 20, threads=2), 5))
    single, listed = (paired_stream(s, TARGET, batch_size=4, seed=3) for s in (SOURCE, [SOURCE]))
    assert all(equal(single[step], listed[step]) for step in range(20))


@pytest.mark.parametrize(("batch_size", "processes"), [(12, 2), (12, 3), (6, 2), (24, 4)])
def test_processes_split_several_sources_exactly(batch_size, processes):
    """Also where a process's first row is not of the first source: 6 rows of 2 sources over 2 processes."""

    def noise(x, rng):
        return np.append(x, rng.normal()).astype(np.float32)

    def make(index, count):
        return paired_stream(
            [SOURCE, domain("other", 14, offset=100)],
            domain("big", 30),
            batch_size=batch_size,
            seed=0,
            source_transform=noise,
            process_index=index,
            process_count=count,
        )

    whole, parts = make(0, 1), [make(i, processes) for i in range(processes)]
    for step in range(12):
        for part in ("inputs", "labels"):
            split = np.concatenate([getattr(p[step].source, part) for p in parts])
            np.testing.assert_array_equal(split, getattr(whole[step].source, part))


def test_sources_that_do_not_fit_are_refused():
    classes = from_arrays(
        "renamed", {"train": (np.zeros((9, 2), np.float32), np.arange(9) % 3)}, class_names=("a", "b", "c")
    )
    wide = from_arrays("wide", {"train": (np.zeros((9, 4), np.float32), np.arange(9) % 3)})
    for sources, options, message in (
        ([SOURCE, OTHER, THIRD], dict(batch_size=4), "4 over 3 sources"),
        ([SOURCE, OTHER], dict(batch_size=20), "batch_size: got 10 for other/train with 9"),
        ([SOURCE, OTHER], dict(batch_size=2, process_count=2), "some have no row"),
        ([], dict(batch_size=2), "empty sequence"),
        ([SOURCE, "other"], dict(batch_size=2), "str"),
        ([SOURCE, SOURCE], dict(batch_size=2), "different names"),
        ([SOURCE, classes], dict(batch_size=2), "other class names in 'renamed'"),
    ):
        with pytest.raises(InputError, match=message):
            paired_stream(sources, TARGET, seed=0, **{"target_batch_size": 4, **options})
    with pytest.raises(InputError, match="one shape and dtype"):
        paired_stream([SOURCE, wide], TARGET, batch_size=4, seed=0)[0]
    unlabelled = from_arrays("u", {"train": (np.zeros((4, 2), np.float32), None)}, class_names=SOURCE.class_names)
    with pytest.raises(InputError, match="unlabelled example in u/train"):
        paired_stream([SOURCE, unlabelled], TARGET, batch_size=4, seed=0)[0]
