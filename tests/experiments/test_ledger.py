"""The ledger: which runs stand beside which number, what it says of them, and that nothing else gets in."""

import json
import math

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.report import load_runs
from dalib.report.statistics import Interval
from dalib.run.cli.main import main
from experiments.ledger.__main__ import Ledger, ledger
from experiments.ledger.alone import alone
from experiments.ledger.compare import NOT_RUN, entries, verdict
from experiments.ledger.pages import to_html, to_markdown
from experiments.ledger.published import Number, load

NUMBER = Number(
    table="one",
    benchmark="toy",
    task="a → b",
    tasks=("a → b",),
    label="DANN",
    method="dann",
    classifier="",
    metric="accuracy",
    value=60.0,
    spread=math.nan,
    decimals=1,
    title="Someone",
    place="a paper",
    where="Table 1",
    setting="closed set",
    backbone="lenet",
    split="held out",
    variant="",
    selection="last",
    seeds=3,
    note="",
)


def run(folder, scores=((10, 0.6),), *, source="a", target="b", seed=0, method="dann", end=True, **more):
    """A run folder as the experiments write them: (step, target accuracy) pairs."""
    setup = {"benchmark": "toy", "source": source, "target": target, "method": method, "seed": seed, "role": "method"}
    setup |= {"encoder": "lenet", "protocol": [["split", "held out"]], **more}
    config = {"format": 1, "name": method, "task": f"{source} → {target}", "seed": seed, "class_names": ["x", "y"]}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config | {"experiment": setup, "git": "0123456789abcdef"}))
    events = [
        {
            "event": "evaluate",
            "step": step,
            "domain": target,
            "split": "test",
            "oracle": True,
            "metrics": {"accuracy": x},
        }
        for step, x in scores
    ]
    events += [{"event": "end", "step": scores[-1][0], "seconds": 1.0}] * end
    (folder / "record.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    return folder


def compared(number, folder):
    return entries([number], load_runs(folder))


def test_without_runs_everything_says_not_run():
    found = entries(load(), [])
    assert all(entry.ours is None and entry.verdict == NOT_RUN for entry in found)


def test_mean_and_interval_over_seeds(tmp_path):
    for seed, score in enumerate((0.58, 0.60, 0.65)):
        run(tmp_path / str(seed), [(5, 0.9), (10, score)], seed=seed)
    (entry,) = compared(NUMBER, tmp_path)
    values = np.array([58.0, 60.0, 65.0])
    assert entry.ours.mean == pytest.approx(61.0) and entry.seeds == (0, 1, 2)
    assert entry.ours.half_width == pytest.approx(4.302653 * values.std(ddof=1) / np.sqrt(3), rel=1e-5)
    assert entry.verdict == "inside" and entry.differences == () and set(entry.picks) == {"oracle"}


def test_the_rule_of_the_source_stands_beside_the_last_step(tmp_path):
    for seed in range(2):
        run(tmp_path / str(seed), [(5, 0.7), (10, 0.5 + seed / 100)], seed=seed)
    (entry,) = compared(NUMBER._replace(selection="oracle"), tmp_path)
    assert entry.ours.mean == pytest.approx(50.5) and entry.picks["oracle"].mean == pytest.approx(70)
    assert "epoch: theirs oracle, ours last" in entry.differences
    assert entry.verdict == "below"


@pytest.mark.parametrize(
    ("mean", "half", "seeds", "expected"),
    [
        (60.04, 0.0, 1, "inside"),  # rounds to the printed digit
        (60.06, 0.0, 1, "above"),
        (59.9, 0.0, 1, "below"),
        (63.0, 3.0, 5, "inside"),
        (63.0, 2.9, 5, "above"),
        (57.0, 2.9, 5, "below"),
        (63.0, math.nan, 1, "above, one seed"),
    ],
)
def test_verdicts(mean, half, seeds, expected):
    assert verdict(NUMBER, Interval(mean, half), seeds) == expected


def test_the_printed_spread_widens_the_band():
    assert verdict(NUMBER, Interval(63.0, 1.0), 5) == "above"
    assert verdict(NUMBER._replace(spread=2.0), Interval(63.0, 1.0), 5) == "inside"


@pytest.mark.parametrize(
    "other",
    [
        {"method": "dan"},
        {"benchmark": "other"},
        {"source": "c"},
        {"relation": "partial"},
        {"classifier": "svm"},
        {"end": False},
        {"role": "oracle"},
    ],
)
def test_other_runs_do_not_stand_beside_the_number(tmp_path, other):
    run(tmp_path / "0", **other)
    (entry,) = compared(NUMBER, tmp_path)
    assert entry.ours is None and entry.verdict == NOT_RUN


def test_another_form_of_the_data_is_not_compared_and_an_unknown_one_is_a_difference(tmp_path):
    number = NUMBER._replace(variant="full sets")
    run(tmp_path / "unknown" / "0")
    assert "variant: theirs full sets, ours not recorded" in compared(number, tmp_path / "unknown")[0].differences
    run(tmp_path / "other" / "0", protocol=[["variant", "2,000 images"]])
    assert compared(number, tmp_path / "other")[0].ours is None
    run(tmp_path / "same" / "0", protocol=[["variant", "full sets"], ["split", "held out"]])
    assert compared(number, tmp_path / "same")[0].differences == ()


def test_differences_of_net_and_split(tmp_path):
    run(tmp_path / "0", encoder="dtn", protocol=[["split", "transductive"], ["pixels", "16"]], steps=9, batch_size=4)
    (entry,) = compared(NUMBER, tmp_path)
    assert entry.differences == (
        "net: theirs lenet, ours dtn",
        "split: theirs held out, ours transductive",
        "ours: 9 steps of 4 examples a domain",
        "ours: pixels 16",
    )


def test_two_configurations_are_two_entries(tmp_path):
    run(tmp_path / "0", [(10, 0.5)], steps=10)
    run(tmp_path / "1", [(10, 0.6)], steps=20)
    found = compared(NUMBER, tmp_path)
    assert sorted(round(entry.ours.mean) for entry in found) == [50, 60]


def test_the_same_seed_twice_is_refused(tmp_path):
    run(tmp_path / "0")
    run(tmp_path / "1")
    with pytest.raises(InputError, match="the same run twice"):
        compared(NUMBER, tmp_path)


def test_a_mean_needs_all_its_tasks(tmp_path):
    number = NUMBER._replace(task="mean", tasks=("a → b", "b → a"))
    for seed in range(2):
        run(tmp_path / f"ab{seed}", [(10, 0.5)], seed=seed)
    assert compared(number, tmp_path)[0].verdict == "not run (1 of 2 tasks)"
    for seed in range(2):
        run(tmp_path / f"ba{seed}", [(10, 0.7 + 0.02 * seed)], source="b", target="a", seed=seed)
    (entry,) = compared(number, tmp_path)
    assert entry.ours.mean == pytest.approx(60.5) and len(entry.runs) == 4


def test_methods_that_dalib_does_not_have_are_never_compared(tmp_path):
    run(tmp_path / "0", method="")
    assert compared(NUMBER._replace(method=""), tmp_path)[0].ours is None


def test_closed_form_results_need_no_interval(tmp_path):
    run(tmp_path / "0", [(0, 0.237)], method="source_only", classifier="1nn", encoder="features")
    number = NUMBER._replace(method="source_only", classifier="1nn", backbone="features", value=23.7)
    (entry,) = compared(number, tmp_path)
    assert entry.verdict == "inside" and entry.ours.half_width == 0


def test_runs_without_a_number_stand_in_tables_of_their_own_beside_source_only(tmp_path):
    numbers = [NUMBER, NUMBER._replace(table="two", method="source_only")]
    for seed in (0, 1):
        run(tmp_path / f"d{seed}", seed=seed)
        run(tmp_path / f"s{seed}", ((10, 0.5 + seed / 10),), seed=seed, method="source_only")
        run(tmp_path / f"c{seed}", ((10, 0.7),), seed=seed, method="cdan", method_options=[["weight", 2.0]])
        run(tmp_path / f"m{seed}", ((10, 0.9),), seed=seed, method="cdan", encoder="mlp")
        run(tmp_path / f"b{seed}", ((10, 0.8),), seed=seed, method="cdan", encoder="mlp", source="b", target="a")
    run(tmp_path / "short", ((10, 0.1),), method="mcc", encoder="mlp", end=False)
    first, second = alone(numbers, load_runs([tmp_path]))
    assert [row.method for row in first.rows] == ["source_only", "cdan (weight=2.0)"]  # dann stands beside its number
    assert first.rows[0].cells["a → b"].mean == pytest.approx(55) and first.rows[0].seeds == 2
    assert second.tasks == ("a → b", "b → a") and [row.method for row in second.rows] == ["cdan"]
    assert second.rows[0].mean.mean == pytest.approx(85)
    text = to_markdown(entries(numbers, load_runs([tmp_path])), load_runs([tmp_path]), [first, second])
    assert "| cdan | 90.0 ± 0.0 | 80.0 ± 0.0 | 85.0 ± 0.0 |" in text and "Ours without a published number" in text
    assert "cdan (weight=2.0)" in to_html([], [], [first, second])


def test_pages_hold_every_table_and_only_recorded_numbers(tmp_path):
    run(tmp_path / "0", [(10, 0.61234)])
    runs = load_runs(tmp_path)
    found = entries([NUMBER, NUMBER._replace(table="two", where="T|2", label="DAN", method="dan")], runs)
    text = to_markdown(found, runs)
    assert "| DANN (Someone) | a → b | 60.0 | 61.2 ± – | – | – | – | 61.2 ± – | 1 | above, one seed | – |" in text
    assert "| DAN (Someone) | 60.0 | last; n = 3 | not run |" in text and "0123456789ab" in text
    page = to_html(found, runs)
    assert page.count("<h2>") == 1 and "not run" in page and "<script" not in page


def test_the_command(tmp_path, capsys):
    run(tmp_path / "runs" / "0")
    out = tmp_path / "ledger.html"
    assert main(ledger, Ledger, "", [str(tmp_path / "runs"), "--html", "--out", str(out)]) == 0
    assert "published numbers" in capsys.readouterr().out and out.read_text().startswith("<!DOCTYPE html>")
    assert main(ledger, Ledger, "", [str(tmp_path / "nothing")]) == 2
    assert "not a folder" in capsys.readouterr().err
