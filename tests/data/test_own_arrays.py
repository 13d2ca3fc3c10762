"""Archives of arrays: forms that could be read in two ways, types that lose something, and bombs."""

import io
import zipfile
import zlib

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.readers.files import npz
from dalib.data.readers.files.npz import read_mat, read_npz
from dalib.data.readers.places import place_of
from dalib.data.readers.tabular.tables import Source, read_tables
from tests.run.own_data import archive, read_one

Y = np.arange(4) % 2
rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    "x",
    [
        rng.integers(0, 255, (4, 28, 28), np.uint8),
        rng.integers(0, 255, (4, 32, 100), np.uint8),
        rng.random((4, 8, 8)),
        rng.random((4, 16, 9)),
        rng.integers(0, 2, (4, 8, 8)).astype(bool),
    ],
)
def test_arrays_that_could_be_images_or_series_are_a_question(tmp_path, x):
    path = archive(tmp_path / "a.npz", x, Y)
    with pytest.raises(InputError, match="images or series(.|\n)*--kind images or --kind series"):
        read_one(path)
    found = read_one(path, kind="images").inputs
    assert found.shape == (*x.shape, 1) and found.dtype == x.dtype
    assert read_one(path, kind="series", layout="ntc").inputs.dtype == np.float32


@pytest.mark.parametrize("x", [rng.normal(size=(4, 28, 28)), rng.random((4, 3, 28)), rng.random((4, 128, 9))])
def test_clear_series_need_no_option(tmp_path, x):
    x = x if x.shape[1] != x.shape[2] else x[:, :20]
    assert read_one(archive(tmp_path / "a.npz", x, Y)).kind == "series"


def test_series_as_long_as_wide_need_the_layout(tmp_path):
    path = archive(tmp_path / "a.npz", rng.normal(size=(4, 9, 9)), Y)
    with pytest.raises(InputError, match=r"series of shape \(4, 9, 9\)(.|\n)*--layout nct"):
        read_one(path)
    first, last = (read_one(path, layout=layout).inputs for layout in ("nct", "ntc"))
    np.testing.assert_array_equal(first, last.swapaxes(1, 2))


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (np.zeros((4, 3, 8, 8)), None, r"np.moveaxis\(x, 1, -1\)"),
        (np.zeros((4, 8, 8, 4)), None, "compose the transparency"),
        (np.zeros((4, 8, 8, 2)), None, "c = 1 or 3"),
        (np.zeros((4, 8)), "images", r"shape \(4, 8\), which is vectors(.|\n)*--kind"),
        (np.zeros((4, 8, 8, 1)), "series", "which is images"),
        (np.zeros((4, 8)) * 1j, None, "real numbers"),
        (np.array(["a"] * 4)[:, None], None, "real numbers"),
        (np.array([1, 2, 3, 4], "datetime64[s]")[:, None], None, "real numbers"),
        (np.array([(1, 2)] * 4, "i4,i4")[:, None], None, "real numbers"),
        (np.full((4, 2), 1e39), None, "too large for float32 in 4 rows"),
        (np.full((4, 2), np.longdouble("1e400")), None, "too large for float32 in 4 rows"),
        (np.float64(3), None, r"shape \(\)"),
    ],
)
def test_other_shapes_and_types_are_refused_with_a_remedy(tmp_path, x, kind, message):
    with pytest.raises(InputError, match=message):
        read_one(archive(tmp_path / "a.npz", x, Y), kind=kind)


def test_labels_keep_their_values(tmp_path):
    x = np.zeros((4, 2))
    for y, labels in [
        (np.array([0, 2**31, 2**32, 2**63 - 1]), ["0", "2147483648", "4294967296", "9223372036854775807"]),
        (np.array([b"a", "é".encode(), b"a", b"b"]), ["a", "é", "a", "b"]),
        (np.array(["e\u0301", "a", "a", "a"]), ["é", "a", "a", "a"]),
        (np.array([-1, 1, 1, -1], np.int8), ["-1", "1", "1", "-1"]),
    ]:
        assert read_one(archive(tmp_path / "a.npz", x, y)).labels == labels


def test_without_labels_y_is_not_even_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.array([{}], object))
    assert read_one(tmp_path / "a.npz", labelled=False).labels is None
    with pytest.raises(InputError, match="an array of objects"):
        read_one(tmp_path / "a.npz")


def header(shape, descr="<f8"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


def zipped(path, member, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("x.npy", member)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_unpack_to_far_more_than_they_are_do_not(tmp_path, method, monkeypatch):
    path = zipped(tmp_path / "bomb.npz", header((90_000,)) + bytes(720_000), method)
    assert len(read_npz("source small", path)[0]["x"]) == 90_000
    monkeypatch.setattr(npz, "ALWAYS", 700_000)
    with pytest.raises(InputError, match=r"bytes that unpack to 720\d\d\d(.|\n)*np.savez"):
        read_npz("source bomb", path)
    assert read_npz("source bomb", path, ("y",))[0] == {}


@pytest.mark.parametrize(
    "member",
    [
        header((10**12,)) + bytes(64),
        header((10**18, 10**18)) + bytes(64),
        header((-3,)) + bytes(64),
        header((9,)) + bytes(64),
        header((8,), "<f8") + bytes(65),
        header((8,), "|O") + bytes(64),
        b"\x93NUMPY\x01\x00" + b"\xff\xff" + b"(" * 9000,
        b"\x93NUMPY\x09\x00" + bytes(64),
        b"not an array",
        b"",
    ],
)
def test_headers_that_lie_allocate_nothing(tmp_path, member):
    with pytest.raises(InputError, match="source a: got (ValueError|EOFError|TypeError|SyntaxError)"):
        read_npz("source a", zipped(tmp_path / "a.npz", member))


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(5000.0))
    whole = path.read_bytes()
    for cut in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="source a: got BadZipFile"):
            read_npz("source a", path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(InputError, match="source a"):
        read_npz("source a", path)


def test_tables_of_features_refuse_the_same(tmp_path):
    def read(**arrays):
        np.savez(tmp_path / "t.npz", **arrays)
        return read_tables([Source(place_of("table", str(tmp_path / "t.npz")))])

    assert read(x=np.eye(4), y=Y)["t"].labels == ["0", "1", "0", "1"]
    for x, message in [
        (np.eye(4) * 1j, "complex"),
        (np.full((4, 2), 1e39), "too large"),
        (np.zeros((4, 0)), "numbers"),
    ]:
        with pytest.raises(InputError, match=message):
            read(x=x, y=Y)
    with pytest.raises(InputError, match="whole numbers"):
        read(x=np.eye(4), y=np.array([0, 1, np.inf, 1]))


def test_matlab_files_are_bounded(tmp_path, monkeypatch):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"fts": np.eye(3)})
    np.testing.assert_array_equal(read_mat("table a", tmp_path / "a.mat")["fts"], np.eye(3))
    savemat(tmp_path / "bomb.mat", {"fts": np.zeros((300, 300))}, do_compression=True)
    monkeypatch.setattr(npz, "ALWAYS", 700_000)
    with pytest.raises(InputError, match="bytes that unpack to 720000"):
        read_mat("table bomb", tmp_path / "bomb.mat")
    raw = (tmp_path / "bomb.mat").read_bytes()
    for broken in (raw[:100], raw[:200], raw[:128] + zlib.compress(b"x")):
        (tmp_path / "broken.mat").write_bytes(broken)
        with pytest.raises(InputError, match="table broken"):
            read_mat("table broken", tmp_path / "broken.mat")
