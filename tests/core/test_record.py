"""The run record."""

import json

import jax.numpy as jnp
import pytest

from dalib.core.checks import InputError
from dalib.train import open_record, provenance

CONFIG = {"experiment": {"seed": 0, "steps": 10}, "data": {"mnist": "ab"}, "versions": {"jax": "1"}}


def test_lines_are_complete_json_and_cut_exactly(tmp_path):
    record = open_record(tmp_path / "r", CONFIG)
    for step in (2, 4, 6):
        record.write("train", step, metrics={"loss/task": jnp.float32(0.5)})
    record.write("end", 6, seconds=1.0)
    assert record.finished()
    with open(record.path, "a") as file:
        file.write('{"event": "tr')
    assert len(record.events()) == 4
    record.cut_after(4)
    assert [e["step"] for e in record.events()] == [2, 4] and not record.finished()
    record.write("train", 6, metrics={})
    assert [e["step"] for e in record.events()] == [2, 4, 6]


def test_another_configuration_is_refused_and_nothing_changes(tmp_path):
    record = open_record(tmp_path / "r", CONFIG)
    record.write("train", 2, metrics={})
    before = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}
    other = {**CONFIG, "experiment": {"seed": 0, "steps": 20}, "data": {"mnist": "cd"}}
    with pytest.raises(InputError) as error:
        open_record(tmp_path / "r", other)
    assert "experiment.steps: there 10, now 20" in str(error.value)
    assert "data.mnist: there 'ab', now 'cd'" in str(error.value)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}
    open_record(tmp_path / "r", {**CONFIG, "versions": {"jax": "2"}})


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="has no config.json"):
        open_record(tmp_path, CONFIG)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not a run's configuration"):
        open_record(tmp_path / "r", CONFIG)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        open_record(tmp_path / "file" / "r", CONFIG)


def test_a_damaged_line_is_named(tmp_path):
    record = open_record(tmp_path / "r", CONFIG)
    record.path.write_text('{"event": "train", "step": 1}\nnonsense\n{"event": "train", "step": 2}\n')
    with pytest.raises(InputError, match="line 2"):
        record.events()


def test_provenance_names_versions():
    found = provenance()
    assert json.loads(json.dumps(found))["versions"]["jax"].count(".") >= 2
