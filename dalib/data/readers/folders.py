"""Domains of image files: from a folder with one sub-folder a class, or from list files."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.data.domain import Domain, counted_names, stratified_holdout
from dalib.data.readers.files.lists import LABELLED, UNLABELLED_LINES, again, read_list, root_hint
from dalib.data.readers.files.names import class_name
from dalib.data.readers.files.trees import class_tree
from dalib.data.readers.files.walk import Passed, account
from dalib.data.readers.images import ImageFiles, check_images, listed

MODES = {"RGB": "colour", "L": "grey"}

# Domains from class-per-folder trees of images.


def from_folder(
    name: str,
    root: str | Path,
    *,
    splits: Mapping[str, str] | None = None,
    holdout: float | None = None,
    seed: int = 0,
    mode: str = "RGB",
    check: bool = True,
) -> Domain:
    """Make a domain from a tree with one folder a class: ``root/<class>/…`` or ``root/<split>/<class>/…``.

    Classes are the folders' names in sorted order, the same in every split. Below a class folder images may be at any
    depth; :func:`dalib.data.readers.files.walk.images_below` decides which files are images. A warning counts and names
    files passed over. A single folder between ``root`` and the class folders (``amazon/images/…``) is passed through.

    Images are decoded as :func:`dalib.data.readers.images.read_image` says: upright, transparent pixels on white.

    Args:
        name: the domain's name.
        root: the tree.
        splits: folder below ``root`` of each split, for example ``{"train": "train", "test": "val"}``; two splits may
            share a folder (the transductive protocol). Default: with class folders in ``root`` all images are the split
            ``train``; with folders of class folders, one of them called ``train``, these are the splits.
        holdout: with class folders directly in ``root``, the share of every class that becomes the split ``test``.
        seed: for ``holdout``; the same seed gives the same splits.
        mode: ``"RGB"`` or ``"L"`` (grey); every image is converted to it.
        check: open the header of every file now. Otherwise an unreadable file raises when it is first used.

    Raises:
        InputError: a folder that is missing or empty, class folders that differ between splits or have equal names,
            images outside class folders or in two of them, or unreadable images (all of them, ten shown).
    """
    domain, passed = read_folder(name, root, splits=splits, holdout=holdout, seed=seed, mode=mode)
    if check:
        every = (source for source in domain.splits.values() if isinstance(source, ImageFiles))
        check_images("root", dict.fromkeys(source.root / path for source in every for path in source.paths))
    if passed:
        warnings.warn(f"{name}: {account(passed)}", stacklevel=2)
    return domain


def read_folder(
    name: str,
    root: str | Path,
    *,
    splits: Mapping[str, str] | None = None,
    holdout: float | None = None,
    seed: int = 0,
    mode: str = "RGB",
    argument: str = "root",
) -> tuple[Domain, Passed]:
    """Make the domain of :func:`from_folder` with unopened files, and list the names that were passed over."""
    choose("mode", mode, MODES)
    root = Path(root).expanduser()
    found = class_tree(root, splits, argument=argument)
    if holdout is not None and (splits is not None or len(found.files) > 1):
        got = f"{holdout} with splits {', '.join(found.files)}"
        raise input_error("holdout", got=got, expected="either holdout or split folders")
    sources = {split: _source(root, files, found.class_names, mode) for split, files in found.files.items()}
    # Held out by class, with the same division for the same seed.
    if holdout is not None:
        whole = sources["train"]
        parts = stratified_holdout(whole.labels, holdout, seed=seed)
        sources = {
            split: ImageFiles(root, tuple(whole.paths[i] for i in rows), whole.labels[rows], mode)
            for split, rows in zip(("train", "test"), parts, strict=True)
        }
    return Domain(name, found.class_names, sources), found.passed


def _source(root: Path, tree: Mapping[str, list[Path]], class_names: tuple[str, ...], mode: str) -> ImageFiles:
    paths = [Path(os.path.relpath(path, root)).as_posix() for name in class_names for path in tree[name]]
    labels = np.repeat(np.arange(len(class_names), dtype=np.int32), [len(tree[name]) for name in class_names])
    return ImageFiles(root, tuple(paths), labels, mode)


# Domains from list files.


def from_list_file(
    name: str,
    files: Mapping[str, str | Path],
    *,
    root: str | Path,
    class_names: Sequence[str] | None = None,
    labelled: bool = True,
    allow_absolute: bool = False,
    mode: str = "RGB",
    check: bool = True,
) -> Domain:
    """Make a domain from list files of images, one ``path label`` a line; see :mod:`dalib.data.readers.files.lists`.

    Images are decoded as :func:`dalib.data.readers.images.read_image` says: upright, transparent pixels on white. An
    image that is listed again with the same label counts again, with a warning.

    Args:
        name: the domain's name.
        files: the list file of each split (UTF-8); two splits may share one.
        root: folder that the paths are relative to.
        class_names: names of the C classes, in the order of the labels. Default: ``"0"``, ``"1"``, … up to the largest
            label; of labels that are names, the names in sorted order.
        labelled: without it labels are not read, lines may be paths alone, and ``class_names`` are needed.
        allow_absolute: accept absolute paths. Otherwise every path must stay inside ``root``.
        mode: ``"RGB"`` or ``"L"`` (grey); every image is converted to it.
        check: open the header of every image now. Otherwise an unreadable file raises when it is first used.

    Raises:
        InputError: a missing or empty list file; files that are not images; or one error for all bad lines, with their
            numbers, ten shown: missing images, paths that leave ``root``, bad labels, two labels of one image.
    """
    # Arguments first, then all lists, then images: the cheap checks come before the reading of files.
    root = Path(root).expanduser()
    choose("mode", mode, MODES)
    if not files:
        raise input_error("files", got="none", expected="at least one list file, by split")
    if not root.is_dir():
        raise input_error("root", got=f"{root} (no such folder)", expected="the folder that the paths are relative to")
    if isinstance(class_names, str):
        raise input_error("class_names", got=f"the text {class_names!r}", expected="a sequence of names")
    if not labelled and class_names is None:
        raise input_error("class_names", got="None, and labelled=False", expected="the classes, usually the source's")
    named = None if class_names is None else [class_name(str(each)) for each in class_names]
    told = {"labelled": labelled, "class_names": named, "allow_absolute": allow_absolute}
    lists = {s: read_list(f"files[{s!r}]", Path(path).expanduser(), root, **told) for s, path in files.items()}  # type: ignore[arg-type]
    # Bad lines are mostly one wrong root, so a likely better one comes with them.
    if faults := [fault for found in lists.values() for fault in found.faults]:
        hint = next((hint for path in files.values() if (hint := root_hint(Path(path).expanduser(), root))), "")
        expected = LABELLED if labelled else UNLABELLED_LINES
        raise listed("files", faults, what="bad lines", expected=expected, todo=hint)
    if check:
        check_images("files", dict.fromkeys(root / e.path for found in lists.values() for e in found.entries))
    for split, found in lists.items():
        if found.repeated:
            warnings.warn(f"{name}/{split}: {again(found.repeated)}", stacklevel=2)
    # Names of classes come from all lists together, or train and test would number them differently.
    labels = [entry.label for found in lists.values() for entry in found.entries]
    names = _list_classes(labels) if named is None else named
    index = {each: i for i, each in enumerate(names)}
    sources = {}
    for split, found in lists.items():
        # A number is a place in the order of the classes, even where they have names.
        rows = [(int(e.label) if e.label.isdecimal() else index[e.label]) if labelled else -1 for e in found.entries]
        sources[split] = ImageFiles(root, tuple(e.path for e in found.entries), np.asarray(rows, np.int32), mode)
    return Domain(name, tuple(names), sources)


def _list_classes(labels: Sequence[str]) -> Sequence[str]:
    """Name the classes of a list without class names: numbers up to the largest, or the names in sorted order."""
    if labels[0].isdecimal():
        return counted_names(max(map(int, labels)))
    return sorted(set(labels))
