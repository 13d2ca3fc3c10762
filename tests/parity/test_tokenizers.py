"""Our reading of tokeniser files against transformers' own, on vocabularies trained here."""

import numpy as np
import pytest

from dalib import data

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("torch")
from tests.parity.torch_reference import declare_torchvision_operators  # noqa: E402

declare_torchvision_operators()
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Crème brûlée costs €5.50 — naïve façades, 東京!",
    "  tabs\tand\nlines,   and unbelievably long " + "x" * 130,
    "don't you'll it's: 3,000.5 e-mail@host.org <s> [SEP] </s>",
    "ok",
]
WORDS = [text.split() for text in TEXTS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A WordPiece and two byte-level BPEs, as vocab files and as the tokenizer.json that transformers writes."""
    root = tmp_path_factory.mktemp("tokenizers")
    names = ("bert", "bert_cased", "roberta", "gpt2")
    made = {name: root / name for name in names}
    for folder in made.values():
        folder.mkdir()
    pieces = tokenizers.BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(TEXTS, vocab_size=120, show_progress=False)
    tokens = [token for token, _ in sorted(pieces.get_vocab().items(), key=lambda item: item[1])]
    for name, lower in (("bert", True), ("bert_cased", False)):
        (made[name] / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
        reference = transformers.BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, do_lower_case=lower)
        reference.save_pretrained(made[name] / "saved")
        config = (made[name] / "saved" / "tokenizer_config.json").read_text()
        (made[name] / "tokenizer_config.json").write_text(config)
    special = {"roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "gpt2": ["<|endoftext|>"]}
    for name, first in special.items():
        trained = tokenizers.ByteLevelBPETokenizer()
        trained.train_from_iterator(TEXTS, vocab_size=320, special_tokens=first, show_progress=False)
        trained.save_model(str(made[name]))
    return made


def _reference(name, folder, **fields):
    make = {"roberta": transformers.RobertaTokenizer, "gpt2": transformers.GPT2Tokenizer}.get(
        name, transformers.BertTokenizer
    )
    return make.from_pretrained(folder, **fields)


@pytest.mark.parametrize("name", ["bert", "bert_cased", "roberta", "gpt2"])
@pytest.mark.parametrize("max_length", [8, 64])
def test_ids_are_those_of_transformers(folders, name, max_length):
    reference = _reference(name, folders[name])
    ours = data.load_tokenizer(folders[name])
    if name == "gpt2":
        reference.pad_token = "<|endoftext|>"
        ours = data.load_tokenizer(folders[name], pad_id=reference.pad_token_id)
    expected = reference(TEXTS, max_length=max_length, truncation=True, padding="max_length")["input_ids"]
    np.testing.assert_array_equal(data.encode(ours, TEXTS, max_length=max_length), expected)
    reference.save_pretrained(folders[name] / "again")
    again = data.load_tokenizer(folders[name] / "again" / "tokenizer.json", pad_id=ours.pad_id)
    np.testing.assert_array_equal(data.encode(again, TEXTS, max_length=max_length), expected)
    assert len(np.unique(expected)) > 6


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_words_are_those_of_transformers(folders, name):
    reference = _reference(name, folders[name], **({} if name == "bert" else {"add_prefix_space": True}))
    ours = data.load_tokenizer(folders[name])
    labels = [[10 * i + j for j in range(len(words))] for i, words in enumerate(WORDS)]
    encoded = data.encode_words(ours, WORDS, labels, max_length=40)
    for row, words in enumerate(WORDS):
        expected = reference(words, is_split_into_words=True, max_length=40, truncation=True)
        count = len(expected["input_ids"])
        assert encoded.ids[row, :count].tolist() == expected["input_ids"]
        assert (encoded.ids[row, count:] == ours.pad_id).all()
        before = None
        for position, word in enumerate(expected.word_ids()):
            first = word is not None and word != before
            assert encoded.labels[row, position] == (labels[row][word] if first else data.IGNORED_LABEL)
            assert encoded.words[row, position] == (word if first else -1)
            before = word
