"""Texts, tagged sentences and recordings as record sources."""

import dataclasses

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays, load_tokenizer
from dalib.data.domain import pool
from dalib.data.readers.raw_text import ClipSplit, TaggedDomain, TaggedSentences, TextSplit, tokenized


def texts():
    return TextSplit(("the cat", "cat cat", "sat"), np.array([0, 1, 1], np.int32))


def test_texts_become_token_ids(tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat"]))
    domain = pool("books", ("negative", "positive"), texts())
    ready = tokenized(domain, load_tokenizer(tmp_path), max_length=5)
    inputs, labels = ready.split("test").__getitems__([1, 2])
    assert inputs.tolist() == [[2, 5, 5, 3, 0], [2, 6, 3, 0, 0]] and labels.tolist() == [1, 1]
    assert ready.class_names == domain.class_names and ready.counts("train").tolist() == [1, 2]
    with pytest.raises(InputError, match="ArraySplit"):
        tokenized(from_arrays("d", {"train": (np.zeros((2, 3)), [0, 1])}), load_tokenizer(tmp_path), max_length=5)


def test_fingerprints_follow_text_label_and_order():
    split = texts()
    others = [
        dataclasses.replace(split, texts=("the cat", "cat cat", "sat.")),
        dataclasses.replace(split, labels=np.array([0, 1, 0], np.int32)),
        TextSplit(split.texts[::-1], split.labels),
    ]
    assert split.fingerprint() == texts().fingerprint()
    assert len({split.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_clips():
    wave = np.arange(10, dtype=np.int16)
    split = ClipSplit(wave, np.array([0, 3, 4, 10]), np.array([2, 0]), np.array([5, 1], np.int32), 8000)
    clips, labels = split.__getitems__([1, 0])
    assert [clip.tolist() for clip in clips] == [[0, 1, 2], [4, 5, 6, 7, 8, 9]] and labels.tolist() == [1, 5]
    assert len(split) == 2
    assert split.fingerprint() != dataclasses.replace(split, sample_rate=16000).fingerprint()
    assert split.fingerprint() != dataclasses.replace(split, wave=wave + np.int16(1)).fingerprint()


def test_tagged_sentences():
    tags = (np.array([1, 2, 0], np.int32), np.array([3, 1], np.int32))
    words = (("New", "York", "is"), ("Ada", "Lima"))
    domain = TaggedDomain("ai", ("location", "person"), {"train": TaggedSentences(words, tags)})
    assert domain.tag_names == ("O", "B-location", "I-location", "B-person", "I-person")
    assert domain.counts("train").tolist() == [2, 1] and domain.size("train") == 2
    moved = TaggedSentences((("New", "York"), ("is", "Ada", "Lima")), (tags[0][:2], np.array([0, 3, 1], np.int32)))
    assert domain.fingerprint() != dataclasses.replace(domain, splits={"train": moved}).fingerprint()
    with pytest.raises(InputError, match="did you mean 'train'"):
        domain.split("trian")
