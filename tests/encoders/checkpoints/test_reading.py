"""Every format gives back the arrays that were written."""

import argparse
import datetime
import functools
import json
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dalib.core.checks import InputError
from dalib.encoders.checkpoints.reading import WRAPPERS, read_arrays, read_checkpoint
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


class Own:
    """Any class of the user's: with a state, with items, with keys that are no names."""

    def __init__(self):
        self.history = {"a": [np.ones(2)], ("tuple",): 1}


class OwnDict(dict):
    pass


EXTRAS = {
    "argparse.Namespace": argparse.Namespace(lr=0.1, path=Path("x")),
    "pathlib.PosixPath": Path("x"),
    "datetime.date": datetime.date(2024, 1, 2),
    "numpy.dtype": np.dtype("float32"),
    "set": {1, "a"},
    f"{__name__}.Own": Own(),
    f"{__name__}.OwnDict": OwnDict(a=1),
    "numpy.ndarray of other than numbers": np.array(["cat", "dog"]),
    "functools.partial": functools.partial(np.mean, axis=0),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_next_to_arrays_are_passed_over_and_counted(protocol, tmp_path, caplog, monkeypatch):
    # It must not matter that these classes could be imported here.
    monkeypatch.setattr(Own, "__setstate__", lambda self, state: pytest.fail("executed"), raising=False)
    extras = {str(i): x for i, x in enumerate(EXTRAS.values())}
    counts = defaultdict(list, losses=[1.0, 2.0])
    content = {"state_dict": {"w": np.arange(3.0)}, "counts": counts, "args": extras, "best": np.float64(91.2)}
    content[(1, 2)] = "a key that is no name"
    found = read_checkpoint(write_numpy(tmp_path / "f", content, protocol))
    same(found.arrays, {"w": np.arange(3.0)})
    assert found.part == "state_dict" and set(found.left) == {"counts", "args"}
    assert {**found.passed} == {**dict.fromkeys(EXTRAS, 1), "tuple": 1}
    with caplog.at_level("WARNING"):
        read_arrays(tmp_path / "f")
    assert "10 objects passed over unread: argparse.Namespace, " in caplog.text
    assert "the arrays of state_dict are taken, left out: counts, args" in caplog.text


@pytest.mark.parametrize("write", [pickled.torch_zip, pickled.torch_legacy])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_torchs_own_objects(write, protocol, tmp_path):
    arrays = pickled.example()
    call, name, value = pickled.call, pickled.name, pickled.value
    extra = {
        "dtype": name("torch", "float32"),
        "device": call(name("torch", "device"), "cuda", 0),
        "set": call(name("__builtin__", "set"), ["a"]),
        "args": call(name("copy_reg", "_reconstructor"), name("argparse", "Namespace"), None) + value({"lr": 1}) + b"b",
        "module": name("torch.nn.modules.linear", "Linear") + b")\x81" + value({"a": [1]}) + b"b",
    }
    found = read_checkpoint(write(tmp_path / "f", arrays, extra=extra, protocol=protocol))
    same(found.arrays, arrays)
    assert {**found.passed} == dict.fromkeys(
        ["torch.float32", "set", "argparse.Namespace", "torch.nn.modules.linear.Linear"], 1
    )


def test_counters_and_long_histories_next_to_the_net(tmp_path):
    content = {
        "model": {"w": np.ones(2)},
        "step": np.array(7),
        "losses": [0.5] * 300_000,
        "lists": [[1, "x", None]] * 9,
    }
    found = read_checkpoint(write_numpy(tmp_path / "f", content, 4))
    same(found.arrays, {"w": np.ones(2)})
    assert found.left == ("step",)
    arrays = {"w": np.ones(2, np.float32)}
    content = {"net": {"w": pickled.tensor("0", arrays["w"])}, "epoch": pickled.tensor("1", np.array(3))}
    pickle_ = pickled.whole(content)
    same(read_arrays(pickled.torch_zip(tmp_path / "g", {**arrays, "epoch": np.array(3)}, pickle=pickle_)), arrays)


def test_a_whole_model_holds_no_arrays_for_us(tmp_path):
    write_numpy(tmp_path / "f", {"model": Own(), "epoch": 3}, 2)
    with pytest.raises(InputError, match=r"but objects of .*Own\n(.|\n)*save the model's state_dict"):
        read_arrays(tmp_path / "f")


@pytest.mark.parametrize("key", WRAPPERS)
def test_places_where_checkpoints_keep_the_net(key, tmp_path):
    inner = {"module.w": np.ones(2), "scale": {"g": np.zeros(1)}}
    wanted = {"module.w": np.ones(2), "scale.g": np.zeros(1)}
    optimizer = {"state": {0: {"exp_avg": np.ones(2)}}}
    for content in ({key: inner}, {"optimizer": optimizer, key: inner}, {"optimizer": optimizer, key: {"net": inner}}):
        same(read_arrays(write_numpy(tmp_path / "f", content, 2)), wanted)


def test_the_plain_net_comes_before_its_average_and_parts_stay_together(tmp_path):
    two = {"model_ema": {"w": np.zeros(1)}, "model": {"w": np.ones(1)}}
    found = read_checkpoint(write_numpy(tmp_path / "f", two, 2))
    same(found.arrays, {"w": np.ones(1)})
    assert found.left == ("model_ema",)
    for whole in ({"params": {"w": np.ones(1)}, "batch_stats": {"m": np.ones(1)}},
                  {"state_dict": {"net": {"w": np.ones(1)}, "head": {"m": np.ones(1)}}}):  # fmt: skip
        assert len(read_arrays(write_numpy(tmp_path / "f", whole, 2))) == 2


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
        ({"a": "../one.safetensors"}, "in the same folder"),
    ):
        listing.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(InputError, match=message):
            read_arrays(tmp_path)
