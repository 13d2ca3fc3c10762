"""``predictions.csv``: the user's order and row numbers, and nothing that a spreadsheet would run."""

import csv
from pathlib import Path

import numpy as np
import pytest

from dalib.data.readers.images import ImageFiles
from dalib.data.readers.places import Raw
from dalib.run.own.predictions import Example, examples_of, harmless, write_predictions


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_rows_are_those_of_the_users_file(tmp_path):
    np.savez(tmp_path / "predictions.npz", predictions=np.array([1, 0]), probabilities=np.array([[0.2, 0.8], [1, 0]]))
    left = [Example(2, "1"), Example(5, "4")]  # the others were labelled ones
    (written,) = write_predictions([tmp_path, tmp_path / "none"], left, ("no", "yes"))
    wanted = [["example", "class", "probability", "row"], ["1", "yes", "0.800000", "2"], ["4", "no", "1.000000", "5"]]
    assert rows_of(written) == wanted
    np.savez(tmp_path / "predictions.npz", predictions=np.array([1, 0]))
    assert rows_of(write_predictions([tmp_path], left, ("no", "yes"))[0])[1] == ["1", "yes", "", "2"]
    np.savez(tmp_path / "predictions.npz", predictions=np.array([[1.0, 2.0], [0.5, -1.0]]))
    (written,) = write_predictions([tmp_path], left, (), (np.array([1.0, 0.0]), np.array([2.0, 1.0])))
    assert rows_of(written) == [
        ["example", "value", "value 2", "row"],
        *(["1", "3.0", "2.0", "2"], ["4", "2.0", "-1.0", "5"]),
    ]


def test_formulas_and_names_that_are_not_utf8_are_harmless(tmp_path):
    names = ("=1+cmd|'/C calc'!A0.png", "caf\udce9.png", 'a,b\n".png', "plain.png")
    found = examples_of(Raw("images", ImageFiles(Path(), names, np.zeros(4, np.int32)), None))
    np.savez(tmp_path / "predictions.npz", predictions=np.array([0, 1, 2, 0]))
    (written,) = write_predictions([tmp_path], found, ("@SUM(1)", "-1", "+1 day"))
    body = rows_of(written)[1:]
    assert [row[0] for row in body] == [f"'{names[0]}", "caf\\xe9.png", *names[2:]]
    assert [row[1] for row in body] == ["'@SUM(1)", "-1", "'+1 day", "'@SUM(1)"]
    assert [row[3] for row in body] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("cell", ["=1", "+a", "-a", "@a", "\t=1", "\r=1", " =1", "\n=1", "＝1", "-1+cmd", "-"])
def test_what_begins_a_formula_gets_an_apostrophe(cell):
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a=1", "-1", "+2.5e3", "-inf", "cats/0.png", "3"])
def test_other_cells_stay_as_they_are(cell):
    assert harmless(cell) == cell
