"""Readers of published models' tokeniser files, into ``tokenizers.Tokenizer`` objects."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from dalib.core.checks import InputError, input_error
from dalib.data.readers.patterns import fault_of
from dalib.data.readers.tabular.cells import shown

LARGEST = 256 << 20
"""Bytes of one file; the vocabularies of published models take up to 40 MB."""
MOST_IDS = 1 << 22
"""The largest vocabularies of published models have about 260,000 tokens."""
LONGEST_WORD = 1000
"""Characters of a word that WordPiece divides; published models say 100."""
GROWTH = 10_000
"""Factor by which the normalisers of a file may lengthen a text together."""


class Found(NamedTuple):
    """Content of the files: the tokeniser, its form for words, and the id of the padding token if there is one."""

    backend: Any
    words_backend: Any
    pad_id: int | None


def read_tokenizer(path: Path) -> Found:
    """Read a folder or a file; see :func:`dalib.data.text.load_tokenizer`.

    Raises:
        InputError: on a missing or damaged file, or if the package ``tokenizers`` is not installed.
    """
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        raise input_error(
            "tokenizers",
            got="the package is not installed",
            expected="the package tokenizers",
            todo="pip install 'dalib-jax[text]'",
        ) from None
    if not path.exists():
        raise input_error("path", got=f"{path}, which does not exist", expected="a tokeniser's folder or file")
    # Settings are in the folder, whichever file was named.
    folder = path if path.is_dir() else path.parent
    try:
        backend = _read(_main_file(path))
        pad_id = _padding(backend, _config(folder))
        backend.no_padding()
        return Found(backend, _for_words(backend), pad_id)
    except InputError:
        raise
    except BaseException as error:  # the package raises bare Exceptions for damaged files, and panics
        if not (isinstance(error, Exception) or panicked(error)):
            raise
        raise input_error(
            "path",
            got=f"{path}, which cannot be read ({str(error)[:200]})",
            expected="the tokeniser files of a published model",
            todo="take the files anew from where the model comes from",
        ) from error


def panicked(error: BaseException) -> bool:
    """Tell whether an error is a panic of the package's Rust code, which is no Exception."""
    return type(error).__name__ == "PanicException"


def _check(stored: Any) -> None:
    """Refuse parts of a ``tokenizer.json`` that take unbounded time or memory, before the package reads it."""
    model = stored.get("model") if isinstance(stored, dict) else None
    if not isinstance(model, dict):
        raise input_error("path", got="a tokenizer.json without a model", expected="one of a published model")
    _check_ids(model.get("vocab"), stored.get("added_tokens"))
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int) and longest > LONGEST_WORD:
        got = f"words of {shown(longest)} characters, divided in quadratic time"
        raise input_error("path", got=got, expected=f"max_input_chars_per_word up to {LONGEST_WORD}")
    # Normalisers are nested in any form, so every part is looked at; lengthenings multiply.
    growth, left = 1, [stored.get(name) for name in ("normalizer", "pre_tokenizer")]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            if isinstance(pattern := part.get("Regex"), str) and (fault := fault_of(pattern)):
                got = f"the regular expression {pattern[:60]!r}: {fault}"
                raise input_error("path", got=got, expected="patterns that are matched in little time")
            longer = [text for name in ("content", "prepend") if isinstance(text := part.get(name), str)]
            growth = min(growth * max(map(len, [*longer, " "])), 2 * GROWTH)
            left += part.values()
    if growth > GROWTH:
        got = f"normalisers that lengthen a text {GROWTH} times and more"
        raise input_error("path", got=got, expected="the tokeniser files of a published model")


def _check_ids(vocabulary: Any, added: Any = None) -> None:
    """Check the ids of tokens; the package goes through all numbers up to the largest."""
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    if odd := [i for i in ids if type(i) is not int or not 0 <= i < MOST_IDS]:
        raise input_error("path", got=f"a token of the id {shown(odd[0])}", expected=f"ids from 0 to {MOST_IDS - 1}")


def _text(file: Path) -> str:
    if file.stat().st_size > LARGEST:
        got = f"{file} of {file.stat().st_size >> 20} MiB"
        raise input_error("path", got=got, expected=f"at most {LARGEST >> 20} MiB")
    return file.read_text(encoding="utf-8")


def _main_file(path: Path) -> Path:
    """Return the file itself, or the first that a folder has."""
    names = ("tokenizer.json", "vocab.txt", "vocab.json")
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    held = ", ".join(sorted(p.name for p in path.iterdir()))[:300]
    raise input_error("path", got=f"{path}, which holds {held or 'nothing'}", expected=f"one of {', '.join(names)}")


def _read(file: Path) -> Any:
    from tokenizers import Tokenizer

    if file.suffix == ".txt":
        return _word_pieces(file, _config(file.parent))
    if file.name == "vocab.json":
        return _byte_pairs(file.parent, _config(file.parent))
    text = _text(file)
    _check(json.loads(text))
    return Tokenizer.from_str(text)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return json.loads(_text(file)) if file.is_file() else {}


def _token(config: dict[str, Any], name: str, default: str | None) -> str | None:
    """Read a special token of ``tokenizer_config.json``: a text, or in some files an object with its ``content``."""
    value = config.get(name, default)
    return value["content"] if isinstance(value, dict) else value


def _padding(backend: Any, config: dict[str, Any]) -> int | None:
    stored = backend.padding
    tokens = [_token(config, "pad_token", None), stored and stored["pad_token"], "[PAD]", "<pad>"]
    ids = [backend.token_to_id(token) for token in tokens if token]
    return next((i for i in ids if i is not None), None)


def _word_pieces(file: Path, config: dict[str, Any]) -> Any:
    """Read BERT's tokeniser from one token a line."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    lines = _text(file).split("\n")
    vocabulary = {token.rstrip("\r"): i for i, token in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    # Names of the special tokens are in the settings, by default BERT's own.
    names = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    special = {short: _token(config, f"{short}_token", token) or token for short, token in names.items()}
    missing = [special[short] for short in ("unk", "sep", "cls") if special[short] not in vocabulary]
    if missing:
        raise input_error(
            "path",
            got=f"{file} without {', '.join(missing)}",
            expected="the vocabulary of a BERT model, one token a line",
        )
    # The parts as BERT was trained with them: normaliser, division into words, [CLS] … [SEP] around a text.
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token) for token in special.values() if token in vocabulary])
    sep, cls = special["sep"], special["cls"]
    tokenizer.post_processor = processors.BertProcessing((sep, vocabulary[sep]), (cls, vocabulary[cls]))
    return tokenizer


def _byte_pairs(folder: Path, config: dict[str, Any]) -> Any:
    """Read the byte-level BPE of RoBERTa (with <s> … </s> around a text) or GPT-2 (with nothing)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    if not (folder / "merges.txt").is_file():
        raise input_error("path", got=f"{folder} without merges.txt", expected="merges.txt beside vocab.json")
    vocabulary = json.loads(_text(folder / "vocab.json"))
    if not vocabulary or not isinstance(vocabulary, dict):
        raise input_error("path", got=f"{folder / 'vocab.json'}", expected="tokens with their ids")
    _check_ids(vocabulary)
    _text(folder / "merges.txt")  # for its size; the package names faults in it
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    space = config.get("add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    begin, end = _token(config, "cls_token", "<s>") or "", _token(config, "sep_token", "</s>") or ""
    first, last = tokenizer.token_to_id(begin), tokenizer.token_to_id(end)
    # The mask of RoBERTa takes the space before it into itself.
    names = ("<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>")
    known = [AddedToken(name) for name in names if tokenizer.token_to_id(name) is not None]
    if tokenizer.token_to_id("<mask>") is not None:
        known.append(AddedToken("<mask>", lstrip=True))
    tokenizer.add_special_tokens(known)
    # GPT-2 has neither token, and puts nothing around a text.
    if first is not None and last is not None:
        tokenizer.post_processor = processors.RobertaProcessing((end, last), (begin, first), True, space)
    return tokenizer


def _for_words(backend: Any) -> Any:
    """Make the same tokeniser for single words: a byte-level one takes each of them with a space before it."""
    from tokenizers import Tokenizer

    stored = json.loads(backend.to_str())
    pre = stored.get("pre_tokenizer") or {}
    parts = pre.get("pretokenizers", [pre])
    if not any(part.get("type") == "ByteLevel" for part in parts):
        return backend
    for part in parts:
        if part.get("type") == "ByteLevel":
            part["add_prefix_space"] = True
    return Tokenizer.from_str(json.dumps(stored))
