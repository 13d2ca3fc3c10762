"""Images decoded once: memory-mapped uint8 arrays when they are small, array_record otherwise."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import check_positive, choose, input_error
from dalib.data.benchmarks.images import undecodable
from dalib.data.domain import Domain
from dalib.data.readers.arrays import ArraySplit
from dalib.data.readers.images import ImageFiles, listed, read_image
from dalib.data.readers.tfds import POOLED, prepare_records, stored_splits
from dalib.data.transforms import Transform, resize

FORMS = ("auto", "arrays", "array_record")
LARGEST = 8 << 30
INDEX = "prepared.json"
CHUNK = 64


@dataclass(frozen=True, eq=False)
class PreparedSplit:
    """Examples in a memory-mapped file: ``path`` with the inputs ``[n, ...]``, int32 ``labels`` ``[n]``.

    Attributes:
        path: a ``.npy`` file.
        labels: the labels.
        digest: SHA-256 of the inputs, taken when they were written.
    """

    path: Path
    labels: np.ndarray
    digest: str

    @cached_property
    def _inputs(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(indices, np.intp)
        return np.asarray(self._inputs[rows]), self.labels[rows]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the inputs' recorded digest and the labels."""
        return hashlib.sha256(self.digest.encode() + np.ascontiguousarray(self.labels).tobytes()).hexdigest()


def prepare(
    name: str,
    domains: Mapping[str, Any],
    out: str | Path,
    *,
    form: str = "auto",
    size: int = 256,
    resample: str = "bilinear",
) -> tuple[str, Path]:
    """Write domains in a form that training reads fast.

    ``arrays``: every image decoded (upright, transparent pixels on white) and resized once to ``size`` × ``size``, in a
    memory-mapped uint8 file. The resize is antialiased and does not keep the aspect, as in the field's recipes before
    they crop. Domains of arrays are written as they are. ``array_record``: the encoded images, through a
    tensorflow-datasets builder. ``auto``: arrays where they take 8 GiB at most.

    Args:
        name: the benchmark's name; the data goes to ``out/name``.
        domains: result of :func:`dalib.data.benchmarks.load`.
        out: a folder, made where it is missing.
        form: ``"auto"``, ``"arrays"`` or ``"array_record"``.
        size: height and width of the stored images.
        resample: nearest, bilinear or bicubic.

    Returns:
        The form that was chosen, and the folder.

    Raises:
        InputError: an unknown form or filter, domains of texts, sentences or recordings (which are read fast as they
            are), a folder that exists, or images that cannot be decoded (all of them in one error). Nothing is written
            then.
    """
    # All checks before any byte is written: decoding takes hours, and half a data set looks like a whole one.
    choose("form", form, dict.fromkeys(FORMS))
    check_positive(size=size)
    geometry = resize(size, resample=resample)
    folder = Path(out).expanduser() / name
    if folder.exists():
        raise input_error("out", got=f"{folder}, which exists", expected="a new folder", todo="remove the old one")
    sources = {key: stored_splits(domain) for key, domain in domains.items() if isinstance(domain, Domain)}
    every = [source for splits in sources.values() for source in splits.values()]
    if len(sources) < len(domains) or not all(isinstance(source, ImageFiles | ArraySplit) for source in every):
        raise input_error(
            "name",
            got=f"{name}, texts or recordings",
            expected="images or arrays",
            todo="read it as it is",
        )
    # Arrays are faster to read and larger than the files; above 8 GiB the encoded images are kept.
    images = any(isinstance(source, ImageFiles) for source in every)
    needed = sum(len(source) for source in every) * size * size * 3
    chosen = ("arrays" if not images or needed <= LARGEST else "array_record") if form == "auto" else form
    if chosen == "array_record" and not images:
        raise input_error("form", got="array_record", expected="arrays for data that is no image files")
    bad = undecodable(s.root / path for s in every if isinstance(s, ImageFiles) for path in s.paths)
    if bad:
        faults = [f"{path}: {reason}" for path, reason in bad]
        raise listed("images", faults, what="images that cannot be decoded", expected="whole image files")
    # Into a hidden folder first: the final name appears only with everything in it.
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name}-"))
    try:
        if chosen == "array_record":
            prepare_records(name, domains, temporary)
            os.replace(temporary / name, folder)
        else:
            index = {d: _arrays(d, domains[d], splits, temporary, geometry) for d, splits in sources.items()}
            form_of = {"size": size, "resample": resample} if images else {}
            text = json.dumps({"name": name, "form": chosen, **form_of, "domains": index}, indent=1, ensure_ascii=False)
            (temporary / INDEX).write_text(text + "\n", encoding="utf-8")
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return chosen, folder


def from_prepared(folder: str | Path, **expected: Any) -> dict[str, Domain]:
    """Read the domains that :func:`prepare` wrote as arrays, memory-mapped.

    Args:
        folder: that :func:`prepare` returned.
        expected: ``name``, ``size`` or ``resample`` that the data must have been prepared with.

    Raises:
        InputError: no such folder, data prepared otherwise, or files that are missing or cut short.
    """
    folder = Path(folder).expanduser()
    if not (folder / INDEX).is_file():
        raise input_error(
            "folder",
            got=f"{folder} without {INDEX}",
            expected="a folder that prepare wrote as arrays",
            todo="python -m dalib.data prepare NAME --form arrays; array_record is read by dalib.data.readers.tfds",
        )
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    if differs := [f"{key} {index.get(key)}" for key, value in expected.items() if index.get(key) != value]:
        raise input_error(
            "folder",
            got=f"{folder}, prepared with {', '.join(differs)}",
            expected=", ".join(f"{key} {value}" for key, value in expected.items()),
            todo="python -m dalib.data prepare NAME --form arrays with these",
        )
    # Sizes are enough to find a broken copy at once; the recorded digest is what the fingerprint uses.
    faults = [
        f"{folder / entry['inputs']}: missing or not of {entry['bytes']} bytes"
        for domain in index["domains"].values()
        for entry in domain["splits"].values()
        if not (folder / entry["inputs"]).is_file() or os.path.getsize(folder / entry["inputs"]) != entry["bytes"]
    ]
    if faults:
        raise input_error("folder", got="; ".join(faults), expected="whole files", todo="prepare the data again")
    domains = {}
    for name, domain in index["domains"].items():
        splits = {
            split: PreparedSplit(folder / entry["inputs"], np.load(folder / entry["labels"]), entry["sha256"])
            for split, entry in domain["splits"].items()
        }
        # A pool was written once; both splits must be one object, which says that the protocol is transductive.
        if list(splits) == [POOLED]:
            splits = dict.fromkeys(("train", "test"), splits[POOLED])
        domains[name] = Domain(name, tuple(domain["class_names"]), splits)
    return domains


def _arrays(name: str, domain: Domain, splits: Mapping[str, Any], folder: Path, geometry: Transform) -> dict[str, Any]:
    entries = {}
    for split, source in splits.items():
        inputs, labels = f"{name}-{split}.npy", f"{name}-{split}-labels.npy"
        if isinstance(source, ImageFiles):
            digest = _decode(source, folder / inputs, geometry)
        else:
            # The digest is taken while the bytes are at hand: a fingerprint then needs no reading of the whole file.
            np.save(folder / inputs, source.inputs)
            digest = hashlib.sha256(np.ascontiguousarray(source.inputs).view(np.uint8).data).hexdigest()
        np.save(folder / labels, np.asarray(source.labels, np.int32))
        length = os.path.getsize(folder / inputs)
        entries[split] = {
            "inputs": inputs,
            "labels": labels,
            "bytes": length,
            "sha256": digest,
        }
    return {"class_names": list(domain.class_names), "source": domain.fingerprint(), "splits": entries}


def _decode(source: ImageFiles, path: Path, geometry: Transform) -> str:
    """Write all images of a split, resized; return the SHA-256 of their bytes."""

    def read(file: Path) -> np.ndarray:
        return geometry(read_image(file, source.mode), np.random.default_rng(0))

    # One image first, since it says how large all of them are; then blocks of bounded memory.
    shape = (len(source), *read(source.root / source.paths[0]).shape)
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(source), CHUNK):
            files = [source.root / name for name in source.paths[start : start + CHUNK]]
            block = np.stack(list(pool.map(read, files)))
            stored[start : start + len(block)] = block
            digest.update(block.data)
    stored.flush()
    return digest.hexdigest()
