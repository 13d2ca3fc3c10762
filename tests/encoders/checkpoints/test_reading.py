"""Every format gives back the arrays that were written."""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from dalib.core.checks import InputError
from dalib.encoders.pretrained import read_arrays
from tests.encoders.checkpoints import pickled


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, x in wanted.items():
        assert found[key].dtype == x.dtype, key
        np.testing.assert_array_equal(found[key], x, err_msg=key)


def write_numpy(path, arrays, protocol):
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    return path


WRITERS = {
    "torch zip": pickled.torch_zip,
    "torch legacy": pickled.torch_legacy,
    "safetensors": lambda path, arrays: save_file(arrays, path) or path,
    "npz": lambda path, arrays: np.savez(path.open("wb"), **arrays) or path,
    "numpy pickle, protocol 2": lambda path, arrays: write_numpy(path, arrays, 2),
    "numpy pickle, protocol 4": lambda path, arrays: write_numpy(path, arrays, 4),
    "numpy pickle, protocol 5": lambda path, arrays: write_numpy(path, arrays, 5),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_arrays_come_back(writer, tmp_path):
    arrays = pickled.example()
    same(read_arrays(WRITERS[writer](tmp_path / "file", arrays)), arrays)


@pytest.mark.parametrize("write", [pickled.torch_zip, pickled.torch_legacy])
def test_a_training_checkpoint_gives_its_net(write, tmp_path):
    arrays = {"a": np.arange(3, dtype=np.float32)}
    inside = {"module.w": pickled.tensor("0", arrays["a"], legacy=write is pickled.torch_legacy)}
    extra = {"state_dict": inside, "epoch": 3, "best": None, "optimizer": {"state": [1, 2]}}
    same(read_arrays(write(tmp_path / "f", arrays, extra=extra)), {"module.w": arrays["a"]})


def test_strides_offsets_and_shared_storages(tmp_path):
    base = np.arange(24, dtype=np.float32)
    views = {
        "transposed": pickled.tensor("0", base, size=(6, 4), stride=(1, 6)),
        "part": pickled.tensor("0", base, size=(2, 3), stride=(6, 2), offset=7),
        "empty": pickled.tensor("0", base, size=(0, 3), stride=(3, 1)),
        "parameter": pickled.call(
            pickled.name("torch._utils", "_rebuild_parameter"), pickled.tensor("0", base), True, pickled.ORDERED
        ),
    }
    found = read_arrays(pickled.torch_zip(tmp_path / "f", {"base": base}, extra=views))
    np.testing.assert_array_equal(found["transposed"], base.reshape(4, 6).T)
    np.testing.assert_array_equal(found["part"], base.reshape(4, 6)[1:3, 1::2])
    np.testing.assert_array_equal(found["parameter"], base)
    assert found["empty"].shape == (0, 3)
    assert np.shares_memory(found["base"], found["part"])


def test_lists_are_counted_and_text_is_left_out(tmp_path):
    content = {"conv1": [np.ones((2, 2)), np.zeros(2)], "note": "text", "order": np.ones((2, 3), order="F")}
    same(read_arrays(write_numpy(tmp_path / "f", content, 3)), {
        "conv1.0": np.ones((2, 2)), "conv1.1": np.zeros(2), "order": np.ones((2, 3)),
    })  # fmt: skip
    np.savez(tmp_path / "g.npz", w=np.ones(2), names=np.array(["a", "b"]))
    assert list(read_arrays(tmp_path / "g.npz")) == ["w"]


def test_safetensors_are_mapped_not_read(tmp_path):
    save_file({"w": np.ones((3, 2), np.float32), "v": np.zeros(2, np.float16)}, tmp_path / "f")
    found = read_arrays(tmp_path / "f")
    base = found["w"]
    while not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    assert isinstance(base, np.memmap) and not found["w"].flags.writeable


def test_folders_whole_and_in_shards(tmp_path):
    arrays = {"a": np.ones(2, np.float32), "b": np.zeros((2, 2), np.float32)}
    save_file(arrays, tmp_path / "model.safetensors")
    same(read_arrays(tmp_path), arrays)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="one of model.safetensors"):
        read_arrays(tmp_path)
    index = {"a": "one.safetensors", "b": "two.safetensors"}
    for key, file in index.items():
        save_file({key: arrays[key]}, tmp_path / file)
    listing = tmp_path / "model.safetensors.index.json"
    listing.write_text(json.dumps({"weight_map": index}))
    same(read_arrays(tmp_path), arrays)
    for wrong, message in (
        ({**index, "c": "two.safetensors"}, "shards of .* without c"),
        ({"a": "one.safetensors", "b": "one.safetensors"}, "without b"),
        ({"a": "../one.safetensors"}, "beside the index"),
    ):
        listing.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(InputError, match=message):
            read_arrays(tmp_path)
