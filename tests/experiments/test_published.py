"""The file of published numbers: what must hold in it, and what its loader refuses."""

import math

import pytest

from dalib.core.checks import InputError
from experiments.ledger.published import MEAN, PATH, load

SMALL = """
[source.someone]
title = "Someone"
place = "a paper"
[[table]]
id = "one"
benchmark = "toy"
where = "Table 1"
setting = "closed set"
backbone = "lenet"
split = "held out"
metric = "accuracy"
tasks = ["a → b", "b → a", "mean"]
rows = [
  {{ label = "DANN", method = "dann", source = "someone", selection = "last", seeds = 3, decimals = 1, {values} }},
]
"""


@pytest.fixture(scope="module")
def numbers():
    return load()


def write(tmp_path, values="values = [50.0, 60.0, 55.0]", **changes):
    text = SMALL.format(values=values)
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "numbers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_number_says_where_it_is_from_and_how_it_was_made(numbers):
    assert len(numbers) > 1800
    for number in numbers:
        assert number.title and number.place and number.where and number.backbone and number.selection
        assert 0 <= number.value <= 100
    keys = [(n.table, n.task, n.metric, n.label, n.title, n.selection) for n in numbers]
    assert len(set(keys)) == len(keys)


def test_printed_means_follow_from_their_columns_but_for_the_known_errors(numbers):
    """A digit mistyped in a column shows here, unless it is the error that the source itself is known for."""
    columns: dict[tuple, dict[str, float]] = {}
    for n in numbers:
        columns.setdefault((n.table, n.label, n.title), {})[n.task] = n.value
    wrong = set()
    for (table, label, _), values in columns.items():
        mean = values.pop(MEAN, math.nan)
        if len(values) > 2 and not abs(sum(values.values()) / len(values) - mean) <= 0.11 and not math.isnan(mean):
            wrong.add((table, label))
    assert wrong == {
        ("office31-open", "ERM"),
        ("office-home-dg", "GroupDRO"),
        ("office-home-dg", "MixStyle"),
        ("surf-full", "SVM"),
    }


def test_a_mean_printed_alone_is_over_the_tasks_of_the_benchmark(numbers):
    alone = next(n for n in numbers if n.table == "office31-origin" and n.label == "DANN")
    assert alone.task == MEAN and len(alone.tasks) == 6 and "amazon → webcam" in alone.tasks


def test_known_cells(numbers):
    def value(table, label, task):
        return [n.value for n in numbers if (n.table, n.label, n.task) == (table, label, task)]

    assert value("digits-dann-paper", "DANN", "mnist → mnist_m") == [76.66]
    assert value("office31-resnet50", "MDD", MEAN) == [89.6]
    assert value("surf-full", "JDA", "webcam → dslr") == [92.4]
    assert value("amazon-counts", "DANN", "books → dvd") == [78.4]


def test_the_loader_reads_a_table(tmp_path):
    found = load(write(tmp_path, "values = [50.0, nan, 55.0], spread = [1.5, nan, nan]"))
    assert [(n.task, n.value) for n in found] == [("a → b", 50.0), (MEAN, 55.0)]
    assert found[0].spread == 1.5 and math.isnan(found[1].spread) and found[1].tasks == ("a → b", "b → a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("values = [50.0, 60.0, 55.0]", "values = [50.0]"), "1 values for 3 tasks"),
        (("50.0, 60.0", "50.0, 160.0"), "outside 0 … 100"),
        (('method = "dann"', 'method = "dan_n"'), "unknown method"),
        (('source = "someone"', 'source = "nobody"'), "unknown source"),
        (('metric = "accuracy"', 'metric = "acuracy"'), "unknown metric"),
        (('split = "held out"', 'split = "heldout"'), "unknown split"),
        (('"b → a", "mean"', '"b to a", "mean"'), "is not 'source → target'"),
        (('"b → a", "mean"', '"a → b", "mean"'), "a task stands twice"),
        (("seeds = 3", "sedes = 3"), "sedes"),
        (("[[table]]", "[[table]"), "can't be read"),
    ],
)
def test_faults_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match="published numbers") as error:
        load(write(tmp_path, change=change))
    assert message in str(error.value)


def test_all_faults_come_at_once(tmp_path):
    path = write(tmp_path, a=('method = "dann"', 'method = "x"'), b=("seeds = 3", "seeds = -1"))
    with pytest.raises(InputError) as error:
        load(path)
    assert "unknown method" in str(error.value) and "seeds -1" in str(error.value)


def test_the_file_lies_beside_its_loader():
    assert PATH.is_file()
