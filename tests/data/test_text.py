"""Tokenisers from files, texts and words to ids; the vocabulary is trained here on a few words."""

import json

import numpy as np
import pytest

from dalib import data
from dalib.core.checks import InputError
from dalib.data.readers.patterns import fault_of

tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "un", "##happy", "##ly", ".", "cafe"]
WORDS += ["b", "##e", "##d"]
CORPUS = ["the cat sat on the mat .", "the happy cat sat on a bed ."]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(CORPUS, trainer)
    trained.model.save(str(folder))
    return folder


def test_word_pieces(bert):
    tokenizer = data.load_tokenizer(bert)
    ids = data.encode(tokenizer, ["The CAT sat.", "Unhappyly café", "dog", ""], max_length=7)
    assert ids.dtype == np.int32
    expected = [
        [2, 5, 6, 7, 11, 3, 0],
        [2, 8, 9, 10, 12, 3, 0],
        [2, 1, 3, 0, 0, 0, 0],
        [2, 3, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(ids, expected)
    assert (tokenizer.pad_id, tokenizer.specials, tokenizer.vocabulary) == (0, 2, len(WORDS))


def test_truncation_keeps_the_special_tokens_and_longest_is_the_longest(bert):
    tokenizer = data.load_tokenizer(bert / "vocab.txt")
    texts = ["the cat sat the cat sat", "cat"]
    np.testing.assert_array_equal(data.encode(tokenizer, texts, max_length=4), [[2, 5, 6, 3], [2, 6, 3, 0]])
    assert data.encode(tokenizer, texts, pad_to="longest").shape == (2, 8)
    assert data.encode(tokenizer, texts).shape == (2, 128)


def test_case_is_kept_if_the_configuration_says_so(bert, tmp_path):
    (tmp_path / "vocab.txt").write_text((bert / "vocab.txt").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    ids = data.encode(data.load_tokenizer(tmp_path), ["The cat"], max_length=4)
    np.testing.assert_array_equal(ids, [[2, 1, 6, 3]])


def test_stored_truncation_and_padding_do_not_count(bert, tmp_path):
    backend = data.load_tokenizer(bert).backend
    backend.enable_padding(length=50, pad_id=0, pad_token="[PAD]")
    backend.enable_truncation(3)
    (tmp_path / "tokenizer.json").write_text(backend.to_str())
    stored = data.load_tokenizer(tmp_path)
    ids = data.encode(stored, ["the cat sat"], max_length=8)
    np.testing.assert_array_equal(ids, [[2, 5, 6, 7, 3, 0, 0, 0]])


def test_byte_pairs_without_padding_token(gpt2):
    tokenizer = data.load_tokenizer(gpt2)
    assert (tokenizer.pad_id, tokenizer.specials) == (-1, 0)
    ids = data.encode(tokenizer, ["the cat", "the cat sat"], max_length=6)
    assert tokenizer.backend.decode([i for i in ids[0] if i >= 0]) == "the cat"
    assert (ids[0, (ids[0] == -1).argmax() :] == -1).all()
    assert data.load_tokenizer(gpt2, pad_id=0).pad_id == 0
    with pytest.raises(InputError, match="row 1(.|\n)*drop empty texts"):
        data.encode(tokenizer, ["a", ""])


def test_words_and_their_labels(bert):
    tokenizer = data.load_tokenizer(bert)
    encoded = data.encode_words(
        tokenizer, [["The", "unhappy", "cat", "bed"], ["\u200b", "cat"]], [[7, 8, 9, 10], [4, 5]], max_length=7
    )
    np.testing.assert_array_equal(encoded.ids, [[2, 5, 8, 9, 6, 13, 3], [2, 6, 3, 0, 0, 0, 0]])
    np.testing.assert_array_equal(encoded.words, [[-1, 0, 1, -1, 2, 3, -1], [-1, 1, -1, -1, -1, -1, -1]])
    ignored = data.IGNORED_LABEL
    np.testing.assert_array_equal(
        encoded.labels, [[ignored, 7, 8, ignored, 9, 10, ignored], [ignored, 5, *[ignored] * 5]]
    )
    without = data.encode_words(tokenizer, [["cat"]], max_length=4)
    np.testing.assert_array_equal(without.words, [[-1, 0, -1, -1]])
    assert (without.labels == ignored).all()


def test_words_of_byte_pairs_begin_with_a_space(gpt2):
    tokenizer = data.load_tokenizer(gpt2)
    encoded = data.encode_words(tokenizer, [["the", "cat", "zzz"]], [[1, 2, 3]], max_length=10)
    np.testing.assert_array_equal(encoded.ids, data.encode(tokenizer, [" the cat zzz"], max_length=10))
    assert encoded.words[0].tolist()[:4] == [0, 1, 2, -1]
    assert data.encode(tokenizer, ["the"], max_length=2)[0, 0] != encoded.ids[0, 0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: data.encode(t, "the cat"), "sequence of texts"),
        (lambda t: data.encode(t, []), "at least one"),
        (lambda t: data.encode(t, ["a", 3]), "row 1(.|\n)*int"),
        (lambda t: data.encode(t, ["a"], max_length=2), "above 2"),
        (lambda t: data.encode(t, ["a"], pad_to="longst"), "did you mean 'longest'"),
        (lambda t: data.encode_words(t, ["the cat"]), "row 0(.|\n)*str 'the cat'"),
        (lambda t: data.encode_words(t, [["the", 3]]), "not a text"),
        (lambda t: data.encode_words(t, [["the", "cat"]], [[1]]), "1 labels for 2 words"),
        (lambda t: data.encode_words(t, [["the", "cat"]], [[1, 2], [3]]), "2 sentences beside 1"),
    ],
)
def test_bad_input_is_named(bert, call, message):
    with pytest.raises(InputError, match=message):
        call(data.load_tokenizer(bert))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        data.load_tokenizer(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds nothing(.|\n)*vocab.txt"):
        data.load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(InputError, match="without merges.txt"):
        data.load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("cat\n")
    with pytest.raises(InputError, match=r"without \[UNK\], \[SEP\], \[CLS\]"):
        data.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(InputError, match="cannot be read(.|\n)*take the files anew"):
        data.load_tokenizer(tmp_path)


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re)?|\p{N}{1,3}"
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
DEEPSEEK = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3, O200K, CLIP, DEEPSEEK, " {2,}", "a++b", "a{3}+", "[)(]+", r"\)+"])
def test_patterns_of_published_tokenisers_pass(pattern):
    assert fault_of(pattern) == ""


SLOW = [
    r"(a+)+$",
    r"(a|aa)+$",
    r"^(\w+\s?)*$",
    r"(?:a*)*",
    r"(a{1,20})+",
    "a{1,3}+",
    "a+*",
    "((((a+))))+",
    r"(?:[a-z]?){50}",
]


@pytest.mark.parametrize("pattern", [*SLOW, r"\s*\s*\s*\s*\s*x", "a" * 5000])
def test_patterns_that_may_take_for_ever_are_refused_unrun(bert, tmp_path, pattern):
    stored = json.loads(data.load_tokenizer(bert).backend.to_str())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    for place in (split, {"type": "Sequence", "pretokenizers": [split]}):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**stored, "pre_tokenizer": place}))
        with pytest.raises(InputError, match="the regular expression"):
            data.load_tokenizer(tmp_path)
    replace = {"type": "Replace", "pattern": {"Regex": pattern}, "content": "b"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**stored, "normalizer": replace}))
    with pytest.raises(InputError, match="the regular expression"):
        data.load_tokenizer(tmp_path)


def test_tokenisers_that_grow_without_bound_are_refused(bert, tmp_path):
    stored = json.loads(data.load_tokenizer(bert).backend.to_str())
    model = {"type": "WordLevel", "vocab": {"a": 2**31}, "unk_token": "a"}
    longer = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    for changes, message in (
        ({"normalizer": {"type": "Sequence", "normalizers": [longer] * 20}}, "lengthen a text"),
        ({"model": {**stored["model"], "max_input_chars_per_word": 10**9}}, "quadratic time"),
        ({"model": model, "added_tokens": [], "post_processor": None}, "id 2147483648"),
        ({"model": {**stored["model"], "vocab": {"a": -1}}}, "id -1"),
        ({"added_tokens": [{"id": 10**9, "content": "x"}]}, "id 1000000000"),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**stored, **changes}))
        with pytest.raises(InputError, match=message):
            data.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[]", '{"a": 1}', "null", '{"do_lower_case": [1]}', '{"pad_token": {}}', "\ud800"]
)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "vocab.json"])
def test_files_of_another_form_are_our_error(bert, tmp_path, name, content):
    if name == "tokenizer_config.json":
        (tmp_path / "vocab.txt").write_text((bert / "vocab.txt").read_text())
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    if name != "tokenizer.json" and content == '{"a": 1}':
        assert data.load_tokenizer(tmp_path).vocabulary == (len(WORDS) if name == "tokenizer_config.json" else 1)
        return
    with pytest.raises(InputError) as error:
        data.load_tokenizer(tmp_path)
    assert len(str(error.value)) < 2000


def test_half_characters_are_named(bert):
    tokenizer = data.load_tokenizer(bert)
    with pytest.raises(InputError, match="texts, row 1: got half a character"):
        data.encode(tokenizer, ["the", "cat \ud83d"])
    with pytest.raises(InputError, match="sentences, row 0: got half a character"):
        data.encode_words(tokenizer, [["the", "\udc00"]])
