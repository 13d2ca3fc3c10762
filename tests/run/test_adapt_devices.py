"""Runs on data of one's own that have streams of their own: shots and test-time passes, on one device and on eight."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from dalib.report import load_runs
from tests.run.own_data import archive, blobs, call

FEW = "--steps 4 --batch-size 8 --seeds 1 --log-every 2 --evaluate-every 4 --save-every 4 --no-report".split()
NORMED = ["--encoder-options", "encoder.widths=[8]", "encoder.norm=true", "--no-baseline"]


@pytest.mark.slow
def test_shots_and_test_time_methods_are_the_same_on_eight_devices(tmp_path, monkeypatch):
    x, y = blobs(44, shift=0.7, seed=1)
    places = ["--source", archive(tmp_path / "here.npz", *blobs(60)), "--target", archive(tmp_path / "there.npz", x, y)]
    # Ten shots: eight of them are in a batch on either number of devices.
    shots = ["--target-labelled", archive(tmp_path / "few.npz", x[:10], y[:10])]
    runs = {}
    for devices in ("1", "8"):
        monkeypatch.setenv("DALIB_DEVICES", devices)
        out = tmp_path / devices
        assert call(*places, *shots, *FEW, *NORMED, "--method", "mme", "tent", "--out", out) == 0
        runs[devices] = {run.name: run for run in load_runs(out)}
    one, eight = runs["1"], runs["8"]
    assert set(one) == set(eight) == {"source_only", "mme", "tent"}
    stretch = (eight["mme"].path / "stretches.jsonl").read_text()
    assert '"devices": 8' in stretch and '"devices": 1' in (one["mme"].path / "stretches.jsonl").read_text()
    weights = [load_file(found["mme"].path / "weights.safetensors") for found in (one, eight)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    for a, b in zip(one["mme"].training, eight["mme"].training, strict=True):
        assert a.metrics == pytest.approx(b.metrics, rel=1e-4, abs=1e-5)
    first, second = (dict(np.load(found["tent"].path / "final.npz")) for found in (one, eight))
    np.testing.assert_array_equal(first["order"], second["order"])
    np.testing.assert_allclose(first["probabilities"], second["probabilities"], rtol=1e-3, atol=1e-4)
