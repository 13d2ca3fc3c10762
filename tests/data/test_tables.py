"""Tables of a user's own: no row is lost, cut or taken for two, and every bad line is named with its number."""

import csv
import gzip
import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.readers.tabular import content as content_module
from dalib.data.readers.tabular.cells import finite
from tests.run.own_data import read_one

ROWS = [(f"{'great' if i % 2 else 'awful'} product number {i}", "pos" if i % 2 else "neg") for i in range(40)]


def table(path, lines, header="text,label"):
    path.write_bytes("".join(f"{line}\n" for line in (header, *lines)).encode())
    return path


def fails(path, **options):
    with pytest.raises(InputError) as error:
        read_one(path, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        ({7: '"{0},{1}', 20: '"{0},{1}'}, (7, 20)),  # the quote of line 20 closes the one of line 7
        ({7: '"{0},{1}'}, (7,)),
        ({7: '"{0},{1}', 20: '{0}",{1}'}, (7,)),  # a valid cell that holds 13 rows
        ({7: '"{0},{1}', 8: '{0}",{1}'}, (7,)),
        ({9: "{0}, indeed,{1}"}, (9,)),
        ({9: "{0}"}, (9,)),
        ({9: '"he said \\"{0}\\" twice",{1}'}, (9,)),
        ({9: '"{0}" ,{1}'}, (9,)),
        ({9: ' "{0}",{1}'}, (9,)),
        ({9: "{0}\r,{1}"}, (9,)),
        ({9: ",{1}", 12: "{0},", 41: "  ,{1}"}, (9, 12, 41)),
        ({line: '"{0},{1}' for line in range(3, 30, 2)}, tuple(range(3, 30, 2))),
    ],
)
def test_every_bad_line_of_a_csv_is_named(tmp_path, lines, bad):
    written = [lines.get(line, "{0},{1}").format(*row) for line, row in enumerate(ROWS, start=2)]
    message = fails(table(tmp_path / "b.csv", written))
    assert f"{len(bad)} bad line{'s' * (len(bad) > 1)}" in message
    assert all(f"line {line}:" in message for line in bad[:10])
    for line in bad[10:]:
        assert f" {line}" in message.split("and 4 more, on lines")[1]


def test_a_quote_that_swallows_rows_is_found_without_labels_too(tmp_path):
    written = [f"{text},{label}" for text, label in ROWS]
    written[5], written[18] = f'"{written[5]}', written[18].replace(",", '",')
    assert "swallows whole rows up to line 20" in fails(table(tmp_path / "b.csv", written), labelled=False)


def test_cells_of_several_lines_with_commas_and_quotes_are_read(tmp_path):
    texts = ["one\ntwo, three\n\nfour", 'said "no", then left', "a, b\nc, d\ne, f", "ends with a backslash\\", '"', "x"]
    texts += ["tab\there", "windows\r\nline", 'mid" quote', "  blanks  ", "ünïcode ⚽"]
    texts += ["ok", "ok,\nwill do", "yes", "yes,\nof course,\nthanks"]
    labels = [f"a{i % 3}" for i in range(len(texts))]
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t"), ("T.CSV", ",")):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *zip(texts, labels, strict=True)])
        found = read_one(tmp_path / name)
        assert found.inputs == texts and found.labels == labels
    # A quote within an unquoted cell takes nothing away, and is read as it is written.
    assert read_one(table(tmp_path / "q.csv", ['5" screen,pos', 'good "one",neg'])).inputs == [
        '5" screen',
        'good "one"',
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_byte_order_marks_and_empty_lines(tmp_path, end, start):
    lines = ["text,label", "good,1", "", "bad,0", "", ""]
    (tmp_path / "t.csv").write_bytes((start + end.join(lines)).encode())
    found = read_one(tmp_path / "t.csv")
    assert found.inputs == ["good", "bad"] and found.labels == ["1", "0"]


def test_an_empty_line_of_a_single_column_is_an_empty_cell(tmp_path):
    path = table(tmp_path / "t.csv", ["one", "", "two", "", ""], header="text")
    assert "1 bad line:\n    line 3: no text in 'text'" in fails(path, labelled=False)


@pytest.mark.parametrize("length", [131_071, 131_073, 1_000_000])
@pytest.mark.parametrize("quote", ["", '"'])
def test_long_cells(tmp_path, length, quote):
    found = read_one(table(tmp_path / "t.csv", [f"{quote}{'w' * length}{quote},pos", "short,neg"]))
    assert [len(text) for text in found.inputs] == [length, 5]


@pytest.mark.parametrize("name", ["T.CSV", "t.csv.GZ", "T.CSV.gz", "my.csv.jsonl", "x.JSONL", "a.jsonl.csv", "t.TSV"])
def test_the_end_of_the_name_tells_the_form_in_any_case(tmp_path, name):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    plain = name.lower().removesuffix(".gz")
    mark = "\t" if plain.endswith(".tsv") else ","
    data = "\n".join([f"text{mark}label", *(mark.join(row) for row in ROWS)])
    data = "\n".join(map(json.dumps, rows)) if plain.endswith(".jsonl") else data
    (tmp_path / name).write_bytes(gzip.compress(data.encode()) if plain != name.lower() else data.encode())
    found = read_one(tmp_path / name)
    assert found.inputs == [text for text, _ in ROWS] and found.labels == [label for _, label in ROWS]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("text;label", "one column, 'text;label'"),
        ("text,label,text", "several columns 'text'"),
        (",", "no names in the first line"),
        ('"text,label', "is never closed on line 1"),
        ("title,label", "'awful product number 0' in 'title'"),
    ],
)
def test_bad_first_lines(tmp_path, header, message):
    assert message in fails(table(tmp_path / "t.csv", ["awful product number 0,pos"], header))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "text": "b", "label": 1}', "the name 'text' twice"),
        ('{"text": "\\ud800 a", "label": 1}', "half a character in 'text'"),
        ('{"text": "a", "label": "\\udfff"}', "half a character in 'label'"),
        ('{"text": "a", "label": 1.0}', "label 1.0 in 'label', which is neither"),
        ('{"text": "a", "label": [1]}', "which is neither text nor whole number"),
        ('{"text": "a", "label": null}', "no label in 'label'"),
        ('{"text": "a"}', "no label in 'label' (there are 'text')"),
        ('{"text": 3, "label": 1}', "no text in 'text'"),
        ('["a", 1]', "not a JSON object"),
        ('{"text": "a", "label": 1', "not JSON"),
        ("[" * 100_000, "too deep"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_every_bad_line_of_json_is_named(tmp_path, line, message):
    good = '{"text": "a", "label": 99999999999}'
    (tmp_path / "t.jsonl").write_text("\n".join([good, line, "", line, good]))
    found = fails(tmp_path / "t.jsonl")
    assert message in found and "2 bad lines" in found and "line 2:" in found and "line 4:" in found
    assert len(found) < 2000


def test_labels_beyond_32_bits_are_names_like_others(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(f'{{"text": "a", "label": {2**31 + i}}}\n' for i in range(3)))
    assert read_one(tmp_path / "t.jsonl").labels == ["2147483648", "2147483649", "2147483650"]


def test_bytes_that_are_no_text_and_bombs_are_refused(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_bytes(b"text,label\ncaf\xe9,1\nfine,0\n\xff,1\n")
    message = fails(tmp_path / "t.csv")
    assert "2 bad lines" in message and "line 2: " in message and "0xe9" in message and "line 4: " in message
    (tmp_path / "t.csv").write_bytes("text,label\na,1\n".encode("utf-16"))
    assert "UTF-16" in fails(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"text,label\na,1\n"))
    assert "ends in .gz" in fails(tmp_path / "t.csv")
    packed = gzip.compress(b"text,label\n" + b"good,1\n" * 500_000)
    (tmp_path / "bomb.csv.gz").write_bytes(packed)
    monkeypatch.setattr(content_module, "ALWAYS", 1 << 20)
    assert "MiB that a file of" in fails(tmp_path / "bomb.csv.gz")
    for damaged in (packed[: len(packed) // 2], packed[:20] + b"\xff" * 50 + packed[70:], b"no gzip"):
        (tmp_path / "torn.csv.gz").write_bytes(damaged)
        assert "readable file" in fails(tmp_path / "torn.csv.gz")


def test_more_text_than_memory_is_refused(tmp_path, monkeypatch):
    path = table(tmp_path / "t.csv", ["good,1"] * 1000)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2}[name])
    assert "this machine's memory has room for" in fails(path)


def test_a_text_file_with_kind_text_holds_a_text_a_line(tmp_path):
    (tmp_path / "t.txt").write_text("one text 3\n\nanother\r\n")
    found = read_one(tmp_path / "t.txt", kind="text", labelled=False)
    assert found.kind == "text" and found.inputs == ["one text 3", "another"] and found.labels is None
    assert "without labels" in fails(tmp_path / "t.txt", kind="text")


@pytest.mark.parametrize(
    "cell", ["1e39", "-1e39", "1e400", "nan", "inf", "1_000", "١", "0x10", "", True, None, 10**400]
)
def test_what_is_no_number(cell):
    assert finite(cell) is None


def test_numbers():
    assert [finite(cell) for cell in ("1e38", " -2.5 ", 7, "+3")] == [1e38, -2.5, 7.0, 3.0]


# ---- tables of numbers and categories


def vectors(source, *others, missing="refuse"):
    from dalib.data.readers.tabular.columns import encode_columns, fit_columns

    encoding = fit_columns([source.inputs], missing=missing)
    return [encode_columns(raw.inputs, encoding) for raw in (source, *others)]


def test_numbers_with_classes_are_vectors_whatever_the_order_of_columns(tmp_path):
    a = read_one(table(tmp_path / "a.csv", ["1.5,30,yes", "1.75,41,no"], "height,age,label"))
    b = read_one(table(tmp_path / "b.csv", ["yes,31,1.5"], "label,age,height"))
    assert a.kind == "vectors" and a.labels == ["yes", "no"] and b.labels == ["yes"]
    (x, _), (y, notes) = vectors(a, b)
    assert x.dtype == np.float32 and x.tolist() == [[1.5, 30], [1.75, 41]] and y.tolist() == [[1.5, 31]] and not notes
    c = read_one(table(tmp_path / "c.csv", ["1,2,3,no"], "height,weight,size,label"))
    with pytest.raises(InputError, match="no 'age'; also 'weight', 'size'"):
        vectors(a, c)


def test_missing_cells_are_named_or_filled_from_the_source(tmp_path):
    header = "age,sex,label"
    a = read_one(table(tmp_path / "a.csv", ["20,f,0", ",f,1", "40,m,1", "30,,0"], header), kind="vectors")
    b = read_one(table(tmp_path / "b.csv", ["NA,x,0", "50,m,1"], header), kind="vectors")
    with pytest.raises(InputError, match="2 bad lines:\n    line 3: no value in 'age'\n    line 5: no value in 'sex'"):
        vectors(a)
    (x, _), (y, notes) = vectors(a, b, missing="mean")
    np.testing.assert_allclose(x, [[20, 1, 0], [30, 1, 0], [40, 0, 1], [30, 2 / 3, 1 / 3]], rtol=1e-6)
    assert y.tolist() == [[30, 0, 0], [50, 0, 1]]
    assert "'sex' that the source does not have: 'x' (1)" in notes[0]


def test_words_need_the_option_and_numbers_in_between_are_named(tmp_path):
    path = table(tmp_path / "a.csv", ["red,1,1", "blue,2,0"], "colour,size,label")
    assert "--kind vectors" in fails(path) and "line 2: 'red' in 'colour'" in fails(path)
    assert vectors(read_one(path, kind="vectors"))[0][0].tolist() == [[0, 1, 1], [1, 0, 2]]
    sizes = read_one(path, kind="vectors", categories=("size",), drop=("colour",))
    assert vectors(sizes)[0][0].tolist() == [[1, 0], [0, 1]]
    mixed = table(tmp_path / "b.csv", ["red,1,1", "7,2,0"], "colour,size,label")
    message = fails(mixed, kind="vectors")
    assert "1 bad line" in message and "line 2: 'red' in 'colour'" in message
    assert "'shape'" in fails(path, kind="vectors", drop=("shape",))
    many = fails(table(tmp_path / "d.csv", ["red,1", "7,0"] * 60 + ["red,1"] * 50, "x,label"))
    assert "1 bad line:\n    line 2: 'red' in 'x', which is no finite number (nor are 109 more cells" in many
    huge = table(tmp_path / "c.csv", ["1e39,1", "1,0"], "x,label")
    assert "line 2: '1e39' in 'x'" in fails(huge)
