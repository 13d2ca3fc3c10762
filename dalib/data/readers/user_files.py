"""Readers of :mod:`dalib.run.own.adapt`: from a user's folder or file to inputs and class names.

Every reader collects faults and goes on, so that one error names all of it before anything is trained.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from dalib.data.domain import UNLABELLED
from dalib.data.readers.files.lists import LABELLED, UNLABELLED_LINES, again, read_list, root_hint
from dalib.data.readers.files.own_arrays import read_archive
from dalib.data.readers.files.walk import Passed, account, images_below
from dalib.data.readers.folders import read_folder
from dalib.data.readers.images import ImageFiles, listed
from dalib.data.readers.places import KINDS as KINDS
from dalib.data.readers.places import Options, Place, Raw
from dalib.data.readers.places import place_of as place_of
from dalib.data.readers.tabular.content import FORMS, form_of
from dalib.data.readers.tabular.texts import read_lines, read_table

LISTS = (".txt", ".lst", ".list")


def read(argument: str, place: Place, options: Options, *, labelled: bool = True) -> Raw:
    """Read one domain.

    Args:
        argument: for messages, ``source`` or ``target``.
        place: its address.
        options: reading options.
        labelled: False where labels are neither needed nor read; a folder's images may then be anywhere in it.

    Raises:
        InputError: naming every fault found in this place.
    """
    where, path = f"{argument} {place.path}", place.path
    name = path.name.lower()
    # Real-valued labels exist in arrays and tables only: a folder's name is a class.
    if options.real and labelled and (path.is_dir() or name.endswith(LISTS)):
        expected = "an .npz archive, or a table .csv or .jsonl: elsewhere labels are classes"
        raise input_error(where, got=f"{path.name} for real-valued labels", expected=expected)
    # The form is told by the name alone, never by a look inside: a file of the wrong form is named, not guessed at.
    if path.is_dir():
        raw = _folder(where, path, labelled)
    elif not path.is_file():
        raise input_error(where, got="no such file or folder", expected="a folder of images or a file")
    elif options.kind == "text" and name.endswith((".txt", ".txt.gz")):
        raw = read_lines(where, path, labelled)
    elif name.endswith(LISTS):
        raw = _list(where, path, options, labelled)
    elif name.endswith(".npz"):
        raw = read_archive(where, path, options, labelled)
    elif form_of(name):
        raw = read_table(where, path, options, labelled)
    else:
        known = ", ".join((*LISTS, ".npz", *FORMS))
        raise input_error(where, got=f"a file {path.name}", expected=f"a folder of images, or a file {known} (.gz too)")
    # What was stated counts against what was read: a table of texts is no table of vectors.
    if options.kind is not None and raw.kind != options.kind:
        raise input_error(where, got=f"{raw.kind}", expected=f"{options.kind}, as --kind says")
    return raw


def _folder(where: str, path: Path, labelled: bool) -> Raw:
    if labelled:
        domain, passed = read_folder("here", path, argument=where)
        # Split folders would be taken for classes of a wrong level: the user has to say which one is meant.
        if set(domain.splits) != {"train"}:
            got = f"split folders {', '.join(domain.splits)}"
            todo = f"pass {path}/train, and the test split as --target-test"
            raise input_error(where, got=got, expected="one folder a class", todo=todo)
        split: Any = domain.split("train")
        return Raw("images", split, [domain.class_names[label] for label in split.labels], _notes(where, passed))
    found = images_below(path)
    if not found.paths:
        got = "; ".join(["no image", *([account(found.passed)] if found.passed else [])])
        raise input_error(where, got=got, expected="images")
    return Raw("images", _unlabelled(path, found.paths), None, _notes(where, found.passed))


def _list(where: str, path: Path, options: Options, labelled: bool) -> Raw:
    root = options.root or path.parent
    found = read_list(where, path, root, labelled=labelled, allow_absolute=options.absolute_paths)
    if found.faults:
        expected, hint = LABELLED if labelled else UNLABELLED_LINES, root_hint(path, root)
        raise listed(where, found.faults, what="bad lines", expected=expected, todo=hint)
    files = _unlabelled(root, [entry.path for entry in found.entries])
    labels = [entry.label for entry in found.entries] if labelled else None
    return Raw("images", files, labels, (f"{where}: {again(found.repeated)}",) if found.repeated else ())


def _unlabelled(root: Path, paths: Sequence[str]) -> ImageFiles:
    return ImageFiles(root, tuple(paths), np.full(len(paths), UNLABELLED, np.int32))


def _notes(where: str, passed: Passed) -> tuple[str, ...]:
    return (f"{where}: {account(passed)}",) if passed else ()
