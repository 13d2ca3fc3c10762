"""Class folders in a tree of images: ``root/<class>/…`` or ``root/<split>/<class>/…``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dalib.core.checks import InputError, input_error
from dalib.data.readers.files.names import class_name, twins
from dalib.data.readers.files.walk import Passed, account, images_below, names_in, why_passed
from dalib.data.readers.images import listed


class Tree(NamedTuple):
    """A tree of images.

    Attributes:
        files: by split and class, the images in sorted order.
        class_names: sorted.
        passed: names that were passed over, by reason.
    """

    files: dict[str, dict[str, list[Path]]]
    class_names: tuple[str, ...]
    passed: Passed


def class_tree(root: Path, splits: Mapping[str, str] | None = None, *, argument: str = "root") -> Tree:
    """Find the classes and images of a tree; see :func:`dalib.data.from_folder`. Errors name ``argument``.

    Raises:
        InputError: as ``from_folder``, but for images that cannot be read.
    """
    inside = _folders(argument, root)
    if splits is None:
        # Archives often unpack into one folder more; it is passed through as long as it cannot be a class.
        while len(inside) == 1 and not _holds_images(inside[0]) and _has_folders(inside[0]):
            root = inside[0]
            inside = _folders(argument, root)
        if not any(_holds_images(folder) for folder in inside):
            splits = _found_splits(argument, root, inside)
    trees = {split: root / folder for split, folder in (splits or {"train": "."}).items()}
    passed: Passed = {}
    files = {split: _class_files(argument, tree, passed) for split, tree in trees.items()}
    return Tree(files, _common_classes(files), passed)


def _folders(argument: str, root: Path) -> list[Path]:
    """List the folders directly in ``root`` that may hold classes, sorted by name."""
    if not root.is_dir():
        came = "a file" if root.is_file() else "no such folder"
        raise input_error(argument, got=f"{root} ({came})", expected="a folder of images, one folder a class")
    found = [root / name for name in names_in(root) if (root / name).is_dir() and not why_passed(root / name)]
    if not found:
        raise input_error(argument, got=f"{root} without any folder in it", expected="one folder a class")
    return found


def _holds_images(folder: Path) -> bool:
    """Tell whether images are directly in the folder."""
    return any(not why_passed(folder / name) and (folder / name).is_file() for name in names_in(folder))


def _has_folders(folder: Path) -> bool:
    return any((folder / name).is_dir() and not why_passed(folder / name) for name in names_in(folder))


def _found_splits(argument: str, root: Path, folders: list[Path]) -> dict[str, str]:
    names = [folder.name for folder in folders]
    if not any(_has_folders(folder) for folder in folders):
        raise _empty(argument, [str(folder) for folder in folders])
    if "train" not in names:
        first = next(folder.name for folder in folders if _has_folders(folder))
        raise input_error(
            "splits" if argument == "root" else argument,
            got=f"{root} with folders of folders: {', '.join(names[:10])}",
            expected="class folders with images in them, or split folders of which one is called train",
            todo=f'pass one of them, for example {root}/{first}, or in Python splits={{"train": "{first}"}}',
        )
    return {name: name for name in names if _has_folders(root / name)}


def _class_files(argument: str, tree: Path, passed: Passed) -> dict[str, list[Path]]:
    """List the images of each class of ``tree``, in sorted order; add names passed over to ``passed``."""
    folders = _folders(argument, tree)
    # An image next to class folders has no class: a sign of a wrong root.
    stray = [name for name in names_in(tree) if (tree / name).is_file() and not why_passed(tree / name)]
    if stray:
        shown = [str(tree / name) for name in stray]
        raise listed(argument, shown, what="images outside class folders", expected="images in class folders only")
    # Two spellings of one class would be two classes that nobody can tell apart.
    if same := twins(folder.name for folder in folders):
        shown = [" and ".join(map(ascii, group)) for group in same]
        what = f"class folders in {tree} that look the same"
        raise listed(argument, shown, what=what, expected="one spelling a class")
    for name in names_in(tree):
        if reason := why_passed(tree / name):
            passed.setdefault(reason, []).append(name)
    files, empty = dict[str, list[Path]](), list[str]()
    # An empty class would train a column of the net that no example ever supports.
    for folder in folders:
        found = images_below(folder)
        files[class_name(folder.name)] = [folder / path for path in found.paths]
        for reason, names in found.passed.items():
            passed.setdefault(reason, []).extend(f"{folder.name}/{name}" for name in names)
        if not found.paths:
            empty.append(f"{folder}{', '.join(['', account(found.passed)] if found.passed else '')}")
    if empty:
        raise _empty(argument, empty)
    _check_one_class(argument, files)
    return files


def _check_one_class(argument: str, files: Mapping[str, list[Path]]) -> None:
    """Refuse an image that links put into two classes."""
    seen: dict[tuple[int, int], tuple[str, Path]] = {}
    faults = []
    for label, paths in files.items():
        for path in paths:
            status = os.stat(path)
            other, first = seen.setdefault((status.st_dev, status.st_ino), (label, path))
            if other != label:
                faults.append(f"{path} is {first}, of class {other}")
    if faults:
        raise listed(argument, faults, what="images in two classes, by links", expected="one class an image")


def _empty(argument: str, folders: list[str]) -> InputError:
    return listed(argument, folders, what="empty class folders", expected="images in them", todo="fill or remove them")


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
