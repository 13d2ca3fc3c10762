"""Loading of an encoder with its published weights, in one call."""

import os
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from dalib.core.checks import choose, input_error, unknown_name
from dalib.core.types import Preprocessing, PyTree, TextPreprocessing
from dalib.encoders.checkpoints.variables import load_variables
from dalib.encoders.pretrained.fetch import absent, convert_own, fetch, variable_shapes
from dalib.encoders.pretrained.hub import PREFIX, fetch_repository
from dalib.encoders.pretrained.manifest import entries_of, manifest
from dalib.encoders.registry import ENCODERS, fields_of, make_encoder

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt")


def load(
    name: str,
    *,
    weights: str | os.PathLike[str] = "default",
    layout: str | None = None,
    num_classes: int = 0,
    sharding: Any = None,
    **fields: Any,
) -> tuple[nn.Module, PyTree, Preprocessing]:
    """Build an encoder with published weights, fetched and converted on first use and memory-mapped afterwards.

    Args:
        name: of the encoder, a key of ``ENCODERS``.
        weights: ``"default"``; a name of the manifest (``python -m dalib.run.cli.weights list``); or a checkpoint file,
            a folder or ``hf://organisation/name`` of your own choice, which is converted at every call.
        layout: of a checkpoint of your own, a key of ``dalib.encoders.pretrained.TABLES``; None is that of the default
            weights.
        num_classes: 0 leaves the published head out (logits are None); its own number of classes keeps it.
        sharding: a ``jax.sharding.Sharding`` for all variables, or a tree of them (or a prefix of it); None is the
            default device. Variables go there leaf by leaf, straight from the file.
        **fields: other fields of the encoder, such as ``dtype`` or ``remat``; they must not change its variables.

    Returns:
        The encoder, its variables (``params`` and, where it has BatchNorm, ``batch_stats``) as ``jax.Array``, and
        the preparation of its inputs (``dalib.data.readers.images.published`` makes an image transform of it).

    Raises:
        InputError: for an unknown encoder, field or name of weights, a number of classes that is not the published one,
            weights that cannot be had, or variables that differ from the encoder's; all differences are listed.
    """

    # Names and the number of classes before any download.
    choose("encoder", name, ENCODERS)
    entries = entries_of(name)
    if not entries:
        published = sorted({entry.encoder for entry in manifest().values()})
        raise input_error("name", got=repr(name), expected=f"an encoder with published weights: {', '.join(published)}")
    spelled = os.fspath(weights)
    named = {entry.name: entry for entry in reversed(entries)} | {"default": entries[0]}
    entry = named.get(spelled, entries[0])
    if spelled in named and num_classes not in (0, entry.num_classes):
        raise input_error(
            "num_classes",
            got=num_classes,
            expected=f"0, or {entry.num_classes} for the published head" if entry.num_classes else "0",
            todo="for classes of your own put a Classifier around the encoder",
        )
    # The manifest's fields make the net fit the weights; the caller's come on top.
    fields = {**entry.fields, **fields} | (
        {"num_classes": num_classes} if "num_classes" in fields_of(ENCODERS[name]) else {}
    )
    encoder = make_encoder(name, **fields)
    preprocessing = entry.preprocessing
    # Shapes alone: no random weights are made that the file then replaces.
    like = variable_shapes(encoder, preprocessing)
    if spelled in named:
        converted = fetch(entry)
        variables, folder = load_variables(converted.path, like, without=absent(like)), converted.folder
    elif spelled.startswith(PREFIX) or Path(spelled).exists():
        found = fetch_repository(spelled, TOKENIZER_FILES) if spelled.startswith(PREFIX) else Path(spelled)
        variables, folder = convert_own(found, layout or entry.table, like), found
    else:
        # A text encoder's tokeniser came with the weights; another one would number the words differently.
        raise unknown_name("weights", spelled, named)
    if isinstance(preprocessing, TextPreprocessing) and any((folder / file).is_file() for file in TOKENIZER_FILES):
        preprocessing = preprocessing._replace(tokenizer=str(folder))
    return encoder, jax.device_put(variables, sharding), preprocessing
