"""Sentences with a tag on every word: what a tagging task has in place of a domain."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dalib.checks import choose

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
        """``O``, then ``B-`` and ``I-`` of each type."""
        return tag_names(self.class_names)

    def split(self, name: str) -> TaggedSentences:
        """The sentences of a split; an unknown name raises an InputError with the nearest names."""
        return choose(f"split of domain {self.name!r}", name, self.splits)

    def size(self, split: str) -> int:
        """Number of sentences."""
        return len(self.split(split).words)

    def counts(self, split: str) -> np.ndarray:
        """Entities of each type, ``[C]``: the words that begin one."""
        tags = self.split(split).tags
        every = np.concatenate(tags) if tags else np.empty(0, np.int32)
        return np.bincount(every, minlength=len(self.tag_names))[1::2]

    def fingerprint(self) -> str:
        """SHA-256 of the name, the types, and every word and tag."""
        digest = hashlib.sha256("\0".join((self.name, *self.class_names)).encode())
        for name in sorted(self.splits):
            digest.update(f"\0{name}".encode())
            for words, tags in zip(*self.splits[name], strict=True):
                digest.update(("\n" + "\0".join(words)).encode())
                digest.update(np.ascontiguousarray(tags, np.int32).tobytes())
        return digest.hexdigest()


def tag_names(types: tuple[str, ...]) -> tuple[str, ...]:
    """``O``, then ``B-`` and ``I-`` of each type; entity i begins with tag 1 + 2i."""
    return (OUTSIDE, *(f"{mark}-{name}" for name in types for mark in "BI"))
