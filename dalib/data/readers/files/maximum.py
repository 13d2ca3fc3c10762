"""The largest value that a pixel can have: one decision for the images of all domains, made before they become bytes.

Arrays do not say it: 16 may be white (scikit-learn's digits) or nearly black. Only 255 and 1 are recognised; what is
far from them, or differs between domains, has to be stated.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import InputError, input_error

BYTE = 255
BLOCK = 256


class Pixels(NamedTuple):
    """Images of each place, arrays as uint8 ``[n, h, w, c]``; and the decision in words, ``""`` without arrays."""

    inputs: list[Any]
    decision: str


def to_bytes(images: Sequence[tuple[str, Any]], stated: Mapping[str, float]) -> Pixels:
    """Bring the images of all domains from 0 … maximum to the bytes 0 … 255, rounded.

    Args:
        images: name and images of each place; only arrays are changed, files hold bytes.
        stated: maximum by name, where it was stated.

    Raises:
        InputError: negative values or values above the maximum; without ``stated``, values far from 255 or 1, or
            ranges that differ between places.
    """
    # What was stated counts; else 255 or 1 where the values leave no doubt.
    told = [stated.get(name) for name, _ in images]
    arrays = [isinstance(x, np.ndarray) for _, x in images]
    maxima = [
        BYTE if not array else likely_maximum(x) if maximum is None else maximum
        for (_, x), array, maximum in zip(images, arrays, told, strict=True)
    ]
    # Values outside the range first: they show that a guess is wrong, or a statement.
    faults = [
        f"{_described(name, x)}, outside 0 … {maximum or BYTE:g}"
        for (name, x), array, maximum in zip(images, arrays, maxima, strict=True)
        if array and (x.min() < 0 or (maximum is not None and x.max() > maximum))
    ]
    if faults:
        todo = "shift negative values; --maximum NUMBER, or NAME=NUMBER for one domain, says what the largest value is"
        raise input_error("images", got=_block(faults), expected="whole numbers 0 … 255, or floats 0 … 1", todo=todo)
    open_ones = [array and maximum is None for array, maximum in zip(arrays, told, strict=True)]
    # Image files take part in the comparison with arrays that nothing was said of.
    guessed = {m for m, array, is_open in zip(maxima, arrays, open_ones, strict=True) if is_open or not array}
    if any(open_ones) and (None in guessed or len(guessed) > 1):
        raise _unclear(images, maxima)
    # Only arrays change: files hold bytes, and their decoder says what white is.
    done = [
        as_bytes(x, maximum) if array and maximum is not None else x
        for (_, x), array, maximum in zip(images, arrays, maxima, strict=True)
    ]
    ranges = {name: f"{name} 0 … {m:g}" for (name, _), m, array in zip(images, maxima, arrays, strict=True) if array}
    return Pixels(done, f"pixel values: {', '.join(ranges.values())}, brought to 0 … 255" if ranges else "")


def likely_maximum(x: np.ndarray) -> float | None:
    """Return 255 or 1 where the values leave no doubt, else None."""
    largest = x.max()
    if x.dtype == bool:
        return 1
    if BYTE / 2 < largest <= BYTE:
        return BYTE
    whole = np.issubdtype(x.dtype, np.integer)
    return 1 if (largest == 1 if whole else 0.5 < largest <= 1) else None


def as_bytes(x: np.ndarray, maximum: float) -> np.ndarray:
    """Turn images with values 0 … ``maximum`` into uint8 0 … 255, rounded to the nearest."""
    if x.dtype == np.uint8 and maximum == BYTE:
        return x
    out = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        block = block if block.dtype.kind == "f" and block.dtype.itemsize >= 4 else block.astype(np.float64)
        out[start : start + BLOCK] = np.rint(block * (BYTE / maximum))
    return out


def _unclear(images: Sequence[tuple[str, Any]], maxima: Sequence[float | None]) -> InputError:
    lines = [_described(name, x) for name, x in images]
    arrays = [(name, m) for (name, x), m in zip(images, maxima, strict=True) if isinstance(x, np.ndarray)]
    example = " ".join(f"{name}={'NUMBER' if m is None else f'{m:g}'}" for name, m in dict(arrays).items())
    return input_error(
        "images",
        got=f"value ranges that leave doubt:{_block(lines)}",
        expected="whole numbers up to about 255, or floats up to about 1, the same in all domains",
        todo=f"say what the largest possible value is: --maximum NUMBER for all, or --maximum {example}",
    )


def _described(name: str, x: Any) -> str:
    if not isinstance(x, np.ndarray):
        return f"{name}: 0 … 255 (image files)"
    return f"{name}: {x.min()} … {x.max()} ({x.dtype})"


def _block(lines: Sequence[str]) -> str:
    return "".join(f"\n    {line}" for line in lines)
