"""Tables through the command: texts whose rows a quote would swallow, sparse texts, numbers, categories."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays
from dalib.data.readers.arrays import is_sparse
from dalib.report import load_runs
from dalib.run.own.inputs import check_dense
from dalib.run.own.options import Own, default_folder
from dalib.run.own.plan import plan
from dalib.run.own.read import read_domains
from dalib.run.population.members import pool_of
from tests.run.own_data import MLP, SMALL, call

FEW = [*SMALL.split(), *MLP.split(), "--word-columns", "64", "--no-baseline"]


def texts(path, name, quotes=(), closing=(), labels=True, n=40):
    words = [f"{'great' if i % 2 else 'awful'} product number {i} {name}" for i in range(n)]
    cells = [f"{chr(34) * (i in quotes)}{text}{chr(34) * (i in closing)}" for i, text in enumerate(words)]
    ends = [",pos" if i % 2 else ",neg" for i in range(n)] if labels else [""] * n
    header = "text,label" if labels else "text"
    path.write_text("".join(f"{line}\n" for line in (header, *map("".join, zip(cells, ends, strict=True)))))
    return str(path)


@pytest.mark.parametrize(
    ("quotes", "closing", "options", "lines"),
    [
        ((5, 18), (), [], (7, 20)),
        ((5,), (), ["--no-target-labels"], (7,)),
        ((5,), (18,), [], (7,)),
        ((5,), (18,), ["--no-target-labels"], (7,)),
    ],
)
def test_quotes_that_swallow_rows_end_the_command_before_anything_is_written(
    tmp_path, capsys, quotes, closing, options, lines
):
    source, target = texts(tmp_path / "a.csv", "a"), texts(tmp_path / "b.csv", "b", quotes, closing)
    assert call("--source", source, "--target", target, *options, *FEW, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert all(f"line {line}:" in error for line in lines) and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_predictions_follow_the_rows_of_the_users_file(tmp_path):
    source, target = texts(tmp_path / "A.CSV", "a"), texts(tmp_path / "b.csv", "bb", labels=False)
    command = ["--source", source, "--target", target, "--no-target-labels", *FEW, "--out", tmp_path / "out"]
    assert call(*command, "--method", "coral") == 0
    (run,) = load_runs(tmp_path / "out")
    with (run.path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(i + 1) for i in range(40)]
    assert [row["class"] for row in rows] == ["neg", "pos"] * 20
    stated = dict(run.experiment["protocol"])["texts"]
    assert stated.startswith("TF-IDF") and "64 columns" in stated


def test_texts_stay_sparse_until_the_batch_and_target_words_change_no_source_vector(tmp_path, monkeypatch):
    sources = tuple(texts(tmp_path / f"{name}.csv", name * 3) for name in "ac")
    data = {}
    for name in ("b", "d"):
        target = texts(tmp_path / f"{name}.csv", name * 3)
        own = Own(source=sources, target=target, method=("source_only",), word_columns=1 << 20)
        data[name] = read_domains(own, plan(own))
    source, target = data["b"].source.split("train"), data["b"].target.split("train")
    assert is_sparse(source.inputs) and is_sparse(target.inputs) and source.inputs.shape == (64, 1 << 20)
    assert data["b"].source.fingerprint() == data["d"].source.fingerprint()
    assert source.__getitems__([0])[0].shape == (1, 1 << 20)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 10}[name])
    with pytest.raises(InputError, match="--word-columns"):
        check_dense("method", [source.inputs, target.inputs])
    check_dense("method", [np.zeros((64, 4))])


def test_a_pool_that_would_not_fit_is_refused_before_it_is_dense(tmp_path, monkeypatch):
    from scipy.sparse import csr_array

    rows = csr_array((100_000, 1 << 24), dtype=np.float32)
    domain = from_arrays("big", {"train": (rows, np.arange(100_000) % 2)})
    job = SimpleNamespace(experiment=None, source=domain, target=domain)
    monkeypatch.setattr("dalib.run.population.members.domains_of", lambda *_: (domain, domain))
    monkeypatch.setattr("dalib.run.population.members.memory_limit", lambda: 1 << 30)
    with pytest.raises(InputError, match="more than 1024 MiB"):
        pool_of([job])


def people(path, n=30, shift=0.0, colours=("red", "blue"), header="age,colour,size,label"):
    rng = np.random.default_rng(len(path.name))
    lines = []
    for i in range(n):
        size = rng.normal() + shift + 3 * (i % 2)
        cells = {"age": 20 + i, "colour": colours[i % len(colours)], "size": f"{size:.3f}", "label": "yn"[i % 2]}
        lines.append(",".join(str(cells[name]) for name in header.split(",")))
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def test_tables_of_numbers_and_categories_are_vectors(tmp_path, capsys):
    source = people(tmp_path / "a.csv")
    target = people(tmp_path / "b.csv", shift=1.0, colours=("blue", "green"), header="size,age,colour,label")
    command = ["--source", source, "--target", target, "--method", "coral", *FEW, "--out", tmp_path / "out"]
    assert call(*command) == 2 and "--kind vectors" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert call(*command, "--kind", "vectors") == 0
    assert "values of 'colour' that the source does not have: 'green' (15)" in capsys.readouterr().err
    (run,) = load_runs(tmp_path / "out")
    assert dict(run.experiment["protocol"])["categories"] == "colour"
    own = Own(source=(source,), target=target, kind="vectors", scale="none", method=("coral",))
    data = read_domains(own, plan(own))
    x, y = data.target.split("train").__getitems__(range(30))
    # age, blue, red, size: the source's order; green is neither.
    np.testing.assert_array_equal(x[:, 0], np.arange(20, 50))
    np.testing.assert_array_equal(x[:, 1:3], np.array([[1, 0], [0, 0]] * 15))
    assert y.tolist() == [1, 0] * 15 and data.source.class_names == ("n", "y")


def test_missing_cells_end_the_command_unless_an_option_fills_them(tmp_path, capsys):
    for name in "ab":
        lines = [f"{i},{'' if i == 3 else i % 4},{'yn'[i % 2]}" for i in range(12)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,z,label", *lines]) + "\n")
    (tmp_path / "b.csv").write_text((tmp_path / "b.csv").read_text().replace("11,", "12,"))
    command = ["--source", tmp_path / "a.csv", "--target", tmp_path / "b.csv", "--method", "coral", *FEW]
    assert call(*command, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("line 5: no value in 'z'") == 1 and "--missing mean" in error and not (tmp_path / "out").exists()
    assert call(*command, "--missing", "mean", "--out", tmp_path / "out") == 0
    assert call(*command, "--missing", "median", "--out", tmp_path / "other") == 2
    assert call(*command, "--word-columns", "3", "--out", tmp_path / "other") == 2 and not (tmp_path / "other").exists()


def test_regression_takes_categories_too(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        x = rng.normal(size=24)
        lines = [f"{v:.4f},{'pq'[i % 2]},{2 * v + i % 2:.4f}" for i, v in enumerate(x)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,c,price", *lines]) + "\n")
    command = ["--source", tmp_path / "a.csv", "--target", tmp_path / "b.csv", "--task", "regression", *FEW]
    command += ["--label-column", "price", "--kind", "vectors", "--method", "source_only", "--out", tmp_path / "out"]
    assert call(*command) == 0
    (run,) = load_runs(tmp_path / "out")
    assert run.finished and run.experiment["kind"] == "regression"


def test_options_of_tables_name_the_folder_only_where_they_are_used():
    plain = Own(source=("a.csv",), target="b.csv")
    assert default_folder(plain) == default_folder(Own(source=("a.csv",), target="b.csv", word_columns=16384))
    others = [{"word_columns": 4096}, {"missing": "mean"}, {"categories": ("a",)}, {"drop_columns": ("a",)}]
    folders = {default_folder(Own(source=("a.csv",), target="b.csv", **other)) for other in others}
    assert len(folders | {default_folder(plain)}) == 5


def test_a_fact_of_the_record_says_how_missing_cells_were_filled(tmp_path):
    (tmp_path / "a.csv").write_text("x,label\n1,y\n,n\n3,y\n4,n\n")
    (tmp_path / "b.csv").write_text("x,label\n1,y\n2,n\n")
    command = ["--source", tmp_path / "a.csv", "--target", tmp_path / "b.csv", "--missing", "mean", *FEW]
    assert call(*command, "--method", "coral", "--out", tmp_path / "out") == 0
    config = json.loads(next((tmp_path / "out").rglob("config.json")).read_text())
    assert ["missing cells", "mean of the source"] in config["experiment"]["protocol"]
