"""Examples in a user's ``.npz`` archive: ``x`` as vectors, series or images, and ``y`` as labels."""

from pathlib import Path

import numpy as np

from dalib.core.checks import input_error
from dalib.data.readers.arrays import not_finite
from dalib.data.readers.files.names import class_name
from dalib.data.readers.files.npz import read_npz
from dalib.data.readers.images import SHOWN
from dalib.data.readers.places import Options, Raw

BY_RANK = {2: "vectors", 3: "series", 4: "images"}
SIDE, ASPECT = 8, 4
"""Arrays ``[n, a, b]`` may be images from 8 × 8, and up to four times as long as wide."""


def read_archive(where: str, path: Path, options: Options, labelled: bool) -> Raw:
    """Read the examples of an archive; images keep their own type and range of values.

    Without ``labelled``, ``y`` is not even read.

    Raises:
        InputError: no archive of plain arrays, missing arrays, shapes, types or numbers that do not fit, or a form
            that could be read in two ways.
    """
    found, names = read_npz(where, path, ("x", "y") if labelled else ("x",))
    if missing := [name for name in ("x", "y") if name not in found and (name == "x" or labelled)]:
        got = f"arrays {', '.join(names) or 'none'}"
        raise input_error(where, got=got, expected="x [n, …] and y [n]", todo=f"name it {missing[0]} in np.savez")
    # Checks in the order of the questions: is it an array of numbers, are they finite, what do they show.
    x = found["x"]
    if x.ndim not in BY_RANK or x.size == 0 or x.dtype.kind not in "iufb":
        expected = "real numbers: vectors [n, d], series [n, c, t] or [n, t, c], images [n, h, w] or [n, h, w, c]"
        todo = "keep real and imaginary part as two columns" if x.dtype.kind == "c" else ""
        raise input_error(f"{where}, x", got=f"shape {x.shape}, dtype {x.dtype}", expected=expected, todo=todo)
    if x.dtype.kind == "f" and len(bad := not_finite(x)):
        got = f"NaN, infinity or too large for float32 in {len(bad)} rows: {_rows(bad)}"
        raise input_error(f"{where}, x", got=got, expected="finite numbers", todo="repair or drop these rows")
    # The rank tells the kind, unless two would fit; then the user's word decides.
    kind = kind_of(where, x, options.kind)
    if kind == "images":
        x = with_channels(where, x)
    elif kind == "series" and channels_first(where, x.shape, options.layout):
        x = np.swapaxes(x, 1, 2)
    x = x if kind == "images" else x.astype(np.float32)
    if not labelled:
        return Raw(kind, x, None)
    y = found["y"]
    return Raw(kind, x, real_labels(where, y, len(x)) if options.real else class_labels(where, y, len(x)))


def kind_of(where: str, x: np.ndarray, stated: str | None) -> str:
    """Tell the kind of examples ``[n, …]`` by their rank; ``stated`` tells series from images without channels.

    Raises:
        InputError: for another rank than that of ``stated``; without it for ``[n, a, b]`` that could be either.
    """
    kind = stated or BY_RANK[x.ndim]
    if kind != BY_RANK[x.ndim] and not (kind == "images" and x.ndim == 3):
        got = f"shape {x.shape}, which is {BY_RANK[x.ndim]}"
        raise input_error(f"{where}, x", got=got, expected=f"{kind}, as --kind says")
    if x.ndim == 3 and stated is None:
        short, long = sorted(x.shape[1:])
        # Images have no negative values; short or very long arrays are no images.
        if short >= SIDE and long <= ASPECT * short and x.min() >= 0:
            got = f"shape {x.shape}, dtype {x.dtype}, which could be images or series"
            raise input_error(f"{where}, x", got=got, expected="one reading", todo="say --kind images or --kind series")
    return kind


def with_channels(where: str, x: np.ndarray) -> np.ndarray:
    """Return images as ``[n, h, w, c]`` with 1 or 3 channels.

    Raises:
        InputError: for other channels, with the axis to move where they come first.
    """
    x = x[..., None] if x.ndim == 3 else x
    if x.shape[-1] in (1, 3):
        return x
    first, alpha = x.shape[1] in (1, 3), x.shape[-1] == 4
    todo = "channels come first: x = np.moveaxis(x, 1, -1)" if first else ""
    todo = "compose the transparency on a colour, and keep three channels" if alpha and not first else todo
    raise input_error(f"{where}, x", got=f"shape {x.shape}", expected="images [n, h, w, c], c = 1 or 3", todo=todo)


def channels_first(where: str, shape: tuple[int, ...], layout: str) -> bool:
    """Tell whether series are ``[n, c, t]``; ``auto`` takes the shorter axis for the channels.

    Raises:
        InputError: for ``auto`` where both axes are equally long.
    """
    if layout == "auto" and shape[1] == shape[2] > 1:
        todo = "say --layout nct (channels first) or --layout ntc"
        raise input_error(f"{where}, x", got=f"series of shape {shape}", expected="one reading", todo=todo)
    return layout == "nct" or (layout == "auto" and shape[1] < shape[2])


def class_labels(where: str, y: np.ndarray, count: int) -> list[str]:
    """Turn labels ``[n]``, whole numbers or texts, into class names.

    Raises:
        InputError: for another shape or type, or bytes that are not UTF-8.
    """
    expected = f"[{count}] whole numbers or texts, one a row of x"
    if y.shape != (count,) or y.dtype.kind not in "iuUS":
        raise input_error(f"{where}, y", got=f"shape {y.shape}, dtype {y.dtype}", expected=expected)
    try:
        names = [label.decode() if isinstance(label, bytes) else str(label) for label in y.tolist()]
        encoded = "".join(names).encode()  # a text array may hold code points that are no characters
    except (UnicodeError, ValueError) as error:
        raise input_error(f"{where}, y", got=f"{error}", expected="texts in UTF-8") from None
    del encoded
    return [class_name(name) for name in names]


def real_labels(where: str, y: np.ndarray, count: int) -> np.ndarray:
    """Return labels ``[n]`` or ``[n, k]`` as float32 numbers.

    Raises:
        InputError: for another shape or type, or numbers that are not finite in float32.
    """
    if y.ndim not in (1, 2) or len(y) != count or y.size == 0 or y.dtype.kind not in "iuf":
        got = f"shape {y.shape}, dtype {y.dtype}"
        raise input_error(f"{where}, y", got=got, expected=f"[{count}] or [{count}, k] numbers, a row for each of x")
    if len(bad := not_finite(y)):
        got = f"NaN, infinity or too large for float32 in {len(bad)} rows: {_rows(bad)}"
        raise input_error(f"{where}, y", got=got, expected="finite numbers")
    return y.astype(np.float32)


def _rows(rows: np.ndarray) -> str:
    return ", ".join(map(str, rows[:SHOWN])) + (" …" if len(rows) > SHOWN else "")
