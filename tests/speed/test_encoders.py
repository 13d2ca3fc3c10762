"""The benchmark of the encoders runs as a command and says what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(*arguments):
    command = [sys.executable, "-m", "experiments.speed.encoders", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_last_line_is_one_json_object():
    small = ["--batch", "2", "--image-size", "32", "--steps", "2", "--reference", "none"]
    result = run("--encoder", "cifar_resnet20", "bert_tiny", *small)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert [entry["encoder"] for entry in summary["results"]] == ["cifar_resnet20", "bert_tiny"]
    for entry in summary["results"]:
        assert "torch" not in entry
        ours = entry["ours"]
        assert 0 < ours["forward"]["fastest_s"] < ours["train"]["fastest_s"]
        assert min(*ours["compilation_s"].values(), ours["peak_mib"]) > 0


@pytest.mark.parity
def test_beside_torch():
    pytest.importorskip("torch")  # torchvision is imported by the command alone, which declares its operators first
    result = run("--encoder", "squeezenet1_1", "--batch", "2", "--image-size", "64", "--steps", "2")
    assert result.returncode == 0, result.stderr
    entry = json.loads(result.stdout.splitlines()[-1])["results"][0]
    for kind in ("forward", "train"):
        ratio = entry["torch"][kind]["fastest_s"] / entry["ours"][kind]["fastest_s"]
        assert entry[f"{kind}_ratio"] == pytest.approx(ratio)
    assert entry["torch"]["peak_mib"] > 0


@pytest.mark.slow
def test_wrong_names_are_named():
    result = run("--encoder", "mobilenet")
    assert result.returncode == 2
    assert "did you mean 'mobilenet_v2'" in result.stderr
