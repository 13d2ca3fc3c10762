"""Fuzzing of the readers of a user's arrays, lists and images: headers that lie, changed bytes, odd lines.

Whatever comes, a reader gives examples or our error: no other exception, no hang, and little more memory than twice
what the file declares. ``DALIB_FUZZ=N`` draws N examples a test instead of the short form's 150.
"""

import io
import os
import tempfile
import time
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.data.readers.files.maximum import to_bytes
from dalib.data.readers.files.npz import read_mat
from dalib.data.readers.images import read_image
from tests.run.own_data import read_one

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

fuzz = hypothesis.settings(
    max_examples=int(os.environ.get("DALIB_FUZZ", "150")),
    deadline=None,
    database=None,
    phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    suppress_health_check=list(hypothesis.HealthCheck),
)
SECONDS = 5.0
SLACK = 20 * 2**20  # what the decoder of an LZMA member takes for any file
DTYPES = ("<f8", ">f4", "<f2", "<i8", "|u1", "|b1", "<u2", "<c8", "<U3", "|S4", "|O", "<M8[s]", "|V5", "<f16")


@contextmanager
def held_to_promises(declared):
    """Runs a reader on a file that declares so many bytes."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        yield
    except InputError as error:
        assert len(str(error)) < 20_000 and str(error).count("\n") < 40, str(error)[:500]
        str(error).encode("utf-8", "surrogateescape")
    finally:
        seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < 2 * declared + SLACK, f"{peak:,} bytes for a file that declares {declared:,}"


def read_examples(path, **options):
    """Reads a place as the command does, up to the bytes of its images."""
    labelled = options.pop("labelled", True)
    raw = read_one(path, labelled=labelled, **options)
    if raw.kind == "images" and isinstance(raw.inputs, np.ndarray):
        (pictures,), _ = to_bytes([("here", raw.inputs)], {})
        assert pictures.dtype == np.uint8 and pictures.ndim == 4
    elif isinstance(raw.inputs, np.ndarray):
        assert raw.inputs.dtype == np.float32 and np.isfinite(raw.inputs).all()
    assert raw.labels is None or len(raw.labels) == len(raw.inputs)


choices = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([None, "vectors", "series", "images"]),
        "layout": st.sampled_from(["auto", "nct", "ntc"]),
        "labelled": st.booleans(),
        "real": st.booleans(),
    }
)


@st.composite
def arrays(draw, most):
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=most)))
    dtype = np.dtype(draw(st.sampled_from([name for name in DTYPES if name != "|O"])))
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=min(size, 64), max_size=min(size, 64))) if size else b""
    return np.frombuffer((data * (size // max(len(data), 1) + 1))[:size], dtype).reshape(shape)


@fuzz
@hypothesis.given(x=arrays(5), y=arrays(2), options=choices)
def test_archives_of_any_arrays(x, y, options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        np.savez(path, x=x, y=y)
        with held_to_promises(4 * (x.nbytes + y.nbytes)):
            read_examples(path, **options)


numbers = st.one_of(st.integers(-3, 12), st.sampled_from([2**31, 2**40, 2**62, 2**63, 2**64, 10**30]))
headers = st.builds(
    lambda descr, order, shape: repr({"descr": descr, "fortran_order": order, "shape": tuple(shape)}),
    st.one_of(st.sampled_from(DTYPES), st.text(max_size=6), st.just([("a", "<f8"), ("b", "|O")])),
    st.one_of(st.booleans(), st.none()),
    st.lists(numbers, max_size=4),
)
texts = st.one_of(headers, st.text(max_size=40), st.sampled_from(["(" * 3000, "[" * 90, "{'descr': 1", "9" * 9000]))


@fuzz
@hypothesis.given(
    header=texts,
    version=st.sampled_from([(1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (255, 255)]),
    length=st.one_of(st.none(), st.integers(0, 2**16 - 1)),
    body=st.binary(max_size=300),
    name=st.sampled_from(["x.npy", "x", "x.npy/", "../x.npy", "y.npy"]),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    options=choices,
)
def test_npy_headers_that_lie(header, version, length, body, name, method, options):
    text = header.encode("utf-8", "surrogatepass")
    size = len(text) if length is None else length
    member = b"\x93NUMPY" + bytes(version) + size.to_bytes(2 if version == (1, 0) else 4, "little") + text + body
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        with zipfile.ZipFile(path, "w", method) as packed:
            packed.writestr(name, member)
        with held_to_promises(4 * len(member)):
            read_examples(path, **options)


def changed(data):
    """Bytes of which some are replaced, cut out or repeated."""

    def change(edits):
        out = bytearray(data)
        for place, kind, value, length in edits:
            at = place % (len(out) + 1)
            if kind == 0:
                out[at : at + len(value)] = value
            elif kind == 1:
                del out[at : at + length]
            else:
                out[at:at] = out[at : at + length]
        return bytes(out)

    edit = st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.binary(min_size=1, max_size=4), st.integers(1, 60))
    return st.lists(edit, min_size=1, max_size=4).map(change)


def archive(compressed):
    out, y = io.BytesIO(), np.arange(6) % 2
    (np.savez_compressed if compressed else np.savez)(out, x=np.arange(48.0).reshape(6, 8), y=y)
    return out.getvalue()


@fuzz
@hypothesis.given(data=st.one_of(changed(archive(False)), changed(archive(True))), options=choices)
def test_archives_with_changed_bytes(data, options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        path.write_bytes(data)
        with held_to_promises(4 * len(data)):
            read_examples(path, **options)


def matlab():
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, {"fts": np.arange(48.0).reshape(6, 8), "labels": np.arange(6), "s": "text"}, do_compression=True)
    return out.getvalue()


@fuzz
@hypothesis.given(data=changed(matlab()))
def test_matlab_files_with_changed_bytes(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mat"
        path.write_bytes(data)
        with held_to_promises(64 * 2**20):  # up to which any file may unpack
            read_mat("table", path)


pieces = st.one_of(
    st.sampled_from(
        ["cat/0.png", "dog/1.png", "0", "1", "-1", "99999999999", "cat", " ", "\t", ",", "\n", "\r\n", '"']
    ),
    st.sampled_from(["..", "/", "/etc/passwd", "\\", "\0", "\ufeff", "é", "e\u0301", "\u2028", "\x1c", "~", "a b"]),
    st.text(max_size=5),
)
lists = st.one_of(
    st.lists(pieces, max_size=40).map("".join).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.sampled_from(
        [b"x " * 20_000, b"," * 9_000, b"\n" * 9_000, b"\xff\xfe", b"a\xff\xfe b", b"0 " * 3 + b"9" * 5_000]
    ),
)


@fuzz
@hypothesis.given(data=lists, labelled=st.booleans(), absolute=st.booleans())
def test_list_files_of_any_lines(data, labelled, absolute):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cat/0.png", "dog/1.png"):
            (Path(folder) / name).parent.mkdir()
            Image.new("RGB", (2, 2)).save(Path(folder) / name)
        path = Path(folder) / "list.txt"
        path.write_bytes(data)
        with held_to_promises(16 * len(data)):
            read_examples(path, labelled=labelled, absolute_paths=absolute)


def pictures():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 4), np.uint8)
    for form, mode in (
        ("png", "RGBA"),
        ("jpeg", "RGB"),
        ("gif", "P"),
        ("tiff", "RGB"),
        ("webp", "RGBA"),
        ("bmp", "RGB"),
    ):
        out = io.BytesIO()
        image = Image.fromarray(pixels).convert("RGB").convert(mode) if mode != "RGBA" else Image.fromarray(pixels)
        image.save(out, form, **({} if form in ("gif", "bmp") else {"exif": exif}))
        yield out.getvalue()


@fuzz
@hypothesis.given(data=st.one_of(*map(changed, pictures()), st.binary(max_size=60)))
def test_images_with_changed_bytes(data):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # Pillow's guard against bombs, lower
        path = Path(folder) / "a.png"
        path.write_bytes(data)
        with held_to_promises(32 * 2**20):
            assert read_image(path).dtype == np.uint8
