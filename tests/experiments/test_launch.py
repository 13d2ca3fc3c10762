"""Processes on this machine: their environments, output, signals and ends; the scripts for clusters."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dalib.core.checks import InputError
from experiments.launch import local
from experiments.launch.local import Local, environments, main

SCRIPTS = sorted(Path(local.__file__).parent.glob("*.s*"))


def call(code, *options):
    return main([*options, "--", sys.executable, "-c", code])


def test_environments():
    found = environments(Local(processes=2, devices=4), 1234, {"HOME": "/h", "DALIB_PROCESS": "7"})
    assert [e["DALIB_PROCESS"] for e in found] == ["0", "1"]
    assert all(e["HOME"] == "/h" and e["DALIB_COORDINATOR"] == "127.0.0.1:1234" for e in found)
    assert all(e["DALIB_PROCESSES"] == "2" and e["JAX_NUM_CPU_DEVICES"] == "4" for e in found)
    gpus = environments(Local(processes=2, gpus=2), 1234, {})
    assert [e["CUDA_VISIBLE_DEVICES"] for e in gpus] == ["0,1", "2,3"] and "JAX_PLATFORMS" not in gpus[0]
    for bad in (Local(processes=0), Local(devices=-1), Local(devices=1, gpus=1)):
        with pytest.raises(InputError):
            environments(bad, 1234, {})


def test_output_is_labelled_and_all_end_well(capfd):
    assert call("import os, sys; print('out', os.environ['DALIB_PROCESS']); print('err', file=sys.stderr)") == 0
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] out 0", "[1] out 1"]
    assert sorted(err.splitlines()) == ["[0] err", "[1] err"]


def test_one_that_fails_ends_the_others_with_its_status():
    began = time.monotonic()
    code = "import os, sys, time; sys.exit(3) if os.environ['DALIB_PROCESS'] == '1' else time.sleep(60)"
    assert call(code) == 3
    assert call(code.replace("sys.exit(3)", "os.kill(os.getpid(), 9)")) == 128 + 9
    assert time.monotonic() - began < 30


def test_one_that_does_not_listen_is_killed(monkeypatch):
    monkeypatch.setattr(local, "GRACE", 0.2)
    monkeypatch.setattr(local.end, "__defaults__", (0.2,))
    deaf = "signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    code = f"import os, signal, sys, time\nif os.environ['DALIB_PROCESS'] == '0': {deaf}\ntime.sleep(0.3); sys.exit(4)"
    began = time.monotonic()
    assert call(code) == 4
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_go_to_all(number, tmp_path):
    # Each process says that it listens, then what it heard.
    code = f"""
import os, signal, sys, time
name = {str(tmp_path)!r} + "/" + os.environ["DALIB_PROCESS"]
def heard(number, frame):
    open(name + ".heard", "w").write(str(number))
    sys.exit(0)
signal.signal({int(number)}, heard)
open(name + ".listens", "w").close()
time.sleep(60)
"""

    def send():
        while len(list(tmp_path.glob("*.listens"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=send, daemon=True).start()
    assert call(code) == 0
    assert [path.read_text() for path in sorted(tmp_path.glob("*.heard"))] == [str(int(number))] * 2
    assert signal.getsignal(number) is before


def test_mistakes_are_status_2(capsys):
    assert main(["--processes", "2"]) == 2
    assert main(["--processes", "0", "--", "true"]) == 2
    assert main(["--", "/no/such/program"]) == 2
    text = capsys.readouterr().err
    assert "command: got none" in text and "processes: got 0" in text and "/no/such/program" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_whole_and_say_how(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True).returncode == 0
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", "-s", "bash", script], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout
    text = script.read_text()
    assert "Resumable" in text and script.name in text.split("set -eu")[0]


def test_a_task_of_a_slurm_array_asks_for_its_part_and_is_put_back(tmp_path):
    """The script with stand-ins for srun and scontrol: its arguments, and what a warning from Slurm leads to."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/sh\necho "$@" > srun.txt\nif [ -n "$SLOW" ]; then exec sleep 20; fi\n')
    (tools / "scontrol").write_text('#!/bin/sh\necho "$@" > scontrol.txt\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    script = next(path for path in SCRIPTS if path.name == "slurm_array.sbatch")
    ids = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_JOB_ID": "77"}
    environment = {**os.environ, **ids, "PATH": f"{tools}:{os.environ['PATH']}"}
    command = ["bash", script, "experiments.digits", "--seeds", "20"]
    assert subprocess.run(command, env=environment, cwd=tmp_path, timeout=30).returncode == 0
    assert (tmp_path / "srun.txt").read_text() == "python -m experiments.digits --array 3/8 --seeds 20\n"
    assert not (tmp_path / "scontrol.txt").exists()
    (tmp_path / "srun.txt").unlink()
    with subprocess.Popen(command, env={**environment, "SLOW": "1"}, cwd=tmp_path) as process:
        while not (tmp_path / "srun.txt").exists():
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=15) == 128 + signal.SIGTERM
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 77_3\n"
