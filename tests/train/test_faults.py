"""Full disks, folders that can't be written, files that were cut: told clearly, and nothing written is lost."""

import contextlib
import errno
import logging
import os
import resource
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

from dalib.core.checks import InputError
from dalib.core.files import leftovers, replacing, write_atomically
from dalib.train import StorageError, open_checkpoints, open_record
from tests.train.test_checkpoint import damage, same
from tests.train.test_loop import CONFIG, DANN, train


@contextlib.contextmanager
def largest_file(size):
    """No file may grow beyond so many bytes; the nearest to a full disk that needs no privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "r"
    return folder, *train(folder, DANN)


@pytest.fixture
def finished(original, tmp_path):
    """A run folder that has come to step 12, with checkpoints of 8 and 12, and how it ended."""
    folder, final, events = original
    return Path(shutil.copytree(folder, tmp_path / "r")), final, events


def test_a_line_that_the_disk_has_no_room_for_leaves_the_record_whole(tmp_path):
    record = open_record(tmp_path / "r", CONFIG)
    record.write("train", 2, metrics={"loss/task": 0.5})
    before = record.path.read_bytes()
    with largest_file(len(before) + 20), pytest.raises(StorageError, match="record.jsonl can't be written") as error:
        record.write("train", 4, metrics={"loss/task": 0.25})
    assert f"all {len(before)} bytes" in str(error.value) and "what to do" in str(error.value)
    assert record.path.read_bytes() == before
    record.write("train", 4, metrics={"loss/task": 0.25})
    assert [e["step"] for e in record.events()] == [2, 4]


def test_a_full_disk_is_named_as_such(tmp_path, monkeypatch):
    record = open_record(tmp_path / "r", CONFIG)
    record.write("train", 2, metrics={})
    before = record.path.read_bytes()
    write = os.write

    taken = []

    def full(file, data):
        if taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken.append(write(file, data[:10]))
        return 10

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            record.write("train", 4)
    assert record.path.read_bytes() == before


def test_a_checkpoint_that_the_disk_has_no_room_for_leaves_the_earlier_ones(finished):
    folder, final, _ = finished
    with open_checkpoints(folder / "checkpoints") as checkpoints:
        with largest_file(64), pytest.raises(StorageError, match="that of step 16 can't be written") as error:
            checkpoints.save(16, final)
    assert "the checkpoints of step 8 and 12" in str(error.value) and "what to do" in str(error.value)
    with open_checkpoints(folder / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [8, 12]
        assert same(checkpoints.restore(final), final)
        checkpoints.save(16, final)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["12", "16"]


@pytest.mark.slow
def test_a_run_whose_disk_was_full_goes_on_to_the_same_end(tmp_path, finished):
    _, final, events = finished
    record = open_record(tmp_path / "full", CONFIG)
    record.write("train", 2, metrics={})
    with largest_file(record.path.stat().st_size), pytest.raises(StorageError):
        train(tmp_path / "full", DANN)
    resumed, again = train(tmp_path / "full", DANN)
    assert same(final, resumed) and again == events


def test_folders_that_can_not_be_written_are_refused_before_training(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    record = open_record(tmp_path / "a", CONFIG)
    record.path.unlink()
    record.path.mkdir()
    with pytest.raises(InputError, match="record.jsonl can't be written"):
        record.check_writable()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="checkpoints: .*file can't be written"):
        with open_checkpoints(tmp_path / "file"):
            pytest.fail("opened")
    # As root permissions do not bind; a read-only disk answers like this.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="can't be written .*read-only disk"):
        with open_checkpoints(tmp_path / "c"):
            pytest.fail("opened")
    with pytest.raises(InputError, match="run folder: .*(.|\n)*choose another --out"):
        open_record(tmp_path / "b", CONFIG).check_writable()


@pytest.mark.slow
def test_a_cut_newest_checkpoint_is_passed_over_and_the_run_ends_the_same(finished, caplog):
    folder, final, events = finished
    damage(folder / "checkpoints" / "12")
    with caplog.at_level(logging.WARNING):
        resumed, again = train(folder, DANN)
    assert "step 12" in caplog.text
    assert same(final, resumed) and again == events


def test_a_record_cut_within_its_last_line_falls_back_to_a_checkpoint_that_fits(finished, caplog):
    folder, final, events = finished
    path = folder / "record.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        resumed, again = train(folder, DANN)
    assert "saved after line" in caplog.text
    assert same(final, resumed) and again == events


def test_a_record_that_no_checkpoint_fits_is_refused_and_kept(finished):
    folder, _, _ = finished
    path = folder / "record.jsonl"
    path.write_bytes(short := b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match=r"saved after line 10 of record.jsonl, which has 2(.|\n)*what to do"):
        train(folder, DANN)
    assert path.read_bytes() == short
    with open_checkpoints(folder / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [8, 12]


def test_rubbish_within_a_record_is_named_and_can_be_cut_out(finished):
    folder, final, events = finished
    path = folder / "record.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(broken := b"".join([*lines[:-1], b"\x00\x17 rubbish\n", lines[-1]]))
    with pytest.raises(InputError, match=rf"line {len(lines)} of .*record.jsonl is not JSON(.|\n)*delete that line"):
        train(folder, DANN)
    assert path.read_bytes() == broken
    path.write_bytes(b"".join(lines[:-1]))
    resumed, again = train(folder, DANN)
    assert same(final, resumed) and again == events


def test_what_a_kill_leaves_of_a_file_is_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / f".config.json.{gone.pid}.tmp").write_text('{"form')
    record = open_record(folder, CONFIG)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "record.jsonl"]
    (folder / f".final.npz.{gone.pid}.tmp").write_text("half")
    (folder / f".other.{os.getppid()}.tmp").write_text("another process is at it")
    assert [p.name for p in leftovers(folder)] == [f".final.npz.{gone.pid}.tmp"]
    record.keep(0)
    assert not (folder / f".final.npz.{gone.pid}.tmp").exists() and (folder / f".other.{os.getppid()}.tmp").exists()


def test_a_replacement_is_all_or_nothing(tmp_path):
    path = write_atomically(tmp_path / "f", b"old")
    with pytest.raises(ValueError):
        with replacing(path) as temporary:
            temporary.write_bytes(b"ne")
            raise ValueError
    with largest_file(2), pytest.raises(OSError):
        write_atomically(path, b"newer")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_state_is_not_saved_twice_nor_skipped_in_silence(finished):
    """Orbax skips a step that is not newer than the newest, and says so only by its result."""
    folder, final, _ = finished
    with open_checkpoints(folder / "checkpoints") as checkpoints:
        with pytest.raises(RuntimeError, match="saved nothing at step 9"):
            checkpoints.save(9, final)
        checkpoints.drop_after(8)
        checkpoints.save(9, jax.tree.map(lambda x: x, final), {"lines": 3})
        assert checkpoints.steps() == [8, 9] and checkpoints.notes(9) == {"lines": 3}
