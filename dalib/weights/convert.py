"""A foreign checkpoint turned into variables of the encoder that the manifest names for it."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import InputError, choose
from dalib.encoders import ENCODERS, make_encoder
from dalib.types import ImagePreprocessing, Preprocessing, PyTree, TextPreprocessing
from dalib.weights.families import TABLES
from dalib.weights.files import flatten
from dalib.weights.manifest import Entry
from dalib.weights.readers import read_arrays
from dalib.weights.rules import RuleTable, assemble

OPTIONAL = ("params/head/", "params/pooler/", "params/projection/", "params/fc6/", "params/fc7/")
"""Parts behind the features that an encoder has by its fields; a conversion holds all that the checkpoint has."""


def convert_file(entry: Entry, checkpoint: str | os.PathLike[str]) -> PyTree:
    """The variables of the entry's encoder, with every optional part that the entry names, from its file or folder.

    Optional parts that some files of a checkpoint have and others lack (RoBERTa's pooler) are not named, and left out.

    Raises:
        InputError: for an unreadable checkpoint, or one that does not fit; all differences are listed.
    """
    like, table = skeleton(entry)
    return _assembled(read_arrays(checkpoint), table, like, f"{Path(checkpoint).name} for {entry.name}", absent(like))


def convert_own(checkpoint: str | os.PathLike[str], layout: str, like: PyTree) -> PyTree:
    """Variables like ``like`` from a checkpoint of the user's own; optional parts that ``like`` lacks are left out.

    Raises:
        InputError: as :func:`convert_file`.
    """
    table = choose("layout", layout, TABLES)
    return _assembled(read_arrays(checkpoint), table, like, os.fspath(checkpoint), absent(like))


def absent(like: PyTree) -> tuple[str, ...]:
    """Those prefixes of ``OPTIONAL`` that a net does not have."""
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
    """Shapes of the variables of the entry's encoder with all its published parts, and its rule table.

    Raises:
        InputError: for an encoder, field or table that this version does not have.
    """
    table = choose("rule table", entry.table, TABLES)
    fields = {**entry.fields, **entry.parts} | ({"num_classes": entry.num_classes} if entry.num_classes else {})
    encoder = make_encoder(entry.encoder, **fields)
    return variable_shapes(encoder, entry.preprocessing), table


def variable_shapes(encoder: Any, preprocessing: Preprocessing) -> PyTree:
    """``jax.eval_shape`` of the encoder's ``init`` on an input as these weights want it."""
    return jax.eval_shape(encoder.init, jax.random.key(0), sample_input(preprocessing))


def sample_input(preprocessing: Preprocessing) -> jax.ShapeDtypeStruct:
    """The shape and dtype of one input: an image ``[1, size, size, 3]``, token ids ``[1, 8]``, a second of sound."""
    if isinstance(preprocessing, ImagePreprocessing):
        side = preprocessing.size
        return jax.ShapeDtypeStruct((1, side, side, len(preprocessing.mean)), jnp.float32)
    if isinstance(preprocessing, TextPreprocessing):
        return jax.ShapeDtypeStruct((1, 8), jnp.int32)
    return jax.ShapeDtypeStruct((1, preprocessing.sample_rate), jnp.float32)


def has_field(encoder: str, name: str) -> bool:
    """Whether the encoder of this name has a field of that name."""
    factory: Any = ENCODERS[encoder]
    built = getattr(factory, "func", factory)
    return dataclasses.is_dataclass(built) and name in {f.name for f in dataclasses.fields(built)}
