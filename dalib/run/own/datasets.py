"""Reader of one place of a command: a user's folder or file, or a domain of a named data set of any package."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import InputError, choose, input_error
from dalib.data import UNLABELLED, Domain, benchmarks
from dalib.data.readers.files.own_arrays import BY_RANK, with_channels
from dalib.data.readers.images import ImageFiles
from dalib.data.readers.places import Place, Raw
from dalib.data.readers.user_files import read
from dalib.run.cli.progress import say
from dalib.run.own.examples import reading
from dalib.run.own.options import Own
from dalib.run.registry import DATASETS, check_domains


def load_domain(name: str, domain: str, data_dir: Path | None) -> Domain:
    """Load one domain of a data set.

    Raises:
        InputError: for an unknown data set or domain, or bad files.
    """
    choose("dataset", name, DATASETS)
    if DATASETS.origin(name) is None:
        found = check_domains(name, benchmarks.load(name, data_dir, domains=(domain,)))
    else:
        found = _foreign(name, data_dir)
    return choose(f"domain of {name}", domain, found)


@lru_cache(maxsize=1)
def _foreign(name: str, data_dir: Path | None) -> dict[str, Domain]:
    """Load all domains of another package's data set, once a command."""
    return DATASETS[name](data_dir)


def forget() -> None:
    """Drop the domains of other packages that were read; those in use stay."""
    _foreign.cache_clear()


def read_place(role: str, place: Place, options: Own) -> Raw:
    """Read a place.

    Labels are optional in the target's pool where a test is named, and in a test under ``--no-target-labels``."""
    how = reading(options, place)
    if place.dataset is not None and how.real:
        got = f"{place.path}, with classes as labels"
        raise input_error(role, got=got, expected="a file with real-valued labels for --task regression")

    def examples(labelled: bool) -> Raw:
        if place.dataset is None:
            return read(role, place, how, labelled=labelled)
        split = "test" if role.endswith("-test") else "train"
        return read_dataset(role, place, options.data_dir, labelled=labelled, split=split)

    # Labels that were refused are never read, so nothing can leak from them.
    if role == "target" and not options.target_labels:
        return examples(False)
    optional = options.target_test and (role == "target" or (role == "target-test" and not options.target_labels))
    if role == "target" and options.oracle:
        return examples(True)
    if optional and _flat_folder(place):
        return examples(False)
    try:
        return examples(True)
    except InputError as error:
        # In a folder of folders, reading on without labels could take in splits that are not meant.
        if role not in ("target", "target-test") or (place.path.is_dir() and not _flat_folder(place)):
            raise
        try:
            bare = examples(False)
        except InputError:
            raise error from None
        if not optional:
            todo = "--no-target-labels predicts it; --target-test names another part of the target, with labels"
            raise InputError(f"{error}\n  {'or' if 'what to do' in str(error) else 'what to do'}: {todo}") from None
        say(f"{role}: read without its labels, which are optional here ({str(error).splitlines()[0]})")
        return bare


def _flat_folder(place: Place) -> bool:
    """Tell whether a place is a folder that holds files and no folders, so it names no class."""
    if place.dataset is not None or not place.path.is_dir():
        return False
    return not any(path.is_dir() and not path.name.startswith(".") for path in place.path.iterdir())


def read_dataset(argument: str, place: Place, data_dir: Path | None, *, labelled: bool, split: str = "train") -> Raw:
    """The examples of a place ``DATASET:DOMAIN``.

    Args:
        argument: for messages, ``source`` or ``target``.
        place: of a data set.
        data_dir: where its files are.
        labelled: False where labels are neither needed nor kept.
        split: of the domain.

    Raises:
        InputError: for an unknown name, bad data, or examples that no net of ``dalib adapt`` takes.
    """
    assert place.dataset is not None
    domain = load_domain(*place.dataset, data_dir)
    records = domain.split(split)
    inputs: Any = records
    labels = getattr(records, "labels", None)
    # Images in files are decoded later and one by one; all else is in memory anyway.
    if not isinstance(records, ImageFiles) or labels is None:
        inputs, labels = records.__getitems__(range(len(records)))
    kind = _kind(f"{argument} {place.path}", inputs)
    if kind == "text":
        inputs = list(inputs)
    elif kind == "images" and isinstance(inputs, np.ndarray):
        inputs = with_channels(f"{argument} {place.path}", inputs)
    if not labelled:
        return Raw(kind, inputs, None)
    if (np.asarray(labels) == UNLABELLED).any():
        got = f"examples without a label in the split {split!r}"
        raise input_error(f"{argument} {place.path}", got=got, expected="a label for each")
    return Raw(kind, inputs, [domain.class_names[int(label)] for label in labels])


def _kind(where: str, inputs: Any) -> str:
    """Return the kind of the examples; an InputError for tagged texts, recordings and other forms."""
    if isinstance(inputs, ImageFiles) or (isinstance(inputs, list) and all(np.ndim(x) == 3 for x in inputs)):
        return "images"
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind in "OU" and inputs.ndim == 1 and all(isinstance(text, str) for text in inputs):
            return "text"
        if inputs.ndim in BY_RANK and inputs.dtype.kind in "fiub":
            return BY_RANK[inputs.ndim]
    shape = getattr(inputs, "shape", type(inputs).__name__)
    expected = "images [n, h, w, c], vectors [n, d], series [n, t, c] or texts"
    raise input_error(where, got=f"examples of the form {shape}", expected=expected)
