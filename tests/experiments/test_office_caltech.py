"""The Office-Caltech command on made-up counts, its errors, and the published 1-NN row where the data is at hand."""

import json
import os

import numpy as np
import pytest

from dalib.data.benchmarks import BENCHMARKS
from dalib.data.domain import pool
from dalib.data.readers.arrays import ArraySplit
from dalib.report import load_runs
from dalib.run.cli.main import main
from experiments import office_caltech
from experiments.ledger.compare import entries
from experiments.ledger.published import load as load_published
from experiments.office_caltech import DOMAINS, ROWS, TASKS, OfficeCaltech, accuracy, load, published_numbers

EXACT = (23.70, 25.76, 25.48, 26.00, 29.83, 25.48, 19.86, 22.96, 59.24, 26.27, 28.50, 63.39)


def _command(*arguments: str) -> int:
    return main(office_caltech.office_caltech, OfficeCaltech, "", list(arguments))


@pytest.fixture
def folder(tmp_path):
    """An archive of the manifest's counts in which twenty words for each class tell it."""
    rng = np.random.default_rng(0)
    arrays = {}
    counts = BENCHMARKS["office_caltech10_surf"].facts.counts
    for domain in DOMAINS.values():
        labels = np.repeat(np.arange(10), counts[domain]["all"])
        rates = np.where(np.arange(800)[None] // 20 == labels[:, None], 3.0, 0.5)
        arrays[f"surf_{domain}_x"] = rng.poisson(rates).astype(np.uint16)
        arrays[f"surf_{domain}_y"] = labels.astype(np.int8)
    (tmp_path / "office_caltech10").mkdir()
    np.savez(tmp_path / "office_caltech10" / "surf.npz", **arrays)
    return tmp_path


def test_prints_a_table_and_one_json_line_and_leaves_records_for_the_ledger(folder, capsys):
    out = folder / "runs"
    options = ["--data-dir", str(folder), "--out", str(out), "--method", "nearest", "svm", "sa"]
    assert _command(*options, "--tasks", "W-D", "D-W") == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert (
        "W-D" in table[0] and table[1].startswith("nearest") and table[2].split()[:3] == ["published", "59.2", "63.4"]
    )
    found = json.loads(last)
    assert found["tasks"] == 2 and list(found["rows"]) == ["nearest", "svm", "sa"]
    assert found["rows"]["nearest"]["published_mean"] == pytest.approx(61.3)
    assert found["rows"]["sa"]["published_mean"] is None
    assert all(row["mean"] > 80 for row in found["rows"].values())
    for row in found["rows"].values():
        assert row["mean"] == pytest.approx(np.mean(list(row["accuracy"].values())))
    numbers = [n for n in load_published() if n.table == "surf-full" and n.task == "webcam → dslr"]
    compared = {e.number.label: e for e in entries(numbers, load_runs(out)) if e.ours is not None}
    assert set(compared) == {"1NN", "1NN, recomputed", "SVM"} and compared["1NN"].differences == ()
    assert compared["1NN"].ours.mean == pytest.approx(found["rows"]["nearest"]["accuracy"]["W-D"])
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert _command(*options, "--tasks", "W-D", "D-W") == 0
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def test_target_labels_change_the_score_alone(folder, tmp_path):
    domains = load(folder)
    source, target = domains["dslr"], domains["webcam"]
    split = target.split("train")
    shifted = pool("webcam", target.class_names, ArraySplit(split.inputs, (split.labels + 1) % 10))
    right = accuracy(ROWS["sa"], source, target, tmp_path / "a")
    assert accuracy(ROWS["sa"], source, target, tmp_path / "b") == right
    assert accuracy(ROWS["sa"], source, shifted, tmp_path / "c") <= 100 - right
    assert len(split) == 295  # all rows once


def test_missing_data_is_an_error_that_says_where_it_looked(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DALIB_DATA", raising=False)
    assert _command() == 2
    assert "DALIB_DATA" in capsys.readouterr().err
    monkeypatch.setenv("DALIB_DATA", str(tmp_path))
    assert _command() == 2
    message = capsys.readouterr().err
    assert str(tmp_path) in message and "surf.npz" in message and "webcam_SURF_L10.mat" in message


def test_a_wrong_archive_is_an_error_that_lists_all_faults(folder, capsys):
    file = folder / "office_caltech10" / "surf.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    del arrays["surf_amazon_y"]
    arrays["surf_dslr_x"] = arrays["surf_dslr_x"][:100]
    arrays["surf_webcam_y"] = arrays["surf_webcam_y"] + 1
    np.savez(file, **arrays)
    assert _command("--data-dir", str(folder)) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in ("surf_amazon_y", "(100, 800)", "webcam: labels from 1 to 10"))


def test_unknown_rows_and_tasks(capsys):
    assert _command("--method", "nearst") == 2
    assert "nearest" in capsys.readouterr().err
    assert _command("--tasks", "C-B") == 2
    assert "C-A" in capsys.readouterr().err


def test_published_rows_have_every_task():
    for name, row in ROWS.items():
        assert set(published_numbers(row)) in (set(), set(TASKS)), name
    nearest = published_numbers(ROWS["nearest"])
    np.testing.assert_allclose(EXACT, [nearest[task] for task in TASKS], atol=0.051)
    assert published_numbers(ROWS["coral+svm"])["C-A"] == 52.1 and not published_numbers(ROWS["ot"])


@pytest.mark.data
def test_nearest_neighbour_row_is_exact(tmp_path):
    if not os.environ.get("DALIB_DATA"):
        pytest.skip("DALIB_DATA is not set")
    domains = load(None)
    pairs = [[domains[DOMAINS[initial]] for initial in task.split("-")] for task in TASKS]
    found = [accuracy(ROWS["nearest"], source, target, tmp_path) for source, target in pairs]
    np.testing.assert_allclose(found, EXACT, atol=0.005001)
