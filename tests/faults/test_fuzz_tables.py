"""Fuzzing of the readers of tables, tokenisers and indices of shards.

Whatever comes, a reader gives rows or our error: no other exception, no hang, and memory in proportion to the file.
``DALIB_FUZZ=N`` draws N examples a test instead of the short form's 100.
"""

import csv
import gzip
import io
import json
import os
import tempfile
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest

from dalib import data
from dalib.core.checks import InputError
from dalib.data.readers.files.names import class_name
from dalib.data.readers.patterns import fault_of
from dalib.encoders.checkpoints.reading import read_arrays
from tests.run.own_data import read_one

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
pytestmark = pytest.mark.slow

fuzz = hypothesis.settings(
    max_examples=int(os.environ.get("DALIB_FUZZ", "100")),
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
SECONDS = 5.0
TIMES, SLACK = 60, 4 << 20
FILES = ("t.csv", "t.tsv", "T.CSV.GZ", "t.jsonl", "t.jsonl.gz", "t.txt")
OPTIONS = ({}, {"labelled": False}, {"kind": "vectors"}, {"kind": "text"}, {"real": True}, {"categories": ("text",)})
characters = st.characters(exclude_categories=["Cs"])
cells = st.text(characters, min_size=1).filter(str.strip)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@contextmanager
def held_to_promises(size, memory=True):
    """Runs a reader on so many bytes."""
    if memory:
        tracemalloc.start()
    began = time.process_time()
    try:
        yield
    except InputError as error:
        assert len(str(error)) < 20_000 and str(error).count("\n") < 40, str(error)[:500]
    finally:
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < TIMES * size + SLACK, f"{peak:,} bytes for a file of {size:,}"


def written(rows, delimiter=","):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows(rows)
    return file.getvalue()


def read_bytes(name, content, memory=True, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
        options = {"kind": "text", "labelled": False} if name == "t.txt" else options
        with held_to_promises(len(content), memory):
            return read_one(path, **options)


@fuzz
@hypothesis.given(st.lists(st.tuples(cells, cells), min_size=1), st.sampled_from([("t.csv", ","), ("t.tsv", "\t")]))
def test_what_the_standard_library_writes_is_read_back_or_named(rows, form):
    name, delimiter = form
    content = written([("text", "label"), *rows], delimiter)
    found = read_bytes(name, content.encode())
    if found is not None:
        assert found.inputs == [text for text, _ in rows]
        assert found.labels == [class_name(label) for _, label in rows]
    else:
        assert any("\n" in cell or "\r" in cell or cell.lstrip(" \t").startswith('"') for row in rows for cell in row)


PLAIN = [(f"{'great' if i % 2 else 'awful'} product {i}", "pos" if i % 2 else "neg") for i in range(20)]


@fuzz
@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 1), st.booleans()), max_size=4), st.booleans(), st.data()
)
def test_stray_quotes_lose_no_row(places, labelled, draw):
    rows = [list(row) for row in PLAIN]
    for row, column, first in places:
        cell = rows[row][column]
        at = draw.draw(st.sampled_from([0, len(cell)] if first else [len(cell) // 2]))
        rows[row][column] = f'{cell[:at]}"{cell[at:]}'
    content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    found = read_bytes("t.csv", content.encode(), labelled=labelled)
    assert found is None or len(found.inputs) == 20


mutations = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=5)


def mutated(content, changes):
    for place, put, cut in changes:
        at = place % (len(content) + 1)
        content = content[:at] + put + content[at + cut :]
    return content


@fuzz
@hypothesis.given(st.sampled_from(FILES), mutations, st.sampled_from(OPTIONS))
def test_changed_bytes_of_tables(name, changes, options):
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in PLAIN)
    content = lines if "jsonl" in name else written([("text", "label"), *PLAIN], "\t" if "tsv" in name else ",")
    read_bytes(name, mutated(content.encode(), changes), **options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "torn.csv.gz"
        path.write_bytes(mutated(gzip.compress(content.encode()), changes))
        with held_to_promises(len(content)):
            read_one(path)


@fuzz
@hypothesis.given(st.sampled_from(FILES), st.binary(max_size=2000), st.sampled_from(OPTIONS))
def test_any_bytes_as_a_table(name, content, options):
    read_bytes(name, b"text,label\n" * ("csv" in name) + content, **options)
    read_bytes(name, content, **options)


@fuzz
@hypothesis.given(
    st.lists(st.dictionaries(st.sampled_from(["text", "label", "a", ""]) | st.text(max_size=5), values), max_size=6),
    st.sampled_from(OPTIONS),
)
def test_any_objects_as_json_lines(rows, options):
    read_bytes("t.jsonl", "\n".join(map(json.dumps, rows)).encode(), **options)


@pytest.mark.parametrize(
    "content",
    [
        b"text,label\n" + b'"a""' * 400_000,
        b"text,label\n" + b'"a\n' * 100_000,
        b"text,label\n" + b'"""\n' * 100_000,
        b"text,label\n" + b'x"y,1\n' * 100_000,
        b"text,label\n" + b'"a,pos\nb,pos\n' * 50_000,
        b"text\n" + b'x"y\n' * 200_000,
        b"text\n" + b"\n" * 400_000 + b"x",
        b"text,label\n" + b"," * 400_000,
        b"text,label\n" + b"\r" * 400_000,
        ",".join(f"c{i}" for i in range(20_000)).encode() + b"\n" + b",".join([b"1"] * 20_000),
        b"text,label\n" + b"\xff\n" * 200_000,
    ],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_long_files_of_one_fault_take_no_quadratic_time(content, labelled):
    read_bytes("t.csv", content, memory=False, labelled=labelled)


@pytest.mark.parametrize(
    "line", [b"[" * 50_000, b'{"a":' * 50_000, b'{"a": 1' + b', "a": 1' * 50_000 + b"}", b"9" * 100_000]
)
def test_long_lines_of_json(line):
    read_bytes("t.jsonl", line + b"\n" + b'{"text": "a", "label": 1}\n')


tokenizers = pytest.importorskip("tokenizers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s"]


def stored():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        return json.loads(data.load_tokenizer(folder).backend.to_str())


STORED = stored()


def load(files, texts=("the cats",)):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        with held_to_promises(sum(map(len, files.values()))):
            tokenizer = data.load_tokenizer(folder)
            data.encode(tokenizer, texts, max_length=8)
            data.encode_words(tokenizer, [text.split() or ["x"] for text in texts], max_length=8)


@fuzz
@hypothesis.given(st.sampled_from(sorted(STORED)), values, mutations)
def test_changed_tokenisers(part, value, changes):
    load({"tokenizer.json": json.dumps({**STORED, part: value}).encode()})
    load({"tokenizer.json": mutated(json.dumps(STORED).encode(), changes)})
    vocabulary = "\n".join(WORDS).encode()
    load({"vocab.txt": mutated(vocabulary, changes), "tokenizer_config.json": json.dumps({part: value}).encode()})
    load(
        {
            "vocab.json": json.dumps({"a": 0, "b": value}).encode(),
            "merges.txt": mutated(b"#version: 0.2\na b\n", changes),
        }
    )


@fuzz
@hypothesis.given(st.lists(st.text(), min_size=1))
def test_any_texts_are_encoded_or_named(texts):
    load({"vocab.txt": "\n".join(WORDS).encode()}, texts)


PARTS = st.sampled_from(
    ["a", "b", "\\p{L}", "[^a]", ".", "\\s", "(", ")", "(?:", "|", "*", "+", "?", "{2}", "{1,3}", "{2,}", "\\w"]
)


@fuzz
@hypothesis.given(st.lists(PARTS, min_size=1, max_size=12).map("".join))
def test_patterns_that_pass_match_in_little_time(pattern):
    if fault_of(pattern):
        return
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    content = json.dumps({**STORED, "normalizer": None, "pre_tokenizer": split}).encode()
    load({"tokenizer.json": content}, ["a" * 60 + "!", "ab" * 30 + "!", " " * 60 + "!", "a b" * 20])


@fuzz
@hypothesis.given(values | st.fixed_dictionaries({"weight_map": values}), mutations)
def test_any_index_of_shards(value, changes):
    for content in (
        json.dumps(value).encode(),
        mutated(json.dumps({"weight_map": {"a": "b.safetensors"}}).encode(), changes),
    ):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.safetensors.index.json").write_bytes(content)
            with held_to_promises(len(content)):
                read_arrays(folder)
