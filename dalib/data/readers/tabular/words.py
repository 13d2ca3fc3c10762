"""Texts as sparse vectors: words and word pairs hashed to columns, weighted by how rare they are in the source."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error

LENGTH = 8.0
"""Length of a text's vector, chosen of 1, 8, 16 and 64 by source-only on held-out source reviews at the default rate.

It was chosen for counts in 4,096 columns: 70 % at length 1 and 81 % at length 8, after 1,000 steps on one product. On
TF-IDF of the texts that ``tests/run/test_own_runs.py`` makes, 200 steps lead to 60 and 96 % on the target."""
SHOWN = 10
FEWEST, MOST = 16, 1 << 24
"""Bounds of the number of columns."""


class Words(NamedTuple):
    """Statistics of words on the source.

    Attributes:
        columns: number d of columns that words and word pairs are hashed to.
        rarity: float32 ``[d]``, log((1 + n) / (1 + n_column)) + 1 over the n texts of all sources.
    """

    columns: int
    rarity: np.ndarray


def fit_words(texts: Sequence[str], columns: int) -> Words:
    """Learn the weights of words from the texts of all sources, and none of the target."""
    counts = _counts(texts, columns)
    frequency = np.bincount(counts.indices, minlength=columns)
    return Words(columns, (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32))


def word_vectors(where: str, texts: Sequence[str], words: Words) -> tuple[Any, list[str]]:
    """Make TF-IDF vectors: (1 + log count) · rarity, in rows of length 8, as scipy's CSR matrix ``[n, d]`` float32.

    A text without a word has a row of zeros; a note counts and names them.

    Args:
        where: for messages.
        texts: n texts.
        words: of the source.

    Returns:
        The vectors and the notes.

    Raises:
        InputError: when no text has a word.
    """
    found = _counts(texts, words.columns)
    found.data = (1 + np.log(found.data)) * words.rarity[found.indices]
    # Lengths from the sparse rows themselves; a text without words keeps its row of zeros.
    lengths = np.sqrt(np.add.reduceat(np.append(found.data**2, 0), found.indptr[:-1]))
    filled = np.diff(found.indptr)
    lengths[filled == 0] = 1
    found.data = (found.data * np.repeat(LENGTH / lengths, filled)).astype(np.float32)
    if len(empty := np.flatnonzero(filled == 0)):
        if len(empty) == len(texts):
            raise input_error(where, got=f"{len(texts)} texts without a word", expected="words of two letters or more")
        rows = ", ".join(str(row + 1) for row in empty[:SHOWN]) + " …" * (len(empty) > SHOWN)
        return found, [f"{where}: {len(empty)} of {len(texts)} texts have no word (rows {rows}): zeros"]
    return found, []


def described(words: Words) -> str:
    """Make the record's description of such vectors."""
    return (
        f"TF-IDF of words and word pairs in {words.columns} columns, weights of the source, rows of length {LENGTH:.0f}"
    )


def check_columns(columns: int) -> None:
    """Raise an InputError for a number of columns out of bounds."""
    if not FEWEST <= columns <= MOST:
        raise input_error("word-columns", got=columns, expected=f"a whole number from {FEWEST} to {MOST}")


def _counts(texts: Sequence[str], columns: int) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        n_features=columns, ngram_range=(1, 2), alternate_sign=False, norm=None, dtype=np.float32
    )
    return hashing.transform(texts)
