"""Orientation and transparency of image files: upright, and on white."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from dalib.data.readers.images import ORIENTATION, read_image
from dalib.data.readers.tfds import stored_bytes

PIXELS = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)


def oriented(path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_the_orientation_is_applied(tmp_path, orientation, suffix):
    path = oriented(tmp_path / f"x.{suffix}", orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((4, 6, 3) if orientation < 5 else (6, 4, 3))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(np.asarray(Image.open(stored_bytes(path))), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40, b"", b"x"]
)
def test_damaged_exif_spoils_no_image(tmp_path, exif):
    Image.fromarray(PIXELS).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), PIXELS)
    oriented(tmp_path / "odd.png", 99)
    np.testing.assert_array_equal(read_image(tmp_path / "odd.png"), PIXELS)


def test_transparent_pixels_are_white(tmp_path):
    rgba = np.dstack([PIXELS, np.full((4, 6), 255, np.uint8)])
    rgba[0, 0, 3], rgba[1, 1, 3] = 0, 51
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    found = read_image(tmp_path / "rgba.png")
    np.testing.assert_array_equal(found[0, 0], 255)
    np.testing.assert_allclose(found[1, 1], 0.2 * PIXELS[1, 1] + 0.8 * 255, atol=1)
    opaque = rgba[..., 3] == 255
    np.testing.assert_array_equal(found[opaque], PIXELS[opaque])
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "la.png")
    grey = read_image(tmp_path / "la.png", "L")
    assert grey[0, 0, 0] == 255 and grey.shape == (4, 6, 1)
    palette = Image.new("P", (3, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putdata([0, 1, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png")[0].tolist() == [[255, 255, 255], [255, 0, 0], [255, 255, 255]]
    Image.fromarray(PIXELS).save(tmp_path / "key.png", transparency=tuple(int(v) for v in PIXELS[2, 2]))
    keyed = read_image(tmp_path / "key.png")
    np.testing.assert_array_equal(keyed[2, 2], 255)
    np.testing.assert_array_equal(keyed[3], PIXELS[3])
    np.testing.assert_array_equal(np.asarray(Image.open(stored_bytes(tmp_path / "rgba.png"))), found)
