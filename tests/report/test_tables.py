"""Tables from known records, number by number and sign by sign."""

import json

import pytest

from dalib.core.checks import InputError
from dalib.report import accuracy_table, load_runs, selection_table, to_html, to_markdown, to_text
from dalib.report.notes import doubts
from dalib.report.tables import Cell, format_cell
from tests.report.synthetic import write_run

KNOWN = {
    "source_only": [0.70, 0.71, 0.72],
    "dan": [0.80, 0.81, 0.82],
    "dann": [0.40, 0.60, 0.80],
    "mcd": [0.50, 0.51, 0.52],
    "oracle": [0.95, 0.95, 0.95],
}


@pytest.fixture
def runs(tmp_path):
    for name, lasts in KNOWN.items():
        for seed, last in enumerate(lasts):
            write_run(
                tmp_path, name, seed=seed, role="oracle" if name == "oracle" else "method",
                target_accuracy=[0.3, 0.9, last], source_accuracy=[0.9, 0.95, 0.94],
            )  # fmt: skip
    return load_runs(tmp_path)


def test_numbers_signs_and_order(runs):
    table = accuracy_table(runs)
    assert table.columns == ("mnist → optdigits",)
    assert [row.label for row in table.rows] == [
        "source-only", "DAN", "DANN", "MCD", "oracle: trained on target labels",
    ]  # fmt: skip
    cells = [row.cells[0] for row in table.rows]
    assert [cell.mean for cell in cells] == pytest.approx([0.71, 0.81, 0.60, 0.51, 0.95])
    # t(0.975, 2) / √3 = 2.4841377 times s = 0.01, 0.01, 0.2, 0.01, 0
    assert [cell.half_width for cell in cells] == pytest.approx(
        [0.0248414, 0.0248414, 0.4968275, 0.0248414, 0], abs=1e-6
    )
    assert [cell.sign for cell in cells] == [0, 1, 0, -1, 0]
    assert [cell.n for cell in cells] == [3] * 5
    assert [row.oracle for row in table.rows] == [False] * 4 + [True]


def test_text_is_as_known(runs):
    assert to_text(accuracy_table(runs)) == (
        "Target test accuracy (%) at the last step\n"
        "\n"
        "method                             mnist → optdigits\n"
        "─────────────────────────────────────────────────────\n"
        "source-only                         71.0 ±  2.5 (3)\n"
        "DAN                                 81.0 ±  2.5 (3) ▲\n"
        "DANN                                60.0 ± 49.7 (3)\n"
        "MCD                                 51.0 ±  2.5 (3) ▼\n"
        "─────────────────────────────────────────────────────\n"
        "oracle: trained on target labels    95.0 ±  0.0 (3)\n"
        "\n"
        "mean ± half-width of the 95 % Student-t interval over seeds (number of seeds)\n"
        "▲ / ▼: the interval lies wholly above / below that of source-only in the same column\n"
    )


def test_text_does_not_depend_on_the_order_of_runs(runs):
    assert to_text(accuracy_table(runs[::-1])) == to_text(accuracy_table(runs))


def test_selection_columns(runs):
    table = selection_table(runs, "mnist → optdigits")
    assert table.columns == ("last step", "source-validated pick", "oracle pick (uses target labels)")
    dann = next(row for row in table.rows if row.label == "DANN")
    assert [cell.mean for cell in dann.cells] == pytest.approx([0.6, 0.9, 0.9])
    oracle = table.rows[-1]
    assert oracle.cells[1] is None and oracle.cells[2].mean == pytest.approx(0.95)


def test_columns_of_the_validators_that_were_recorded(tmp_path):
    for seed in (0, 1):
        folder = write_run(
            tmp_path, "dann", seed=seed, target_accuracy=[0.3, 0.9, 0.6], source_accuracy=[0.9, 0.95, 0.94]
        )
        with open(folder / "record.jsonl", "a") as file:
            for step, (im, share) in {100: (2.0, 0.1), 200: (1.0, 0.1), 300: (1.5, 0.95)}.items():
                event = {
                    "event": "evaluate",
                    "step": step,
                    "domain": "optdigits",
                    "split": "unlabelled",
                    "oracle": False,
                }
                file.write(json.dumps({**event, "metrics": {"im": im, "largest_class": share}}) + "\n")
    runs = load_runs(tmp_path)
    table = selection_table(runs, "mnist → optdigits")
    assert table.columns == ("last step", "source-validated pick", "IM pick", "oracle pick (uses target labels)")
    assert [cell.mean for cell in table.rows[0].cells] == pytest.approx([0.6, 0.9, 0.3, 0.9])
    assert sum("95 % of the target are predicted as one class" in line for line in doubts(runs)) == 2


def test_other_metric(runs):
    table = accuracy_table(runs, metric="mean_class_accuracy")
    assert table.title == "Target test mean class accuracy (%) at the last step"
    assert table.rows[0].cells[0].mean == pytest.approx(0.70)


def test_markdown_and_html_carry_the_same_numbers(runs):
    table = accuracy_table(runs)
    markdown, html = to_markdown(table), to_html(table)
    assert "| DAN | 81.0 ± 2.5 (3) ▲ |" in markdown
    assert "| *oracle: trained on target labels* | 95.0 ± 0.0 (3) |" in markdown
    assert '<td class="up"><b>81.0</b> ± 2.5 <span class="n">(3)</span> <span class="sign">▲</span></td>' in html
    assert '<td class="down"><b>51.0</b>' in html
    assert '<tr class="oracle"><th scope="row">oracle: trained on target labels</th>' in html


def test_one_seed_claims_nothing(tmp_path):
    write_run(tmp_path, "source_only", target_accuracy=[0.1])
    write_run(tmp_path, "dan", target_accuracy=[0.9])
    table = accuracy_table(load_runs(tmp_path))
    assert [row.cells[0].sign for row in table.rows] == [0, 0]
    assert "90.0 ±    – (1)" in to_text(table) and "one seed has no interval" in to_text(table)
    assert "▲" not in to_text(table)


def test_unfinished_runs_are_in_no_number(tmp_path):
    write_run(tmp_path, "dan", seed=0, target_accuracy=[0.5, 0.8])
    write_run(tmp_path, "dan", seed=1, target_accuracy=[0.5, 0.1], finished=False)
    write_run(tmp_path, "dann", seed=0, finished=False)
    table = accuracy_table(load_runs(tmp_path))
    assert table.rows[0].cells[0][:1] == (0.8,) and table.rows[0].cells[0].n == 1
    assert table.rows[1].label == "DANN" and table.rows[1].cells == (None,)
    assert any("no finished run" in note for note in table.notes)


def test_a_method_missing_on_a_task_gets_a_dash(tmp_path):
    write_run(tmp_path, "source_only")
    write_run(tmp_path, "dan", source="optdigits", target="mnist")
    table = accuracy_table(load_runs(tmp_path))
    assert [[cell is None for cell in row.cells] for row in table.rows] == [[False, True], [True, False]]


def test_names_are_escaped(tmp_path):
    write_run(tmp_path, "a|b", config={"name": "<b>|&"})
    table = accuracy_table(load_runs(tmp_path))
    assert "&lt;b&gt;|&amp;" in to_html(table) and "<b>|&" not in to_html(table)
    assert "| <b>\\|& |" in to_markdown(table)


def test_cells():
    assert format_cell(None) == "–"
    assert format_cell(Cell(1.0, 0.123, 10, -1)) == "100.0 ± 12.3 (10) ▼"


def test_refuses(runs):
    with pytest.raises(InputError, match="runs"):
        accuracy_table([])
    with pytest.raises(InputError, match="task"):
        selection_table(runs, "mnist → svhn")
