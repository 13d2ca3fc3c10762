"""tensorflow-datasets without TensorFlow: an own builder, prepared on the spot."""

import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dalib.core.checks import InputError
from dalib.data import from_tfds, paired_stream
from dalib.data.readers.images import eval_transform
from tests.data import tiny_builder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    builder = tiny_builder.TinyShapes(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return str(folder)


def test_prepared_builder(prepared):
    domain = from_tfds("tiny", "tiny_shapes", data_dir=prepared)
    assert domain.class_names == tuple(tiny_builder.CLASSES)
    assert {split: len(source) for split, source in domain.splits.items()} == {"train": 9, "test": 3}
    np.testing.assert_array_equal(domain.counts("train"), [3, 3, 3])
    inputs, labels = domain.split("train").__getitems__([4, 0])
    numbers = [int(x[0, 0, 0]) for x in inputs]
    assert labels.dtype == np.int32 and labels.tolist() == [n % 3 for n in numbers]
    for x, n in zip(inputs, numbers, strict=True):
        np.testing.assert_array_equal(x, tiny_builder.image(n))
    everything, _ = domain.split("train").__getitems__(np.arange(9))
    assert sorted(int(x[0, 0, 0]) for x in everything) == list(range(9))
    np.testing.assert_array_equal(domain.labels("train"), domain.split("train").__getitems__(range(9))[1])


def test_instructions_and_fingerprints(prepared):
    builder = tfds.builder("tiny_shapes", data_dir=prepared, file_format="array_record")
    parts = from_tfds("tiny", builder, splits={"train": "train[:6]", "test": "train[6:]"})
    assert (len(parts.split("train")), len(parts.split("test"))) == (6, 3)
    again = from_tfds("tiny", "tiny_shapes", data_dir=prepared, splits={"train": "train[:6]", "test": "train[6:]"})
    assert parts.fingerprint() == again.fingerprint()
    assert parts.split("train").fingerprint() != parts.split("test").fingerprint()


def test_through_the_stream(prepared):
    domain = from_tfds("tiny", "tiny_shapes", data_dir=prepared)
    view = eval_transform(8)
    stream = paired_stream(domain, domain, batch_size=3, seed=0, source_transform=view, target_transform=view)
    batches = list(stream.batches(0, 3, threads=2))
    assert batches[0].source.inputs.shape == (3, 8, 8, 3)
    assert sorted(np.concatenate([b.source.labels for b in batches]).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_tensorflow_stays_away(prepared):
    from_tfds("tiny", "tiny_shapes", data_dir=prepared).split("train").__getitems__([0])
    assert "tensorflow" not in sys.modules


def test_refused(prepared, tmp_path):
    with pytest.raises(InputError, match="builder(.|\n)*no_such_set"):
        from_tfds("d", "no_such_set", data_dir=prepared)
    with pytest.raises(InputError, match="download_and_prepare"):
        from_tfds("d", "tiny_shapes", data_dir=str(tmp_path))
    with pytest.raises(InputError, match="download_and_prepare"):
        from_tfds("d", "tiny_shapes", data_dir=str(tmp_path), splits={"train": "train"})
    with pytest.raises(InputError, match=r"splits\['train'\](.|\n)*'trian'"):
        from_tfds("d", "tiny_shapes", data_dir=prepared, splits={"train": "trian"})
    with pytest.raises(InputError, match="did you mean 'image'"):
        from_tfds("d", "tiny_shapes", data_dir=prepared, image_key="imgae")
    with pytest.raises(InputError, match="ClassLabel"):
        from_tfds("d", "tiny_shapes", data_dir=prepared, label_key="size")
