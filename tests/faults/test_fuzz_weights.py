"""Fuzzing of the readers of weights: bytes that were changed at random, opcodes and headers that no library writes.

Whatever comes, a reader gives named arrays or our error: no other exception, no hang, and no more memory than twice the
file. ``DALIB_FUZZ=N`` draws N examples a test instead of the short form's 300.
"""

import json
import os
import pickle
import struct
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from dalib.core.checks import InputError
from dalib.encoders.checkpoints.reading import read_checkpoint
from tests.encoders.checkpoints import pickled
from tests.encoders.checkpoints.pickled import name, value

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
pytestmark = pytest.mark.slow

fuzz = hypothesis.settings(
    max_examples=int(os.environ.get("DALIB_FUZZ", "300")),
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
SECONDS = 5.0
SLACK = 4 * 2**20  # what Python's own readers take for any file


def read(data, *, suffix="f"):
    """Reads the bytes as a checkpoint and holds the reader to its promises."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / suffix
        path.write_bytes(data)
        tracemalloc.start()
        began = time.perf_counter()
        try:
            found = read_checkpoint(path)
            assert found.arrays and all(isinstance(x, np.ndarray) for x in found.arrays.values())
            for x in found.arrays.values():  # views must be inside what they view
                x.sum() if x.dtype.kind in "biufc" and x.size < 10**6 else None
        except InputError as error:
            assert len(str(error)) < 3000 and str(error).count("\n") < 24, str(error)[:500]
        finally:
            seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert seconds < SECONDS
        assert peak < 2 * len(data) + SLACK, f"{peak:,} bytes for a file of {len(data):,}"


def originals():
    arrays = pickled.example()
    wide = {"a.weight": np.arange(4000.0), "b": np.ones((30, 20), np.float32), "c": np.zeros(0)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        for protocol in (2, 4):
            yield pickled.torch_zip(path, arrays, protocol=protocol).read_bytes()
            yield pickled.torch_legacy(path, arrays, protocol=protocol).read_bytes()
        np.savez(path.with_suffix(".npz"), **wide)
        yield path.with_suffix(".npz").read_bytes()
        np.savez_compressed(path.with_suffix(".npz"), **wide)
        yield path.with_suffix(".npz").read_bytes()
    for protocol in (2, 3, 4, 5):
        yield pickle.dumps({"model": wide, "lists": [[1, 2.5, "x"], {"y": None}], "dtype": np.dtype("f4")}, protocol)
    yield save({**wide, "h": np.ones(3, np.float16)}, {"format": "pt"})


ORIGINALS = list(originals())
BYTES = st.one_of(st.binary(min_size=0, max_size=12), st.sampled_from([b"\xff" * 8, bytes(8), b"\x80\x04\x95"]))
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), BYTES), min_size=1, max_size=6)


@fuzz
@hypothesis.given(st.sampled_from(range(len(ORIGINALS))), CHANGES, st.floats(0, 2))
def test_changed_bytes(which, changes, cut):
    data = bytearray(ORIGINALS[which])
    for place, removed, added in changes:
        at = int(place * len(data))
        data[at : at + removed] = added
    read(bytes(data[: int(cut * len(data))] if cut < 1 else data))


WORDS = [
    b"N", b"(", b")", b"]", b"}", b"\x8f", b"0", b"1", b"2", b"\x85", b"\x86", b"\x87", b"t", b"l", b"d", b"s", b"u",
    b"a", b"e", b"\x90", b"\x91", b"R", b"b", b"o", b"\x81", b"\x92", b"\x93", b"\x94", b"Q", b"q\x00", b"q\x01",
    b"h\x00", b"h\x01", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"K\x07", b"J\xff\xff\xff\xff", b"G" + b"\x7f" * 8,
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x8a\xff" + b"\x7f" * 255, b"\x82\x01", b"P0\n", b"I01\n",
    b"I" + b"9" * 50 + b"\n",
    b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"C\x04abcd",
    b"\x96\x04" + bytes(7) + b"abcd",
    b"(isubprocess\nPopen\n", b"(iargparse\nNamespace\n", value("w"), value("storage"), value("0"), value("cpu"),
    value("f4"), value("latin1"), value((2, 3)), value({"w": None}), pickled.ORDERED,
    *(name(*spelled.rsplit(".", 1)) for spelled in (
        "argparse.Namespace", "builtins.set", "builtins.eval", "posix.system", "collections.OrderedDict",
        "collections.defaultdict", "torch.FloatStorage", "torch.Size", "torch.device", "torch.float32",
        "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch._tensor._rebuild_from_type_v2",
        "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer", "_codecs.encode", "copy_reg._reconstructor",
    )),
]  # fmt: skip


@fuzz
@hypothesis.given(st.lists(st.sampled_from(WORDS), max_size=60), st.sampled_from(["plain", "zip", "legacy"]))
def test_opcodes_in_any_order(words, form):
    body = b"".join(words)
    if form == "plain":
        read(b"\x80\x04" + body + b".")
        return
    with tempfile.TemporaryDirectory() as folder:
        write = pickled.torch_zip if form == "zip" else pickled.torch_legacy
        # Inside a mark, so that the stream goes on after whatever the words leave on the stack.
        extra = {"x": b"(" + body + b"t"}
        try:
            data = write(Path(folder) / "f", pickled.example(), extra=extra).read_bytes()
        except ValueError:  # the words do not end with an opcode's argument
            hypothesis.reject()
    read(data)


@fuzz
@hypothesis.given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(max_size=8)
        | st.binary(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=6) | st.integers() | st.tuples(st.integers()), inner, max_size=4)
            | st.frozensets(st.integers(), max_size=3)
        ),
        max_leaves=20,
    ),
    st.integers(2, 5),
)
def test_any_plain_data_next_to_an_array(extra, protocol):
    data = pickle.dumps({"state_dict": {"w": np.ones(3)}, "extra": extra}, protocol)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        assert list(read_checkpoint(path).arrays) == ["w"]
    read(data)


JSON = st.recursive(
    st.none() | st.integers(-3, 2**64) | st.text(max_size=5) | st.sampled_from(["F32", "BF16", "F8_E4M3", "BOOL"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "w", "__metadata__"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@fuzz
@hypothesis.given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    st.sampled_from(["F32", "F16", "I64", "BOOL", "F8_E5M2", "U8"]),
    st.lists(st.integers(0, 5), max_size=4),
    st.integers(-2, 2),
    st.integers(-9, 9),
)
def test_headers_of_safetensors(others, dtype, shape, shift, change):
    sizes = {"F32": 4, "F16": 2, "I64": 8, "BOOL": 1, "F8_E5M2": 1, "U8": 1}
    count = int(np.prod(shape)) * sizes[dtype] + max(shift, 0)
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, count + min(shift, 0)]}, **others})
    read(struct.pack("<q", len(header) + change) + header.encode() + bytes(count))


@fuzz
@hypothesis.given(
    st.lists(
        st.tuples(st.sampled_from(["f/data.pkl", "f/data/0", "w.npy", "f/byteorder", "x"]), st.binary(max_size=60)),
        max_size=5,
    )
)
def test_zips_of_anything(members):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in dict(members).items():
                archive.writestr(member, data)
        data = path.read_bytes()
    read(data)


@fuzz
@hypothesis.given(
    st.one_of(JSON, st.dictionaries(st.just("weight_map"), st.dictionaries(st.text(max_size=5), st.text(max_size=9))))
)
def test_indices_of_shards(index):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.safetensors.index.json").write_text(json.dumps(index))
        Path(folder, "w").write_bytes(save({"w": np.ones(1)}))
        try:
            read_checkpoint(folder)
        except InputError as error:
            assert len(str(error)) < 3000
