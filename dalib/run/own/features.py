"""Features of a pretrained encoder, cached block by block, so that a broken-off pass goes on.

A block's file is named after the hash of the block itself, of every variable of the encoder and of its fields; other
data, other weights or another length of texts can't be taken for one another.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dalib
from dalib.core.files import StorageError
from dalib.core.types import PyTree
from dalib.encoders.pretrained.cache import cache_folder, made

BLOCK = 64
TOKENS = 32
"""Texts are cut to a multiple of this many tokens, which bounds the number of compiled lengths."""
Process = Callable[[np.ndarray], np.ndarray]
"""Map at most :data:`BLOCK` examples to their features ``[n, d]``."""


class Pretrained(NamedTuple):
    """An encoder with weights, as :func:`dalib.encoders.load` gives it."""

    encoder: Any
    variables: PyTree
    preprocessing: Any


def fingerprint(model: Pretrained) -> str:
    """Compute the SHA-256 of the encoder's fields and of every variable with its name."""
    digest = hashlib.sha256(f"{dalib.__version__} {model.encoder!r}".encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.variables):
        value = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{value.shape}{value.dtype}".encode())
        digest.update(value.view(np.uint8).data)
    return digest.hexdigest()


def feature_function(model: Pretrained) -> Process:
    """Make a function to features in evaluation mode, which reads the cache first.

    Shorter blocks are filled up to :data:`BLOCK` rows, so that one program serves all.
    """
    apply = jax.jit(lambda variables, x: model.encoder.apply(variables, x, train=False).features)
    folder = made(cache_folder() / "features" / fingerprint(model)[:16])

    def process(block: np.ndarray) -> np.ndarray:
        block = np.ascontiguousarray(block)
        # The name tells block and encoder apart, so a hit is right without a look at anything else.
        name = hashlib.sha256(f"{block.shape}{block.dtype}".encode() + block.tobytes()).hexdigest()
        file = folder / f"{name}.npy"
        known = _read(file)
        if known is not None and len(known) == len(block):
            return known
        filled = np.concatenate([block, np.repeat(block[:1], BLOCK - len(block), axis=0)])
        found = np.asarray(apply(model.variables, jnp.asarray(filled)), np.float32)[: len(block)]
        # Nothing waits for the disk: what a crash leaves torn is made again.
        temporary = folder / f".{name}.{os.getpid()}.npy"
        try:
            np.save(temporary, found)
            os.replace(temporary, file)
        except OSError as error:
            raise StorageError(
                f"features: {file} can't be written ({error.strerror})\n  kept: the features that are there"
                "\n  what to do: make room in the cache, or set DALIB_CACHE to another folder"
            ) from error
        return found

    return process


def _read(file: Path) -> np.ndarray | None:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def text_features(
    process: Process, ids: np.ndarray, pad_id: int, report: Callable[[int, int], None] = lambda done, of: None
) -> np.ndarray:
    """Compute features ``[n, d]`` of token ids ``[n, t]``; texts of similar length go together, with little padding.

    Args:
        process: of :func:`feature_function`.
        ids: filled up with ``pad_id`` on the right.
        pad_id: of the tokeniser; the encoder must leave it out of account.
        report: called with the number of texts done and of all.
    """
    lengths = np.maximum((ids != pad_id).sum(1), 1)
    order = np.argsort(lengths, kind="stable")
    parts = []
    for start in range(0, len(ids), BLOCK):
        rows = order[start : start + BLOCK]
        width = min(-(-int(lengths[rows].max()) // TOKENS) * TOKENS, ids.shape[1])
        parts.append(process(ids[rows, :width]))
        report(start + len(rows), len(ids))
    found = np.concatenate(parts)
    back = np.empty_like(found)
    back[order] = found
    return back
