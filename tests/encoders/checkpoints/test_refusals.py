"""Files that are damaged, or want more than to be read, are refused; nothing of them is executed, nothing is cached."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.pretrained import read_arrays
from tests.encoders.checkpoints import pickled
from tests.encoders.checkpoints.pickled import call, name, value, whole

ARRAYS = {"w": np.arange(6, dtype=np.float32)}


class Command:
    """A pickle of it runs a command where Python's own unpickler reads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def refuse(path, *parts):
    with pytest.raises(InputError) as error:
        read_arrays(path)
    for part in parts:
        assert part in str(error.value), error.value


@pytest.mark.parametrize("form", ["plain", "zip", "legacy"])
def test_a_command_is_named_and_not_run(form, tmp_path):
    trace = tmp_path / "executed"
    bad = pickle.dumps({"w": np.ones(2), "x": Command(trace)}, protocol=2)
    assert pickle.loads(bad) and trace.exists()  # it does run where it may
    trace.unlink()
    path = tmp_path / "file"
    inner = call(name("posix", "system"), f"touch {trace}")
    if form == "plain":
        path.write_bytes(bad)
    elif form == "zip":
        pickled.torch_zip(path, ARRAYS, extra={"x": inner})
    else:
        pickled.torch_legacy(path, ARRAYS, extra={"x": inner})
    refuse(path, "the global 'posix.system'", "nothing that would have to be executed")
    assert not trace.exists()


OPERATIONS = {
    "a module of the system": (name("subprocess", "Popen"), "the global 'subprocess.Popen'"),
    "an instance of one": (b"(isubprocess\nPopen\n", "the global 'subprocess.Popen'"),
    "a package inside one": (name("importlib.machinery", "SourceFileLoader"), "'importlib.machinery.SourceFileLoader'"),
    "attributes by name": (name("builtins", "getattr"), "the global 'builtins.getattr'"),
    "the older name of builtins": (name("__builtin__", "eval"), "the global '__builtin__.eval'"),
    "a registered extension": (b"\x82\x01", "the operation EXT1"),
    "a call of data": (call(value("text"), 1), "a call of str"),
    "attributes of data": (value("text") + value({"a": 1}) + b"b", "attributes of str"),
    "attributes of a function": (
        name("torch._utils", "_rebuild_tensor_v2") + value({"a": 1}) + b"b",
        "attributes of Global",
    ),
}


@pytest.mark.parametrize("what", OPERATIONS)
def test_operations_beyond_data(what, tmp_path):
    opcodes, message = OPERATIONS[what]
    refuse(pickled.torch_zip(tmp_path / "f", ARRAYS, extra={"x": opcodes}), message)


def test_an_object_outside_the_pickle(tmp_path):
    (tmp_path / "f").write_bytes(whole({"w": value("key") + b"Q"}))
    refuse(tmp_path / "f", "an object outside the pickle")


DAMAGED = {
    "a tensor beyond its storage": {"offset": 3},
    "a stride beyond its storage": {"stride": (2,)},
    "more elements than the storage": {"size": (6, 6), "stride": (0, 1)},
    "a negative offset": {"offset": -1},
    "sizes without strides": {"stride": ()},
}


@pytest.mark.parametrize("what", DAMAGED)
def test_tensors_outside_their_storage(what, tmp_path):
    refuse(pickled.torch_zip(tmp_path / "f", ARRAYS, **DAMAGED[what]), "damaged")


def test_few_bytes_cannot_ask_for_much(tmp_path):
    """Lengths, positions and references that would take all memory or time."""
    for opcodes in (
        b"\x8e" + (2**60).to_bytes(8, "little"),  # bytes of that length
        b"Nr" + (2**32 - 1).to_bytes(4, "little") + b".",  # a place of that number in the memo
        b"})K\x01s.",  # a tuple as a key; its hash could take forever
    ):
        (tmp_path / "f").write_bytes(b"\x80\x04" + opcodes)
        refuse(tmp_path / "f", str(tmp_path / "f"))
    nested = b"]q\x00"
    for i in range(40):  # each list holds the one before twice
        nested += b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
    (tmp_path / "f").write_bytes(b"\x80\x02}" + value("a") + nested + b"s.")
    refuse(tmp_path / "f", "more than 100000 entries")
    (tmp_path / "f").write_bytes(b"\x80\x02}q\x00" + value("a") + b"h\x00s.")  # a dictionary inside itself
    refuse(tmp_path / "f", "no named arrays")
    wide = b"](" + b"N" * 50_000 + b"eq\x00"
    (tmp_path / "f").write_bytes(b"\x80\x02}" + value("a") + wide + b"0](" + b"h\x00" * 50_000 + b"es.")
    refuse(tmp_path / "f", "more than 100000 entries")


def test_calls_that_would_take_all_memory_or_time(tmp_path):
    nested = b"]q\x00" + b"".join(b"0](h" + bytes([i, ord("h"), i]) + b"eq" + bytes([i + 1]) for i in range(60))
    storage = value(("storage", name("torch", "FloatStorage"), "0", "cpu", 6)) + b"Q"
    for opcodes in (
        call(
            name("numpy.core.numeric", "_frombuffer"), b"\x8a\x06" + bytes(5) + b"\x10", None, (1,), "C"
        ),  # bytes(2**44)
        nested + b"h\x3c" + b"\x93",  # a global with lists inside lists for a name
        call(name("torch._utils", "_rebuild_tensor_v2"), storage, 0, (2**30,) * 65, (0,) * 65),
    ):
        with pytest.raises(InputError) as error:
            read_arrays(pickled.torch_zip(tmp_path / "f", ARRAYS, extra={"x": opcodes}))
        assert len(str(error.value)) < 1000
    device = nested + b"0" + call(name("torch", "device"), b"h\x3c")  # its text would be endless
    assert list(read_arrays(pickled.torch_zip(tmp_path / "f", ARRAYS, extra={"x": device}))) == ["w"]


@pytest.mark.parametrize("write", [pickled.torch_zip, pickled.torch_legacy])
def test_truncated_files(write, tmp_path):
    path = write(tmp_path / "f", pickled.example())
    whole_file = path.read_bytes()
    for share in (0.2, 0.6, 0.97):
        path.write_bytes(whole_file[: int(share * len(whole_file))])
        refuse(path, "complete")


def test_truncated_safetensors_and_npz(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(100)}, tmp_path / "f")
    np.savez(tmp_path / "g.npz", w=np.ones(100))
    for file in ("f", "g.npz"):
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-300])
        refuse(tmp_path / file, "complete")
    np.savez(tmp_path / "g.npz", w=np.array([Command(tmp_path / "executed")], dtype=object))
    refuse(tmp_path / "g.npz", "numbers")
    assert not (tmp_path / "executed").exists()


def test_a_flipped_byte_in_a_storage(tmp_path):
    path = pickled.torch_zip(tmp_path / "f", ARRAYS)
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["w"].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    refuse(path, "CRC")


@pytest.mark.parametrize("member", ["../outside", "/absolute", "archive/../../outside", "..\\outside", "c:\\outside"])
def test_members_outside_the_archive(member, tmp_path):
    refuse(pickled.torch_zip(tmp_path / "f", ARRAYS, members={member: b"x"}), "members inside", repr(member))
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_member_that_unpacks_to_more_than_the_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "f", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", whole({"w": pickled.tensor("0", np.zeros(10**6, np.float32))}))
        archive.writestr("archive/data/0", bytes(4 * 10**6))
    refuse(tmp_path / "f", "more than the whole file")
    with zipfile.ZipFile(tmp_path / "g", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.npy", "w") as member:
        np.lib.format.write_array(member, np.zeros(2**25, np.float32))
    refuse(tmp_path / "g", "134,217,", "when unpacked")


def test_other_files(tmp_path):
    refuse(tmp_path / "absent", "exists")
    (tmp_path / "page").write_text("<html>404</html>")
    refuse(tmp_path / "page", "begins with", "page of an error")
    (tmp_path / "empty").write_bytes(b"")
    refuse(tmp_path / "empty", "begins with")
    (tmp_path / "text").write_bytes(whole({"a": "text"}))
    refuse(tmp_path / "text", "no named arrays")
