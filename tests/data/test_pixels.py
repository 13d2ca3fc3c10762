"""The range of pixel values: one decision for all domains of a task, or a question."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.readers.files.maximum import as_bytes, likely_maximum, to_bytes
from dalib.data.readers.places import maxima
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.own.read import read_domains
from tests.run.own_data import images as folder

SHAPE = (6, 8, 8, 1)
RAMP = (np.arange(6 * 64) % 256).astype(np.uint8).reshape(SHAPE)
RAMP[0, 0, 0] = 255


def bright(scale, dtype=np.float64):
    return (RAMP / 255 * scale).astype(dtype)


@pytest.mark.parametrize(
    ("x", "maximum"),
    [
        (RAMP, 255),
        (RAMP.astype(np.int64), 255),
        (bright(254.6), 255),
        (bright(130, np.int16), 255),
        (bright(1.0), 1),
        (bright(0.7, np.float32), 1),
        (RAMP > 100, 1),
        ((RAMP > 100).astype(np.int64), 1),
        (bright(16), None),
        (np.rint(bright(16)).astype(np.uint8), None),
        (bright(100), None),
        (bright(0.06), None),
        (bright(1.1), None),
        (bright(4095, np.uint16), None),
        (bright(255, np.uint16) * 257, None),
        (np.zeros(SHAPE, np.uint8), None),
    ],
)
def test_only_clear_ranges_are_recognised(x, maximum):
    assert likely_maximum(x) == maximum
    if maximum is None:
        with pytest.raises(InputError, match="--maximum"):
            to_bytes([("a", x)], {})
    else:
        (found,), _ = to_bytes([("a", x)], {})
        assert found.dtype == np.uint8 and abs(found / 255.0 - x / maximum).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (RAMP, bright(16)),
        (RAMP, RAMP > 100),
        (RAMP, (RAMP > 100).astype(np.int64)),
        (RAMP, bright(1)),
        (bright(1), bright(255, np.int64)),
    ],
)
def test_ranges_that_differ_are_a_question(one, other):
    with pytest.raises(InputError) as error:
        to_bytes([("a", one), ("b", other)], {})
    assert "a: " in str(error.value) and "b: " in str(error.value) and "--maximum a=" in str(error.value)
    done, decision = to_bytes([("a", one), ("b", other)], {"a": float(one.max()), "b": float(other.max())})
    assert all(x.max() == 255 and x.dtype == np.uint8 for x in done)
    assert decision.startswith("pixel values: a 0 … ") and "b 0 … " in decision


def test_values_are_rounded_and_bytes_kept():
    assert as_bytes(RAMP, 255) is RAMP
    np.testing.assert_array_equal(as_bytes(np.array([0.4, 0.6, 254.7]), 255), [0, 1, 255])
    np.testing.assert_array_equal(as_bytes(np.arange(17), 16), np.rint(np.arange(17) * 255 / 16))
    np.testing.assert_array_equal(as_bytes(np.array([0, 4095], np.uint16), 4095), [0, 255])
    np.testing.assert_array_equal(as_bytes(np.array([0.5, 1.0], np.float16), 1), [128, 255])


@pytest.mark.parametrize(
    ("x", "stated"),
    [(bright(1) - 0.5, {}), (RAMP.astype(np.int8), {}), (RAMP, {"a": 16.0}), (-RAMP.astype(float), {"a": 1.0})],
)
def test_values_outside_the_range_are_refused(x, stated):
    with pytest.raises(InputError, match=r"a: .*, outside 0 … "):
        to_bytes([("a", x)], stated)


def test_the_option():
    assert maxima(("16",), ["a", "b"]) == {"a": 16, "b": 16}
    assert maxima(("16", "b=1"), ["a", "b"]) == {"a": 16, "b": 1}
    for wrong in (("x=3",), ("0",), ("nan",), ("-1",), ("a=inf",), ("a=",), ("1", "2"), ("a=1", "a=2"), ("white",)):
        with pytest.raises(InputError, match="maximum"):
            maxima(wrong, ["a", "b"])


def read(tmp_path, source, target, **options):
    own = Own(
        source=(str(tmp_path / source),), target=str(tmp_path / target), method=("source_only",), size=8, **options
    )
    return read_domains(own, plan(own))


def test_a_command_decides_for_all_domains_and_says_so(tmp_path, capsys):
    y = np.arange(6) % 2
    np.savez(tmp_path / "bytes.npz", x=RAMP, y=y)
    np.savez(tmp_path / "sixteen.npz", x=np.rint(bright(16)), y=y)
    np.savez(tmp_path / "unit.npz", x=bright(1)[::-1], y=y)
    folder(tmp_path / "files", classes=("0", "1"), size=8)
    with pytest.raises(InputError, match=r"(?s)bytes: 0 … 255 \(uint8\).*sixteen: 0.0 … 16.0 \(float64\)"):
        read(tmp_path, "bytes.npz", "sixteen.npz")
    data = read(tmp_path, "bytes.npz", "sixteen.npz", maximum=("sixteen=16",))
    assert "pixel values: bytes 0 … 255, sixteen 0 … 16" in capsys.readouterr().err
    x = data.target.split("train").__getitems__(range(6))[0]
    assert x.min() == -1 and x.max() == 1
    with pytest.raises(InputError, match=r"(?s)files: 0 … 255 \(image files\).*unit: 0.0 … 1.0.*--maximum unit=1"):
        read(tmp_path, "files", "unit.npz")
    told = read(tmp_path, "files", "unit.npz", maximum=("1",)).target
    assert told.split("train").__getitems__(range(6))[0].max() == 1
    with pytest.raises(InputError, match="names? of bytes, unit"):
        read(tmp_path, "bytes.npz", "unit.npz", maximum=("units=1",))
