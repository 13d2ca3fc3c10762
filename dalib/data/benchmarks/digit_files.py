"""Published file forms of digits, read into uint8 images ``[n, h, w, c]`` and labels ``[n]``.

Every reader raises ValueError, KeyError or OSError for a file of another form than its name says.
"""

import bz2
import gzip
import struct
from pathlib import Path

import numpy as np

from dalib.data.domain import as_labels
from dalib.data.readers.files import npz

Pair = tuple[np.ndarray, np.ndarray]
UBYTE = 0x08


def opened(path: Path) -> bytes:
    """Read the contents of a file, unpacked where its name ends in ``.gz`` or ``.bz2``."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    return bz2.decompress(raw) if path.suffix == ".bz2" else raw


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, any rank (LeCun's form: two zero bytes, type, rank, sizes, data)."""
    data = opened(path)
    if len(data) < 4 or data[:3] != bytes((0, 0, UBYTE)) or data[3] == 0:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    rank = data[3]
    if len(data) < 4 + 4 * rank:
        raise ValueError(f"{path} ends within its header")
    # The header says how many bytes there must be: a file that was cut short is found here.
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
    if body.size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path} holds {body.size} bytes for the shape {shape}: truncated?")
    return body.reshape(shape)


def read_npz(path: Path, split: str) -> Pair:
    """Read ``x_<split>`` and ``y_<split>`` of an archive."""
    names = (f"x_{split}", f"y_{split}")
    arrays, _ = npz.read_npz(str(path), path, names)
    x, y = (arrays[name] for name in names)
    if x.dtype != np.uint8:
        raise ValueError(f"{path}: x_{split} is {x.dtype}, expected uint8")
    return (x[..., None] if x.ndim == 3 else x), as_labels(y.reshape(-1))


def usps_pixels(values: np.ndarray) -> np.ndarray:
    """Turn [−1, 1], ``[n, 256]``, into uint8 ``[n, 16, 16, 1]``: ⌊(v + 1) / 2 · 255⌋, torchvision's convention."""
    if values.ndim != 2 or values.shape[1] != 256:
        raise ValueError(f"rows of {values.shape[1:]} values, expected 256")
    if not (np.abs(values) <= 1).all():
        raise ValueError("values outside [-1, 1]")
    # The published values have three digits. In integers no rounding of binary fractions can move a pixel by one.
    milli = np.rint(values * 1000).astype(np.int64)
    return ((milli + 1000) * 255 // 2000).astype(np.uint8).reshape(-1, 16, 16, 1)


def read_usps_libsvm(path: Path) -> Pair:
    """Read libsvm text: ``label index:value …``, labels 1 … 10, indices 1 … 256, missing values 0."""
    lines = [line.split() for line in opened(path).decode("ascii").splitlines() if line.strip()]
    values = np.zeros((len(lines), 256))
    for row, (_, *pairs) in enumerate(lines):
        table = np.array([pair.split(":") for pair in pairs], dtype=np.float64).reshape(-1, 2)
        values[row, table[:, 0].astype(int) - 1] = table[:, 1]
    return usps_pixels(values), np.array([float(line[0]) for line in lines]).astype(np.int32) - 1


def read_usps_zip(path: Path) -> Pair:
    """Read the form of The Elements of Statistical Learning: digit and 256 values a line."""
    table = np.array(opened(path).split(), dtype=np.float64)
    if table.size % 257:
        raise ValueError(f"{path}: {table.size} numbers, which is no multiple of 257")
    table = table.reshape(-1, 257)
    return usps_pixels(table[:, 1:]), table[:, 0].astype(np.int32)


def read_usps_hdf5(path: Path, split: str) -> Pair:
    """Read HDF5, groups ``train`` and ``test`` of ``data`` (``[n, 256]`` in [0, 1]) and ``target``; needs h5py."""
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path} needs the package h5py (pip install h5py)") from error
    with h5py.File(path, "r") as file:
        data, target = np.asarray(file[split]["data"], np.float64), np.asarray(file[split]["target"])
    return usps_pixels(2 * data.reshape(len(data), -1) - 1), target.reshape(-1).astype(np.int32)


def read_mat(path: Path) -> Pair:
    """Read a MATLAB file of SVHN's kind: ``X`` ``[h, w, 3, n]`` uint8 and ``y``; label 10 is the digit 0."""
    found = npz.read_mat(str(path), path)
    x, y = np.asarray(found["X"]), np.asarray(found["y"]).reshape(-1).astype(np.int32)
    if x.ndim != 4 or x.dtype != np.uint8 or x.shape[3] != len(y):
        raise ValueError(f"{path}: X has shape {x.shape} and dtype {x.dtype}, y {y.shape}")
    return np.ascontiguousarray(np.moveaxis(x, 3, 0)), np.where(y == 10, 0, y)
