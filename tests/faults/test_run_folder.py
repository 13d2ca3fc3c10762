"""One writer a run folder, and what a run leaves is what its record says, or is made again."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

import dalib.core.locks
from dalib.core.checks import InputError
from dalib.core.files import StorageError, write_atomically
from dalib.core.locks import LEASE, hold, lost, release, releasing
from dalib.core.records import open_record, read_lines
from dalib.core.run_folders import load_runs
from dalib.run.run import run_experiment
from tests.faults.tiny import jobs_in

CONFIG = {"experiment": {"seed": 0}, "data": {}}
HOLDER = f"""
import sys, time, filelock
lock = filelock.SoftFileLease(sys.argv[1] + "/.lock", lease_duration={LEASE})
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def another_process(folder):
    """Another process holds the lock of a folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            yield other
        finally:
            other.kill()


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setenv("DALIB_DEVICES", "1")


def run_once(folder):
    job = jobs_in(folder)[0]
    run_experiment(*job[:4])
    return job.folder


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DALIB_DEVICES", "1")
        return run_once(tmp_path_factory.mktemp("original"))


@pytest.fixture
def finished(original, tmp_path):
    shutil.copytree(original, tmp_path / "0")
    return tmp_path


def test_a_second_process_is_told_who_is_at_it(tmp_path):
    with another_process(tmp_path) as other:
        with pytest.raises(InputError, match=f"written by process {other.pid} on {socket.gethostname()}(.|\n)*nothing"):
            hold(tmp_path)
        other.kill()
        other.wait()
        # Its lock is still there, and known to be stale.
        assert (tmp_path / ".lock").exists()
        with releasing():
            hold(tmp_path)
            hold(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_a_holder_on_another_host_that_is_gone_is_not_waited_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(dalib.core.locks, "LEASE", 1.5)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        gone = filelock.SoftFileLease(tmp_path / ".lock", lease_duration=1.5, thread_local=False)
        gone.acquire()
    with pytest.raises(InputError, match="on elsewhere"):  # it has been heard of while this one waited
        hold(tmp_path)
    gone._stop_heartbeat()
    hold(tmp_path)
    assert not lost(tmp_path)
    release(tmp_path)
    assert not (tmp_path / ".lock").exists()


def test_a_run_that_another_process_has_is_refused_and_nothing_changes(finished):
    (finished / "0" / "final.npz").unlink()
    before = sorted(p.name for p in (finished / "0").rglob("*"))
    with another_process(finished / "0") as other:
        with pytest.raises(InputError, match=f"is being written by process {other.pid}"):
            run_once(finished)
        assert sorted(p.name for p in (finished / "0").rglob("*") if p.name != ".lock") == before


@pytest.mark.parametrize("name", ["final.npz", "weights.safetensors"])
def test_files_of_a_finished_run_that_were_cut_are_made_again(name, finished, capsys):
    file = finished / "0" / name
    whole = file.read_bytes()
    run_once(finished)
    assert capsys.readouterr().err == ""
    for damaged, said in ((whole[:-7], "bytes"), (whole[:-1] + bytes([whole[-1] ^ 1]), "checksum"), (None, "missing")):
        file.unlink()
        if damaged is not None:
            file.write_bytes(damaged)
        run_once(finished)
        assert file.read_bytes() == whole and said in capsys.readouterr().err
    assert not (finished / "0" / ".lock").exists()


def test_without_a_checkpoint_they_can_not_be_made_again(finished):
    (finished / "0" / "weights.safetensors").unlink()
    shutil.rmtree(finished / "0" / "checkpoints")
    with pytest.raises(InputError, match=r"weights.safetensors is missing(.|\n)*last checkpoint(.|\n)*run it again"):
        run_once(finished)


def test_runs_of_before_there_were_checksums_are_done(finished):
    path = finished / "0" / "record.jsonl"
    *lines, end = map(json.loads, path.read_text().splitlines())
    assert set(end.pop("files")) == {"final.npz", "weights.safetensors"}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, end]))
    stamps = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    run_once(finished)
    assert load_runs(finished)[0].finished and stamps == {p: p.stat().st_mtime_ns for p in finished.rglob("*")}


@pytest.mark.parametrize("name", ["final.npz", "weights.safetensors"])
def test_a_disk_that_is_full_at_the_end_says_so_and_the_run_goes_on_to_it(name, finished, original, monkeypatch):
    (finished / "0" / "final.npz").unlink()
    with monkeypatch.context() as patch:
        plain = os.fsync

        def full(file):
            if Path(os.readlink(f"/proc/self/fd/{file}")).name.startswith(f".{name}."):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return plain(file)

        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=rf"{name} can't be written \(No space left(.|\n)*same command goes on"):
            run_once(finished)
    run_once(finished)
    for file in ("final.npz", "weights.safetensors"):
        assert (finished / "0" / file).read_bytes() == (original / file).read_bytes()


def test_a_record_or_folder_that_is_deleted_meanwhile_is_missed(tmp_path):
    record = open_record(tmp_path / "r", CONFIG)
    record.write("train", 2, metrics={})
    record.path.unlink()
    with pytest.raises(StorageError, match="deleted meanwhile"):
        record.write("train", 4, metrics={})
    assert not record.path.exists()
    shutil.rmtree(tmp_path / "r")
    with pytest.raises(StorageError, match=r"deleted meanwhile(.|\n)*what to do"):
        record.write("train", 4, metrics={})


@pytest.mark.parametrize(
    "text",
    [b"[1]\n", b"{}\n", b'{"event": "train", "step": Infinity}\n', b"\xff\xfe\n{}\n", b"7\n", b"[" * 9999 + b"\n"],
)
def test_lines_that_are_none_of_a_record(text, tmp_path):
    record = open_record(tmp_path / "r", CONFIG)
    record.path.write_bytes(text + b'{"event": "train", "step": 1}\n')
    with pytest.raises(InputError, match=r"line 1 of (.|\n)*what to do") as error:
        record.events()
    assert len(str(error.value)) < 800
    with pytest.raises(InputError, match="line 1"):
        read_lines(record.path)


@pytest.mark.parametrize("text", [b"[1]", b"{}", b"Infinity", b"\xff\xfe{}", b'{"format": ', b"[" * 9999])
def test_configurations_that_are_none(text, finished):
    path = finished / "0" / "config.json"
    path.write_bytes(text)
    for door in (run_once, load_runs):
        with pytest.raises(InputError, match="config.json|another configuration") as error:
            door(finished)
        assert len(str(error.value)) < 2000
    assert path.read_bytes() == text


@pytest.mark.parametrize("name", ["config.json", "record.jsonl", "final.npz"])
def test_folders_where_files_should_be(name, finished):
    (finished / "0" / name).unlink()
    (finished / "0" / name).mkdir()
    with pytest.raises(InputError, match=name):
        load_runs(finished)
    if name != "final.npz":
        with pytest.raises(InputError, match=name):
            run_once(finished)
    with pytest.raises(InputError, match="which is a folder"):
        write_atomically(finished / "0" / name, b"")
