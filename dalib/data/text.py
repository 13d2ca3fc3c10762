"""Texts to arrays of token ids, through the model's own tokeniser files and the ``tokenizers`` package.

``encode`` gives one row of ids per text, for encoders of whole texts; ``encode_words`` keeps track of words, for labels
per word (tagging). Nothing is downloaded; files are JSON or plain text and nothing in them is run.

The package comes with the extra ``text``: ``pip install 'dalib-jax[text]'``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import check_positive, input_error, unknown_name
from dalib.data.readers.tabular.cells import whole_characters
from dalib.data.readers.tokenizer_files import panicked, read_tokenizer

IGNORED_LABEL = -100
"""The label of a token that carries none: special tokens, padding, later pieces of a word."""

NO_TOKEN = -1
"""Padding for models without a padding token in their vocabulary (GPT-2)."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokeniser as its model was trained with.

    Attributes:
        backend: the ``tokenizers.Tokenizer``; its truncation is set anew by every call, so that one object must not
            encode in several threads at once.
        words_backend: the same for texts that are split into words already.
        pad_id: the id that fills up short texts; the encoder's field ``pad_id`` must agree.
        specials: number of special tokens that every text gets ([CLS] and [SEP]: 2).
    """

    backend: Any
    words_backend: Any
    pad_id: int
    specials: int

    @property
    def vocabulary(self) -> int:
        """Return the number of token ids."""
        return self.backend.get_vocab_size()


class EncodedWords(NamedTuple):
    """Sentences of words as token ids, ``[n, t]`` int32 each.

    Attributes:
        ids: token ids.
        words: at the first piece of a word that word's index in its sentence, −1 elsewhere.
        labels: at the first piece of a word its label, :data:`IGNORED_LABEL` elsewhere.
    """

    ids: np.ndarray
    words: np.ndarray
    labels: np.ndarray


def load_tokenizer(path: str | Path, *, pad_id: int | None = None) -> Tokenizer:
    """Read the tokeniser of a published model.

    Args:
        path: a folder with ``tokenizer.json``, or with ``vocab.txt`` (WordPiece; ``tokenizer_config.json`` next to it
            tells about lower case), or with ``vocab.json`` and ``merges.txt`` (byte-level BPE of RoBERTa or GPT-2);
            the first of these that is there is read. Or the path of a ``tokenizer.json`` or ``vocab.txt``.
        pad_id: instead of the vocabulary's own padding token ([PAD], <pad>); a vocabulary without one gets −1, which
            ``GPT2`` takes as padding.

    Raises:
        InputError: on a missing or damaged file, or if the package ``tokenizers`` is not installed.
    """
    found = read_tokenizer(Path(path))
    own = NO_TOKEN if found.pad_id is None else found.pad_id
    specials = found.backend.num_special_tokens_to_add(False)
    return Tokenizer(found.backend, found.words_backend, own if pad_id is None else pad_id, specials)


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int = 128, pad_to: str = "max_length"
) -> np.ndarray:
    """Return the token ids of texts.

    Args:
        tokenizer: from :func:`load_tokenizer`.
        texts: n texts. A special token's name within a text, "[SEP]", becomes that token.
        max_length: tokens at most, special ones included; longer texts lose their end.
        pad_to: ``"max_length"``, or ``"longest"`` of these texts (then the shape depends on them, and a jitted function
            compiles anew for another one).

    Returns:
        int32 ``[n, t]``, filled up with ``tokenizer.pad_id`` on the right.

    Raises:
        InputError: on a single text in place of several, anything but texts among them, too small a ``max_length``, or
            a text without any token.
    """
    _check_sequence("texts", texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise input_error(f"texts, row {row}", got=type(text).__name__, expected="a text")
        _check_characters("texts", row, text)
    _truncate(tokenizer.backend, tokenizer, max_length)
    rows = [encoding.ids for encoding in _run(tokenizer.backend, "texts", list(texts))]
    # A text without tokens would have no position that a net may look at.
    for row, ids in enumerate(rows):
        if not ids:
            raise input_error(
                f"texts, row {row}",
                got=repr(texts[row]),
                expected="at least one token (this tokeniser adds no special ones)",
                todo="drop empty texts",
            )
    return _padded(rows, tokenizer.pad_id, _width(rows, max_length, pad_to))


def encode_words(
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[Sequence[int]] | None = None,
    *,
    max_length: int = 128,
    pad_to: str = "max_length",
) -> EncodedWords:
    """Return the token ids of sentences that are split into words, with each word's label at its first piece.

    Words that begin after ``max_length`` are lost, and words that normalisation leaves empty (a lone
    control character) have no token; ``words`` tells which ones are there.

    Args:
        tokenizer: from :func:`load_tokenizer`. A byte-level BPE takes every word with the space before it.
        sentences: n sequences of words.
        labels: for each sentence one integer per word; None: all are :data:`IGNORED_LABEL`.
        max_length: tokens at most, special ones included.
        pad_to: ``"max_length"`` or ``"longest"``.

    Raises:
        InputError: as :func:`encode`; on texts in place of lists of words; on labels that do not fit the words.
    """
    # Faults are named by row before the package sees them: its own errors name nothing.
    _check_sequence("sentences", sentences)
    for row, sentence in enumerate(sentences):
        _check_sequence(f"sentences, row {row}", sentence)
        if not all(isinstance(word, str) for word in sentence):
            raise input_error(f"sentences, row {row}", got="a word that is not a text", expected="words")
        _check_characters("sentences", row, *sentence)
    if labels is None:
        labels = [[IGNORED_LABEL] * len(sentence) for sentence in sentences]
    _check_labels(sentences, labels)
    # Words are encoded one by one, so that each label goes to its own word's first piece.
    _truncate(tokenizer.words_backend, tokenizer, max_length)
    sentences = [list(sentence) for sentence in sentences]
    encodings = _run(tokenizer.words_backend, "sentences", sentences, is_pretokenized=True)
    rows = [encoding.ids for encoding in encodings]
    width = _width(rows, max_length, pad_to)
    firsts = [_first_pieces(encoding.word_ids) for encoding in encodings]
    tags = [
        [IGNORED_LABEL if word < 0 else int(own[word]) for word in words]
        for words, own in zip(firsts, labels, strict=True)
    ]
    return EncodedWords(
        _padded(rows, tokenizer.pad_id, width), _padded(firsts, -1, width), _padded(tags, IGNORED_LABEL, width)
    )


def _check_characters(argument: str, row: int, *texts: str) -> None:
    if not all(map(whole_characters, texts)):
        got, expected = "half a character (a lone surrogate)", "text that can be written as UTF-8"
        raise input_error(f"{argument}, row {row}", got=got, expected=expected)


def _run(backend: Any, argument: str, batch: Sequence[Any], **options: Any) -> list[Any]:
    """Encode, and name the tokeniser's own failures."""
    try:
        return backend.encode_batch(batch, **options)
    except BaseException as error:
        if not (isinstance(error, Exception) or panicked(error)):
            raise
        got = f"texts on which the tokeniser fails ({str(error)[:200]})"
        raise input_error(argument, got=got, expected="texts that fit the tokeniser") from error


def _first_pieces(word_ids: Sequence[int | None]) -> list[int]:
    before = [None, *word_ids[:-1]]
    return [-1 if word is None or word == last else word for word, last in zip(word_ids, before, strict=True)]


def _truncate(backend: Any, tokenizer: Tokenizer, max_length: int) -> None:
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length <= tokenizer.specials:
        raise input_error(
            "max_length",
            got=repr(max_length),
            expected=f"an integer above {tokenizer.specials}, the special tokens that every text gets",
        )
    backend.enable_truncation(max_length)


def _width(rows: Sequence[Sequence[int]], max_length: int, pad_to: str) -> int:
    if pad_to not in ("max_length", "longest"):
        raise unknown_name("pad_to", pad_to, ("max_length", "longest"))
    return max_length if pad_to == "max_length" else max(map(len, rows))


def _padded(rows: Sequence[Sequence[int]], fill: int, width: int) -> np.ndarray:
    out = np.full((len(rows), width), fill, np.int32)
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def _check_sequence(argument: str, value: Any) -> None:
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        raise input_error(argument, got=f"{type(value).__name__} {str(value)[:40]!r}", expected="a sequence of texts")
    if len(value) == 0:
        raise input_error(argument, got="none", expected="at least one text")


def _check_labels(sentences: Sequence[Sequence[str]], labels: Sequence[Sequence[int]]) -> None:
    if len(labels) != len(sentences):
        raise input_error(
            "labels", got=f"labels of {len(labels)} sentences beside {len(sentences)} sentences", expected="as many"
        )
    for row, (sentence, own) in enumerate(zip(sentences, labels, strict=True)):
        if len(own) != len(sentence):
            raise input_error(
                f"labels, row {row}", got=f"{len(own)} labels for {len(sentence)} words", expected="one label a word"
            )


# Recordings of different lengths to one array of waveforms.


def pad_waveforms(waveforms: Sequence[Any], samples: int, *, standardize: bool = True) -> np.ndarray:
    """Put recordings into rows of one array, each filled up with zeros or cut on the right.

    Args:
        waveforms: n recordings ``[t_i]``, one channel each, floating or integer samples, all at one sample rate.
        samples: length of the rows.
        standardize: bring each recording, cut but not yet filled up, to mean 0 and variance 1, as wav2vec 2.0 wants it.
            Otherwise integers are divided by their type's largest value and floats stay as they are.

    Returns:
        float32 ``[n, samples]``.

    Raises:
        InputError: on no recordings, one that is empty or not ``[t]``, or ``samples`` < 1.
    """
    check_positive(samples=samples)
    if len(waveforms) == 0:
        raise input_error("waveforms", got="none", expected="at least one recording")
    out = np.zeros((len(waveforms), samples), np.float32)
    for i, waveform in enumerate(waveforms):
        x = np.asarray(waveform)
        if x.ndim != 1 or len(x) == 0:
            raise input_error(
                f"waveforms, row {i}", got=f"shape {x.shape}", expected="samples [t], t ≥ 1", todo="mix channels first"
            )
        scale = float(np.iinfo(x.dtype).max) if np.issubdtype(x.dtype, np.integer) else 1.0
        x = x[:samples].astype(np.float64) / scale
        # Before padding, so that the zeros at the end change neither mean nor variance.
        if standardize:
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
        out[i, : len(x)] = x
    return out
