"""Readers of :mod:`dalib.run.own.adapt`: a folder or file of a user's own becomes inputs and class names.

Every reader collects what is wrong and goes on, so that one error names all of it before anything is trained.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dalib.core.checks import input_error
from dalib.data.domain import Split
from dalib.data.readers.folders import from_folder, from_list_file
from dalib.data.readers.images import IMAGE_SUFFIXES, SHOWN, ImageFiles
from dalib.data.readers.places import KINDS as KINDS
from dalib.data.readers.places import Options, Place, Raw
from dalib.data.readers.places import place_of as place_of
from dalib.data.readers.tabular.texts import TEXTS, read_numbers, read_texts

LISTS = (".txt", ".lst", ".list")
BY_RANK = {2: "vectors", 3: "series", 4: "images"}


def read(argument: str, place: Place, options: Options, *, labelled: bool = True) -> Raw:
    """Reads one domain.

    Args:
        argument: for messages, ``source`` or ``target``.
        place: where it is.
        options: how to read it.
        labelled: without it labels are neither needed nor kept; a folder's images may then lie anywhere in it.

    Raises:
        InputError: naming every fault found in this place.
    """
    where, path = f"{argument} {place.path}", place.path
    name = path.name.lower()
    if options.real and labelled and (path.is_dir() or name.endswith(LISTS)):
        expected = "an .npz archive, or a table .csv or .jsonl: elsewhere labels are classes"
        raise input_error(where, got=f"{path.name} for real-valued labels", expected=expected)
    if path.is_dir():
        raw = _folder(path, labelled)
    elif not path.is_file():
        raise input_error(where, got="no such file or folder", expected="a folder of images or a file")
    elif name.endswith(LISTS):
        raw = _list(path, labelled)
    elif name.endswith(".npz"):
        raw = _archive(where, path, options, labelled)
    elif name.endswith(TEXTS):
        raw = (
            read_numbers(where, path, options, labelled) if options.real else read_texts(where, path, options, labelled)
        )
    else:
        known = ", ".join((*LISTS, ".npz", *TEXTS))
        raise input_error(where, got=f"a file {path.name}", expected=f"a folder of images, or a file {known}")
    if options.kind is not None and raw.kind != options.kind:
        raise input_error(where, got=f"{raw.kind}", expected=f"{options.kind}, as --kind says")
    return raw


def _folder(path: Path, labelled: bool) -> Raw:
    if labelled:
        domain = from_folder("here", path, check=False)
        if set(domain.splits) != {"train"}:
            got = f"{path} with split folders {', '.join(domain.splits)}"
            todo = f"pass {path}/train, and the test split as --target-test"
            raise input_error("folder", got=got, expected="one folder a class", todo=todo)
        return _image_files(domain.split("train"), domain.class_names)
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise input_error("folder", got=f"{path} without any image", expected="images")
    paths = tuple(str(p.relative_to(path)) for p in files)
    return Raw("images", ImageFiles(path, paths, np.full(len(paths), -1, np.int32)), None)


def _image_files(split: Split, class_names: Sequence[str]) -> Raw:
    labels = split.labels  # type: ignore[attr-defined]
    return Raw("images", split, [class_names[label] for label in labels])


def _list(path: Path, labelled: bool) -> Raw:
    domain = from_list_file("here", {"train": path}, root=path.parent, check=False)
    raw = _image_files(domain.split("train"), domain.class_names)
    return raw if labelled else raw._replace(labels=None)


def _archive(where: str, path: Path, options: Options, labelled: bool) -> Raw:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files if name in ("x", "y")}
            names = arrays.files
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise input_error(where, got=f"{error}", expected="an .npz archive of plain arrays x and y") from None
    missing = [name for name in ("x", "y") if name not in found and (name == "x" or labelled)]
    if missing:
        raise input_error(where, got=f"arrays {', '.join(names) or 'none'}", expected="x [n, …] and y [n]")
    x = found["x"]
    if x.ndim not in BY_RANK or len(x) == 0 or not (np.issubdtype(x.dtype, np.number) or x.dtype == bool):
        expected = "numbers: vectors [n, d], series [n, c, t] or [n, t, c], images [n, h, w] or [n, h, w, c]"
        raise input_error(f"{where}, x", got=f"shape {x.shape}, dtype {x.dtype}", expected=expected)
    kind = options.kind or BY_RANK[x.ndim]
    if kind == "images" and x.ndim == 3:
        x = x[..., None]
    if BY_RANK[x.ndim] != kind:
        raise input_error(f"{where}, x", got=f"shape {x.shape}", expected=f"{kind}, as --kind says")
    bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1)) if x.dtype.kind in "fc" else np.array([])
    if len(bad):
        rows = ", ".join(map(str, bad[:SHOWN])) + (" …" if len(bad) > SHOWN else "")
        raise input_error(f"{where}, x", got=f"NaN or infinity in {len(bad)} rows: {rows}", expected="finite numbers")
    if kind == "images":
        x = pixels(where, x)
    elif kind == "series" and channels_first(x.shape, options.layout):
        x = np.swapaxes(x, 1, 2)
    if not labelled:
        return Raw(kind, x, None)
    y = found["y"]
    if options.real:
        return Raw(kind, x if kind == "images" else x.astype(np.float32), _real_labels(where, y, len(x)))
    if y.shape != (len(x),) or y.dtype.kind not in "iuU":
        got = f"shape {y.shape}, dtype {y.dtype}"
        raise input_error(f"{where}, y", got=got, expected=f"[{len(x)}] whole numbers or texts, one a row of x")
    return Raw(kind, x if kind == "images" else x.astype(np.float32), [str(label) for label in y])


def _real_labels(where: str, y: np.ndarray, count: int) -> np.ndarray:
    """Labels ``[n]`` or ``[n, k]`` as finite float32 numbers."""
    if y.ndim not in (1, 2) or len(y) != count or y.size == 0 or y.dtype.kind not in "iuf":
        got = f"shape {y.shape}, dtype {y.dtype}"
        raise input_error(f"{where}, y", got=got, expected=f"[{count}] or [{count}, k] numbers, a row for each of x")
    with np.errstate(over="ignore"):
        y = y.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(y).reshape(count, -1).all(axis=1))
    if len(bad):
        rows = ", ".join(map(str, bad[:SHOWN])) + (" …" if len(bad) > SHOWN else "")
        raise input_error(f"{where}, y", got=f"NaN or infinity in {len(bad)} rows: {rows}", expected="finite numbers")
    return y


def channels_first(shape: tuple[int, ...], layout: str) -> bool:
    """Whether series are ``[n, c, t]``; ``auto`` takes the shorter of the two for the channels."""
    return layout == "nct" or (layout == "auto" and shape[1] < shape[2])


def pixels(where: str, x: np.ndarray) -> np.ndarray:
    """Images ``[n, h, w, c]`` as bytes, from whole numbers 0 … 255 or floats 0 … 1."""
    if x.shape[-1] not in (1, 3):
        raise input_error(f"{where}, x", got=f"shape {x.shape}", expected="images [n, h, w, c] with 1 or 3 channels")
    if np.issubdtype(x.dtype, np.floating) and x.min() >= 0 and x.max() <= 1:
        return np.round(255 * x).astype(np.uint8)
    if x.min() < 0 or x.max() > 255:
        got = f"values from {x.min()} to {x.max()}"
        raise input_error(f"{where}, x", got=got, expected="whole numbers 0 … 255, or floats 0 … 1")
    return x.astype(np.uint8)
