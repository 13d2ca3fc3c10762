"""MNIST's frame: the digit scaled to a box of 20×20, its centre of mass in the middle of 28×28 pixels.

Digits of other sets that fill their own frame (USPS, optdigits) are brought into it here. The geometry is half of the
shift between digit sets: whoever stretches USPS over 28×28 makes another, harder task than who centres it.
"""

import numpy as np

from dalib.checks import choose, input_error

FRAME, BOX = 28, 20
GEOMETRIES = {
    "centred": "enlarged to 20×20, centre of mass in the middle of 28×28: MNIST's own geometry",
    "boxed": "enlarged to 20×20, in the middle of 28×28",
    "stretched": "enlarged to 28×28",
}


def mnist_frame(digits: np.ndarray, geometry: str = "centred") -> np.ndarray:
    """Grey digits that fill their frame, in frames of MNIST's size.

    Args:
        digits: uint8 ``[n, h, w]``, ink bright on 0, h = w.
        geometry: a name of :data:`GEOMETRIES`.

    Returns:
        uint8 ``[n, 28, 28]``; enlarged by Pillow's antialiased bilinear resize.

    Raises:
        InputError: another geometry, or other than square uint8 images.

    References:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998, section III.A.
    """
    choose("geometry", geometry, GEOMETRIES)
    digits = np.asarray(digits)
    if digits.ndim != 3 or digits.shape[1] != digits.shape[2] or digits.dtype != np.uint8:
        raise input_error("digits", got=f"{digits.dtype}{list(digits.shape)}", expected="uint8 [n, side, side]")
    side = FRAME if geometry == "stretched" else BOX
    large = np.stack([resized(digit, side) for digit in digits]) if len(digits) else digits
    if geometry == "stretched":
        return large
    frames = np.zeros((len(large), FRAME, FRAME), np.uint8)
    for frame, digit in zip(frames, large, strict=True):
        top = left = (FRAME - BOX) // 2
        if geometry == "centred":
            top, left = (_offset(digit.sum(axis=axis, dtype=np.float64)) for axis in (1, 0))
        frame[top : top + BOX, left : left + BOX] = digit
    return frames


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """A square uint8 image ``[h, h]`` or ``[h, h, 3]`` at another size, antialiased and bilinear."""
    from PIL import Image

    if size == len(image):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _offset(profile: np.ndarray) -> int:
    """Where a profile of ink must begin for its centre of mass to lie in the middle of the frame (or nearly)."""
    ink = profile.sum()
    centre = (profile * (np.arange(BOX) + 0.5)).sum() / ink if ink else BOX / 2
    return int(np.clip(np.rint(FRAME / 2 - centre), 0, FRAME - BOX))
