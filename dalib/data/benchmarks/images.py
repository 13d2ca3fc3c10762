"""Image benchmarks: class folders or list files, read against a manifest; all faults are collected."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from dalib.data.benchmarks.facts import SHOWN, Facts, Reading
from dalib.data.domain import pool
from dalib.data.readers.files.walk import OTHER, images_below, names_in, why_passed
from dalib.data.readers.images import ImageFiles


@dataclass(frozen=True)
class Tree:
    """Places of class folders.

    Attributes:
        roots: folders below the data directory that may hold the domains, besides the directory itself.
        folders: for each domain the folders below a root that may hold its class folders, the likeliest first.
        aliases: other names of class folders, for example ``{"0": "bird"}``.
    """

    roots: tuple[str, ...]
    folders: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict)


def plain(name: str) -> str:
    """Strip case, blanks and punctuation from a folder's name; class folders are told apart by the rest."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def find_root(tree: Tree, data_dir: Path) -> Path:
    """Find the folder that holds most of the domains (the data directory itself if none does)."""
    places = [data_dir, *(data_dir / name for name in tree.roots)]
    return max(places, key=lambda place: sum(domain_folder(tree, place, name) is not None for name in tree.folders))


def domain_folder(tree: Tree, root: Path, domain: str) -> Path | None:
    """Find the first folder of a domain that exists."""
    return next((root / folder for folder in tree.folders[domain] if (root / folder).is_dir()), None)


def domain_folders(tree: Tree, root: Path, domains: tuple[str, ...], reading: Reading) -> Iterator[tuple[str, Path]]:
    """Yield each domain with its folder; add a fault to ``reading`` for one without, or a single one for all."""
    # A wrong root misses all domains: one fault says so, with the names that are there.
    if len(domains) > 1 and not any(domain_folder(tree, root, name) for name in domains):
        inside = [name for name in names_in(root) if not why_passed(root / name)]
        holds = ", ".join(inside[:SHOWN]) + (", …" if len(inside) > SHOWN else "")
        reading.faults.append(
            f"{', '.join(domains)}: no folder of these names below {root}, which holds {holds or 'nothing'}"
        )
        return
    for name in domains:
        folder = domain_folder(tree, root, name)
        if folder is None:
            reading.faults.append(f"{name}: no folder {' or '.join(tree.folders[name])} below {root}")
        else:
            yield name, folder


def pooled_folders(tree: Tree) -> Callable[[Facts, Path, tuple[str, ...]], Reading]:
    """Make a reader of a benchmark with one pool of class folders a domain."""

    def read(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
        root = find_root(tree, data_dir)
        reading = Reading({}, [])
        for name, folder in domain_folders(tree, root, domains, reading):
            images, faults = read_class_folders(name, folder, facts.classes[name], aliases=tree.aliases, root=root)
            reading.faults.extend(faults)
            if images is None:
                reading.faults.append(f"{name}: no images in class folders below {folder}")
            else:
                reading.domains[name] = pool(name, facts.classes[name], images)
        return reading

    return read


def read_class_folders(
    domain: str, folder: Path, class_names: Sequence[str], *, aliases: Mapping[str, str], root: Path
) -> tuple[ImageFiles | None, list[str]]:
    """Read the images below the class folders of one domain, by class and then by path.

    Returns:
        The record source (None if there is no image), and the faults: class folders too many, files that are no images.
        Missing classes show in the counts.
    """
    known = {plain(name): i for i, name in enumerate(class_names)}
    known |= {plain(other): list(class_names).index(name) for other, name in aliases.items()}
    faults: list[str] = []
    found: dict[int, list[str]] = {}
    # Folders are matched by plain names: releases differ in case and punctuation.
    extra: list[str] = []
    for path in (folder / name for name in names_in(folder)):
        if why_passed(path):
            continue
        if path.is_file():
            faults.append(f"{domain}: image outside class folders: {path}")
            continue
        # What is passed over is a fault here: a benchmark's counts are published.
        below = images_below(path)
        faults += [f"{domain}: not an image: {path / name}" for name in below.passed.get(OTHER, ())]
        images = [Path(os.path.relpath(path / name, root)).as_posix() for name in below.paths]
        label = known.get(plain(path.name))
        if label is None:
            extra.append(f"{path} ({len(images)} images)")
        else:
            found.setdefault(label, []).extend(images)
    # A wrong root shows as many foreign folders; a few of them name it.
    if len(extra) > SHOWN:
        extra = [f"{len(extra)} of them: {', '.join(extra[:SHOWN])}, …"]
    faults += [f"{domain}: class folder too many: {path}" for path in extra]
    paths = [path for label in sorted(found) for path in sorted(found[label])]
    labels = [label for label in sorted(found) for _ in found[label]]
    return (ImageFiles(root, tuple(paths), np.asarray(labels, np.int32)) if paths else None), faults


def read_list(
    domain: str, file: Path, root: Path, folder: str, classes: int, *, first_label: int = 0
) -> tuple[ImageFiles | None, list[str]]:
    """Read the images of a published list file (``path label`` a line).

    Such lists carry paths of their author's machine. A path is looked up below ``root`` by its longest ending that
    exists there, then by its file name alone in ``folder``; nothing outside ``root`` is read.

    Returns:
        The record source (None if no line is good), and the faults with their line numbers.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return None, [f"{domain}: {file}: {error}"]
    paths, labels, faults, cut = [], [], [], 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        # Paths may hold blanks, so the label is what follows the last one.
        *head, word = line.strip().rsplit(maxsplit=1)
        parts = [part for part in PurePosixPath("".join(head)).parts if part != "/"]
        label = int(word) - first_label if word.isascii() and word.isdigit() else -1
        where = f"{domain}: {file.name}, line {number}"
        if not parts or not 0 <= label < classes:
            faults.append(f"{where}: not a path and a label from {first_label} to {first_label + classes - 1}: {line}")
            continue
        # Looked up below the root, a path with ".." could still lead out of it.
        if ".." in parts:
            faults.append(f"{where}: the path leaves its folder: {line}")
            continue
        # All lines of a file are cut at one place, so the last success is tried first.
        for skip in dict.fromkeys((min(cut, len(parts) - 1), *range(len(parts)))):
            if os.path.isfile(root.joinpath(*parts[skip:])):
                cut, path = skip, "/".join(parts[skip:])
                break
        else:
            path = f"{folder}/{parts[-1]}"
            if not os.path.isfile(root / path):
                faults.append(f"{where}: no such image: {'/'.join(parts)}")
                continue
        paths.append(path)
        labels.append(label)
    return (ImageFiles(root, tuple(paths), np.asarray(labels, np.int32)) if paths else None), faults


def undecodable(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Decode every image (JPEGs at an eighth of their size, which reads all their bytes); return those that fail."""
    from PIL import Image

    def reason(path: Path) -> str:
        try:
            with Image.open(path) as image:
                # The smallest scale that the decoder offers still reads every byte of a JPEG.
                image.draft(None, (1, 1))
                image.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ordered = list(paths)
        return [(path, fault) for path, fault in zip(ordered, pool.map(reason, ordered), strict=True) if fault]
