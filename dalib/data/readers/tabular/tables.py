"""Tables of features in files: rows and labels out of .npz archives and MATLAB files, by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.data.readers.arrays import not_finite
from dalib.data.readers.files.npz import read_mat, read_npz
from dalib.data.readers.places import Place

ROWS = ("x", "fts", "feas", "features", "X")
LABELS = ("y", "labels", "label", "Y")
SUFFIXES = (".npz", ".mat")


class Source(NamedTuple):
    """Address of a table: its domain's name and file, and its arrays' names; ``""`` takes a usual one."""

    place: Place
    x_name: str = ""
    y_name: str = ""


class Table(NamedTuple):
    """One domain's table: float32 ``[n, d]`` and n class names."""

    x: np.ndarray
    labels: list[str]


def read_tables(sources: Sequence[Source]) -> dict[str, Table]:
    """Read all tables by the names of their domains.

    Raises:
        InputError: naming all faults in any of them: files, arrays, shapes, numbers that are not
            finite, widths or classes that differ.
    """
    faults: list[str] = []
    files: dict[Path, dict[str, np.ndarray]] = {}
    found: dict[str, Table] = {}
    for source in sources:
        name, path = source.place.name, source.place.path
        if name in found:
            faults.append(f"{name}: two tables of this name; give them as name=PATH")
        try:
            # One file may hold several domains, and is read once.
            if path not in files:
                files[path] = _arrays(path)
            found[name] = _table(source, files[path])
        except InputError as error:
            faults.append(str(error))
    # Then what the tables must share: the width of rows and the classes.
    if len({table.x.shape[1] for table in found.values()}) > 1:
        widths = ", ".join(f"{name} {table.x.shape[1]}" for name, table in found.items())
        faults.append(f"table: rows of different lengths: {widths}\n  expected: one length")
    classes = {name: frozenset(table.labels) for name, table in found.items()}
    first = next(iter(classes), "")
    for name, own in classes.items():
        if odd := sorted(own ^ classes[first]):
            faults.append(f"table: classes of {first} and {name} differ in {', '.join(odd[:10])}")
    if faults:
        raise InputError("\n".join(faults))
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    where = f"table {path}"
    if not path.is_file():
        raise input_error(where, got="no such file", expected="a file .npz or .mat")
    if path.suffix.lower() not in SUFFIXES:
        # A stated name must be there; without one the usual names of the field are tried in turn.
        raise input_error(where, got=f"a file {path.name}", expected="a file .npz or .mat")
    return read_mat(where, path) if path.suffix.lower() == ".mat" else read_npz(where, path)[0]


def _table(source: Source, arrays: dict[str, np.ndarray]) -> Table:
    where = f"table {source.place.path}"
    picked = []
    for what, name, usual in (("rows", source.x_name, ROWS), ("labels", source.y_name, LABELS)):
        wanted = (name,) if name else usual
        there = [candidate for candidate in wanted if candidate in arrays]
        if not there:
            got = f"arrays {', '.join(arrays) or 'none'}"
            raise input_error(where, got=got, expected=f"{what} in {' or '.join(wanted)}", todo="--x-name, --y-name")
        picked.append(arrays[there[0]])
    x, y = picked[0], picked[1].reshape(-1)
    if x.ndim != 2 or not x.size or x.dtype.kind not in "iufb":
        raise input_error(where, got=f"rows of shape {x.shape}, dtype {x.dtype}", expected="real numbers [n, d]")
    if len(y) != len(x) or y.dtype.kind not in "iuUf" or (y.dtype.kind == "f" and not _whole(y)):
        expected = f"[{len(x)}] whole numbers or texts"
        raise input_error(where, got=f"labels of shape {y.shape}, dtype {y.dtype}", expected=expected)
    if len(bad := not_finite(x)):
        got = f"NaN, infinity or too large for float32 in {len(bad)} rows, first {bad[0]}"
        raise input_error(where, got=got, expected="finite numbers")
    # MATLAB keeps whole numbers as floats.
    labels = y.astype(np.int64) if y.dtype.kind == "f" else y
    return Table(x.astype(np.float32), [str(label) for label in labels])


def _whole(y: np.ndarray) -> bool:
    """Tell whether floats are whole numbers that int64 holds."""
    return bool((np.abs(y) < 2**53).all() and (y == np.round(y)).all())
