"""Reading run folders: what is found, what is forgiven, what is refused."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.report import load_runs
from tests.report.synthetic import write_run


def append(folder: Path, text: str) -> None:
    with open(folder / "record.jsonl", "a", encoding="utf-8") as file:
        file.write(text)


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_reads_what_was_written(tmp_path):
    folder = write_run(tmp_path, "dann", seed=4, target_accuracy=[0.2, 0.6], source_accuracy=[0.7, 0.9], every=50)
    (run,) = load_runs(folder)
    assert (run.name, run.task, run.seed, run.role) == ("dann", "mnist → optdigits", 4, "method")
    assert (run.source, run.target, run.class_names[3]) == ("mnist", "optdigits", "3")
    assert run.finished and run.end == (100, 12.25, 1) and run.last_step == 100
    assert [e.step for e in run.training] == list(range(10, 101, 10))
    assert [(e.step, e.domain, e.oracle, e.metrics["accuracy"]) for e in run.evaluations] == [
        (50, "mnist", False, 0.7),
        (50, "optdigits", True, 0.2),
        (100, "mnist", False, 0.9),
        (100, "optdigits", True, 0.6),
    ]
    assert run.final is not None and run.final.confusion.sum() == 1000 and np.trace(run.final.confusion) == 600


def test_finds_runs_at_any_depth_in_a_fixed_order_and_each_once(tmp_path):
    for name, role in (("oracle", "oracle"), ("dan", "method"), ("source_only", "method"), ("adabn", "method")):
        for seed in (1, 0):
            write_run(tmp_path / "deep" / "er", name, role=role, seed=seed)
    runs = load_runs([tmp_path, tmp_path / "deep"])
    names = [(run.name, run.seed) for run in runs]
    assert names == [(n, s) for n in ("source_only", "adabn", "dan", "oracle") for s in (0, 1)]


def test_half_written_last_line_is_forgiven_and_the_run_unfinished(tmp_path):
    folder = write_run(tmp_path, finished=False)
    append(folder, '{"event": "evaluate", "step": 300, "domain": "opt')
    (run,) = load_runs(tmp_path)
    assert run.half_line and not run.finished and run.last_step == 300


def test_broken_line_before_the_last_is_refused_by_number(tmp_path):
    folder = write_run(tmp_path, finished=False)
    count = len((folder / "record.jsonl").read_text().splitlines())
    append(folder, '{"event": "tr\n{"event": "end", "step": 300, "seconds": 1.0}\n')
    with pytest.raises(InputError, match=rf"record\.jsonl: got line {count + 1}:"):
        load_runs(tmp_path)


def test_a_run_continued_after_its_end_is_unfinished_until_it_ends_again(tmp_path):
    folder = write_run(tmp_path)
    append(folder, '{"event": "train", "step": 320, "metrics": {"loss/task": null}}\n')
    (run,) = load_runs(tmp_path)
    assert not run.finished and run.last_step == 320 and math.isnan(run.training[-1].metrics["loss/task"])
    append(folder, '{"event": "end", "step": 400, "seconds": 3, "together": 5}\n')
    assert load_runs(tmp_path)[0].end == (400, 3.0, 5)


def test_a_step_logged_again_after_a_resume_counts_once_with_the_later_value(tmp_path):
    folder = write_run(tmp_path, finished=False)
    append(
        folder,
        '{"event": "evaluate", "step": 300, "domain": "optdigits", "split": "test", "oracle": true, '
        '"metrics": {"accuracy": 0.25}}\n{"event": "end", "step": 300, "seconds": 1}\n',
    )
    (run,) = load_runs(tmp_path)
    scores = [e.metrics["accuracy"] for e in run.evaluations if e.domain == "optdigits" and e.step == 300]
    assert scores == [0.25]


def test_a_run_without_any_record_is_unfinished(tmp_path):
    (write_run(tmp_path) / "record.jsonl").unlink()
    (run,) = load_runs(tmp_path)
    assert not run.finished and run.last_step == 0


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"format": 2}, "format 2"),
        ({"task": None}, "task"),
        ({"seed": "0"}, "seed"),
        ({"class_names": []}, "class_names"),
        ({"experiment": {"source": "a", "target": "b", "role": "upper"}}, r"experiment\.role"),
        ({"experiment": None}, "experiment"),
    ],
)
def test_foreign_configuration_is_refused(tmp_path, changes, word):
    change_config(write_run(tmp_path), **changes)
    with pytest.raises(InputError, match=rf"config\.json: got .*{word}"):
        load_runs(tmp_path)


def test_damaged_files_are_named(tmp_path):
    folder = write_run(tmp_path)
    original = (folder / "final.npz").read_bytes()
    (folder / "final.npz").write_bytes(original[: len(original) // 2])
    with pytest.raises(InputError, match=r"final\.npz"):
        load_runs(tmp_path)
    arrays = dict(np.load(io.BytesIO(original)))
    for name, wrong in (
        ("confusion", np.zeros((3, 3), int)),
        ("confusion", arrays["confusion"] - 1000),
        ("labels_target", arrays["labels_target"][:-1]),
        ("labels_source", arrays["labels_source"] + 10),
    ):
        np.savez(folder / "final.npz", **(arrays | {name: wrong}))
        with pytest.raises(InputError, match=rf"final\.npz: got .*{name}"):
            load_runs(tmp_path)
    (folder / "final.npz").unlink()
    assert load_runs(tmp_path)[0].final is None
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        load_runs(tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="no config.json"):
        load_runs(tmp_path)


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        load_runs(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.json at any depth"):
        load_runs(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        load_runs([])
