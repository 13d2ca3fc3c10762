"""Text files as domains: reviews, feature rows and tagged words."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.data.domain import Domain, Split
from dalib.data.readers.arrays import from_arrays
from dalib.data.text import Tokenizer, encode

# Domains of texts that are not yet token ids, and recordings of different lengths.


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Texts in memory: n ``texts`` and int32 ``labels`` ``[n]``. Inputs are arrays of str objects."""

    texts: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(indices, np.intp)
        chosen = np.empty(len(rows), object)
        chosen[:] = [self.texts[i] for i in rows]
        return chosen, self.labels[rows]

    def fingerprint(self) -> str:
        """Return the SHA-256 of every text and label."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels, np.int32).tobytes())
        for text in self.texts:
            digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ClipSplit:
    """Recordings end to end: clip i is ``wave[offsets[i]:offsets[i + 1]]``, for the clips in ``rows`` (``[n]``)."""

    wave: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    sample_rate: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
        chosen = np.asarray(indices, np.intp)
        clips = [self.wave[self.offsets[i] : self.offsets[i + 1]] for i in self.rows[chosen]]
        return clips, self.labels[chosen]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the sample rate, and of every clip's samples and label."""
        digest = hashlib.sha256(str(self.sample_rate).encode())
        for i, label in zip(self.rows, self.labels, strict=True):
            clip = np.ascontiguousarray(self.wave[self.offsets[i] : self.offsets[i + 1]])
            digest.update(f"{clip.dtype}{len(clip)}:{label}".encode())
            digest.update(clip.tobytes())
        return digest.hexdigest()


def tokenized(domain: Domain, tokenizer: Tokenizer, *, max_length: int) -> Domain:
    """Turn a domain of texts into one of token ids, ``[n, max_length]`` int32.

    Args:
        domain: its splits are :class:`TextSplit`.
        tokenizer: of the encoder.
        max_length: tokens a text; longer ones are cut, shorter ones filled up.

    Raises:
        InputError: a domain that does not hold texts, or as :func:`dalib.data.encode`.
    """
    other = sorted({type(split).__name__ for split in domain.splits.values() if not isinstance(split, TextSplit)})
    if other:
        raise input_error("domain", got=f"{domain.name} of {', '.join(other)}", expected="a domain of texts")
    done: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    splits = {}
    for name, split in domain.splits.items():
        if id(split) not in done:
            done[id(split)] = _ids(split, tokenizer, max_length)
        splits[name] = done[id(split)]
    return from_arrays(domain.name, splits, class_names=domain.class_names)


def _ids(split: Split, tokenizer: Tokenizer, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    texts, labels = split.__getitems__(range(len(split)))
    return encode(tokenizer, [str(text) for text in texts], max_length=max_length), labels


# Sentences with a tag on every word: the domain of a tagging task.


OUTSIDE = "O"


class TaggedSentences(NamedTuple):
    """One split, n sentences.

    Attributes:
        words: the words of each sentence.
        tags: int32 ``[t]`` for each sentence, indices into :attr:`TaggedDomain.tag_names`.
    """

    words: tuple[tuple[str, ...], ...]
    tags: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class TaggedDomain:
    """A domain of sentences with BIO tags.

    Attributes:
        name: the domain's name.
        class_names: types of entities.
        splits: sentences by split.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, TaggedSentences]

    @property
    def tag_names(self) -> tuple[str, ...]:
        """List ``O``, then ``B-`` and ``I-`` of each type."""
        return tag_names(self.class_names)

    def split(self, name: str) -> TaggedSentences:
        """Return the sentences of a split; an unknown name raises an InputError with the nearest names."""
        return choose(f"split of domain {self.name!r}", name, self.splits)

    def size(self, split: str) -> int:
        """Return the number of sentences."""
        return len(self.split(split).words)

    def counts(self, split: str) -> np.ndarray:
        """Count the entities of each type, ``[C]``: the words that begin one."""
        tags = self.split(split).tags
        every = np.concatenate(tags) if tags else np.empty(0, np.int32)
        return np.bincount(every, minlength=len(self.tag_names))[1::2]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the name, the types, and every word and tag."""
        digest = hashlib.sha256("\0".join((self.name, *self.class_names)).encode())
        for name in sorted(self.splits):
            digest.update(f"\0{name}".encode())
            for words, tags in zip(*self.splits[name], strict=True):
                digest.update(("\n" + "\0".join(words)).encode())
                digest.update(np.ascontiguousarray(tags, np.int32).tobytes())
        return digest.hexdigest()


def tag_names(types: tuple[str, ...]) -> tuple[str, ...]:
    """List ``O``, then ``B-`` and ``I-`` of each type; entity i begins with tag 1 + 2i."""
    return (OUTSIDE, *(f"{mark}-{name}" for name in types for mark in "BI"))
