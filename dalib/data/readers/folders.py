"""Domains of image files: from a folder with one sub-folder a class, or from a list file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.data.domain import Domain, stratified_holdout
from dalib.data.readers.images import IMAGE_SUFFIXES, ImageFiles, check_images, listed

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
    """Domain from a tree with one folder a class: ``root/<class>/…`` or ``root/<split>/<class>/…``.

    Classes are the folders' names in sorted order, which must be the same in every split. Below a class folder images
    may lie at any depth; names that begin with a dot are passed over.

    Args:
        name: the domain's name.
        root: the tree.
        splits: folder below ``root`` of each split, for example ``{"train": "train", "test": "val"}``; two splits may
            share a folder (the transductive protocol). Without it, ``root`` holds either class folders, and all images
            are the split ``train``, or split folders one of which is called ``train``, and they are the splits.
        holdout: with class folders directly in ``root``, the share of every class that becomes the split ``test``.
        seed: for ``holdout``; the same seed gives the same splits.
        mode: ``"RGB"`` or ``"L"`` (grey); every image is converted to it.
        check: open the header of every file now. Without it an unreadable file raises when it is first used.

    Raises:
        InputError: a folder that is missing or empty, class folders that differ between splits, images outside class
            folders, or files that are not images (all of them, ten shown).
    """
    root = Path(root).expanduser()
    if mode not in ("RGB", "L"):
        raise input_error("mode", got=repr(mode), expected="'RGB' or 'L'")
    inside = _folders("root", root)
    if splits is None and not any(_holds_files(folder) for folder in inside):
        splits = _found_splits(root, inside)
    if splits is not None and holdout is not None:
        raise input_error(
            "holdout", got=f"{holdout} beside splits {', '.join(splits)}", expected="either holdout or split folders"
        )
    trees = {split: root / folder for split, folder in (splits or {"train": "."}).items()}
    files = {split: _class_files(tree) for split, tree in trees.items()}
    class_names = _common_classes(files)
    if check:
        everything = (path for tree in files.values() for paths in tree.values() for path in paths)
        check_images("root", dict.fromkeys(everything))
    sources = {split: _source(root, tree, class_names, mode) for split, tree in files.items()}
    if holdout is not None:
        whole = sources["train"]
        parts = stratified_holdout(whole.labels, holdout, seed=seed)
        sources = {
            split: ImageFiles(root, tuple(whole.paths[i] for i in rows), whole.labels[rows], mode)
            for split, rows in zip(("train", "test"), parts, strict=True)
        }
    return Domain(name, class_names, sources)


def _folders(argument: str, root: Path) -> list[Path]:
    """The folders directly in ``root``, sorted by name."""
    if not root.is_dir():
        came = "a file" if root.is_file() else "no such folder"
        raise input_error(argument, got=f"{root} ({came})", expected="a folder of images, one folder a class")
    found = sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)
    if not found:
        raise input_error(argument, got=f"{root} without any folder in it", expected="one folder a class")
    return found


def _holds_files(folder: Path) -> bool:
    return any(p.is_file() and not p.name.startswith(".") for p in folder.iterdir())


def _found_splits(root: Path, folders: list[Path]) -> dict[str, str]:
    names = [folder.name for folder in folders]
    if not any(any(sub.is_dir() for sub in folder.iterdir()) for folder in folders):
        raise _empty([str(folder) for folder in folders])
    if "train" not in names:
        raise input_error(
            "splits",
            got=f"None, and {root} holds folders of folders: {', '.join(names[:10])}",
            expected="class folders with images in them, or split folders of which one is called train",
            todo=f'say where the splits are, for example splits={{"train": "{names[0]}"}}',
        )
    return {name: name for name in names}


def _class_files(tree: Path) -> dict[str, list[Path]]:
    """The files below each class folder of ``tree``, in sorted order."""
    folders = _folders("root", tree)
    stray = sorted(str(p) for p in tree.iterdir() if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)
    if stray:
        raise listed("root", stray, what="images outside class folders", expected="images in class folders only")
    files = {
        folder.name: sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        for folder in folders
    }
    empty = [str(tree / name) for name, paths in files.items() if not paths]
    if empty:
        raise _empty(empty)
    return files


def _empty(folders: list[str]) -> InputError:
    return listed("root", folders, what="empty class folders", expected="images in them", todo="fill or remove them")


def _common_classes(files: Mapping[str, Mapping[str, list[Path]]]) -> tuple[str, ...]:
    (first, tree), *others = files.items()
    for split, other in others:
        if set(other) != set(tree):
            raise input_error(
                "splits",
                got=f"class folders only in {first}: {sorted(set(tree) - set(other)) or 'none'}; "
                f"only in {split}: {sorted(set(other) - set(tree)) or 'none'}",
                expected="the same class folders in every split",
            )
    return tuple(sorted(tree))


def _source(root: Path, tree: Mapping[str, list[Path]], class_names: tuple[str, ...], mode: str) -> ImageFiles:
    paths = [Path(os.path.relpath(path, root)).as_posix() for name in class_names for path in tree[name]]
    labels = np.repeat(np.arange(len(class_names), dtype=np.int32), [len(tree[name]) for name in class_names])
    return ImageFiles(root, tuple(paths), labels, mode)


# Domains from list files with one ``path label`` a line, as the field's benchmark repositories ship them.


def from_list_file(
    name: str,
    files: Mapping[str, str | Path],
    *,
    root: str | Path,
    class_names: Sequence[str] | None = None,
    allow_absolute: bool = False,
    mode: str = "RGB",
    check: bool = True,
) -> Domain:
    """Domain from list files.

    A line is an image's path and, after the last blank, its label, an integer in [0, C); paths may hold blanks, and
    empty lines are passed over.

    Args:
        name: the domain's name.
        files: the list file of each split (UTF-8); two splits may share one.
        root: folder that the paths are relative to.
        class_names: names of the C classes, in the order of the labels; without them ``"0"``, ``"1"``, … up to the
            largest label.
        allow_absolute: accept absolute paths. Without it every path must stay inside ``root``.
        mode: ``"RGB"`` or ``"L"`` (grey); every image is converted to it.
        check: open the header of every image now. Without it an unreadable file raises when it is first used.

    Raises:
        InputError: a missing or empty list file; missing images, paths that leave ``root`` and bad labels (all of them
            in one error with their line numbers, ten shown); files that are not images.
    """
    root = Path(root).expanduser()
    if mode not in ("RGB", "L"):
        raise input_error("mode", got=repr(mode), expected="'RGB' or 'L'")
    if not files:
        raise input_error("files", got="none", expected="at least one list file, by split")
    if not root.is_dir():
        raise input_error("root", got=f"{root} (no such folder)", expected="the folder that the paths are relative to")
    if isinstance(class_names, str):
        raise input_error("class_names", got=f"the text {class_names!r}", expected="a sequence of names")
    faults: list[str] = []
    classes = None if class_names is None else len(class_names)
    entries = {
        split: _read(split, Path(path).expanduser(), root, classes, allow_absolute, faults)
        for split, path in files.items()
    }
    if faults:
        raise listed("files", faults, what="bad lines", expected="lines of an existing image's path and its label")
    if check:
        check_images("files", dict.fromkeys(root / path for split in entries.values() for path, _ in split))
    if class_names is None:
        largest = max(label for split in entries.values() for _, label in split)
        class_names = [str(label) for label in range(largest + 1)]
    sources = {}
    for split, pairs in entries.items():
        paths, labels = zip(*pairs, strict=True)
        sources[split] = ImageFiles(root, paths, np.asarray(labels, np.int32), mode)
    return Domain(name, tuple(map(str, class_names)), sources)


def _read(
    split: str, file: Path, root: Path, classes: int | None, allow_absolute: bool, faults: list[str]
) -> list[tuple[str, int]]:
    """The (path, label) pairs of one list file; what is wrong is appended to ``faults``."""
    if not file.is_file():
        raise input_error(f"files[{split!r}]", got=f"{file} (no such file)", expected="a list file")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise input_error(f"files[{split!r}]", got=f"{file}: {error}", expected="text in UTF-8") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        *head, word = line.strip().rsplit(maxsplit=1)
        path = "".join(head)
        fault = _fault(path, word, root, classes, allow_absolute)
        if fault:
            faults.append(f"{file.name}, line {number}: {fault}")
        else:
            pairs.append((path, int(word)))
    if not pairs and not faults:
        raise input_error(f"files[{split!r}]", got=f"{file} without any line", expected="one 'path label' a line")
    return pairs


def _fault(path: str, word: str, root: Path, classes: int | None, allow_absolute: bool) -> str:
    if not path:
        return f"not 'path label': {word!r}"
    if not (word.isascii() and word.isdigit()):
        return f"label {word!r} is not an integer ≥ 0"
    if classes is not None and int(word) >= classes:
        return f"label {word} but there are {classes} class names"
    if os.path.isabs(path):
        if not allow_absolute:
            return f"absolute path {path} (allow_absolute=True accepts it)"
    elif os.path.normpath(path).split(os.sep)[0] == os.pardir:
        return f"{path} leaves the root folder"
    return "" if os.path.isfile(root / path) else f"no such file: {path}"
