"""Prepared data: what is written is what was there, and a failure leaves nothing; the command line."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.data import benchmarks, from_arrays, paired_stream
from dalib.data.__main__ import main
from dalib.data.benchmarks import loading
from dalib.data.domain import Domain
from dalib.data.readers.prepare import INDEX, from_prepared, prepare
from dalib.data.readers.raw_text import TextSplit
from dalib.data.readers.tfds import from_records, prepare_records
from tests.data.tiny_benchmark import COUNTS, TINY, picture, tree


def test_arrays_hold_the_resized_images(tmp_path):
    domains = loading.load(TINY, tree(tmp_path / "raw"))
    form, folder = prepare("tiny", domains, tmp_path / "out", size=8)
    assert (form, folder) == ("arrays", tmp_path / "out" / "tiny")
    ready = from_prepared(folder)
    for name, domain in domains.items():
        split = domain.split("train")
        raw, labels = split.__getitems__(range(len(split)))
        inputs, found = ready[name].split("train").__getitems__(range(len(split)))
        assert inputs.dtype == np.uint8 and found.tolist() == labels.tolist()
        for image, stored in zip(raw, inputs, strict=True):
            wanted = Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(stored, np.asarray(wanted))
        assert ready[name].splits["train"] is ready[name].splits["test"]
        assert ready[name].class_names == domain.class_names
    stream = paired_stream(ready["near"], ready["far"], batch_size=2, seed=0)
    assert stream[0].source.inputs.shape == (2, 8, 8, 3)
    index = json.loads((folder / INDEX).read_text())
    assert index["size"] == 8 and index["domains"]["near"]["source"] == domains["near"].fingerprint()
    _, again = prepare("tiny", domains, tmp_path / "other", size=8)
    _, larger = prepare("tiny", domains, tmp_path / "larger", size=9)
    prints = [from_prepared(place)["far"].fingerprint() for place in (folder, again, larger)]
    assert prints[0] == prints[1] != prints[2]
    assert from_prepared(folder, name="tiny", size=8, resample="bilinear").keys() == ready.keys()
    with pytest.raises(InputError, match=r"(?s)with size 8.*expected: size 9, resample bilinear"):
        from_prepared(folder, size=9, resample="bilinear")
    with pytest.raises(InputError, match="resample"):
        prepare("tiny", domains, tmp_path / "other filter", resample="cubic")


def test_arrays_stay_as_they_are(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 2
    domain = from_arrays("d", {"train": (x[:4], y[:4]), "test": (x[4:], y[4:])}, class_names=("a", "b"))
    _, folder = prepare("numbers", {"d": domain}, tmp_path)
    ready = from_prepared(folder)["d"]
    np.testing.assert_array_equal(ready.split("test").__getitems__([1, 0])[0], x[[5, 4]])
    assert ready.counts("train").tolist() == [2, 2] and ready.class_names == ("a", "b")


def test_refused_and_left_clean(tmp_path):
    domains = loading.load(TINY, tree(tmp_path / "raw"))
    out = tmp_path / "out"
    cut = tmp_path / "raw" / "tiny" / "images" / "far" / "Mug" / "2.jpg"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-40])
    for form in ("arrays", "array_record"):
        with pytest.raises(InputError, match=r"2\.jpg"):
            prepare("tiny", domains, out, form=form)
        assert not out.exists()
    cut.write_bytes(whole)
    with pytest.raises(InputError, match="did you mean 'arrays'"):
        prepare("tiny", domains, out, form="array")
    with pytest.raises(InputError, match="size"):
        prepare("tiny", domains, out, size=0)
    texts = TextSplit(("a", "b"), np.array([0, 1], np.int32))
    with pytest.raises(InputError, match="texts or recordings"):
        prepare("t", {"t": Domain("t", ("n", "p"), {"train": texts})}, out)
    with pytest.raises(InputError, match="without prepared.json"):
        from_prepared(out)
    _, folder = prepare("tiny", domains, out, size=4)
    with pytest.raises(InputError, match="exists"):
        prepare("tiny", domains, out)
    file = folder / "far-pool.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"far-pool\.npy"):
        from_prepared(folder)


def test_array_record_through_the_builder(tmp_path):
    domains = loading.load(TINY, tree(tmp_path / "raw"))
    grey = tmp_path / "raw" / "tiny" / "images" / "far" / "Mug" / "3.jpg"
    picture(grey, 5, mode="L")
    prepare_records("tiny", domains, tmp_path / "out")
    for name, domain in domains.items():
        ready = from_records("tiny", name, tmp_path / "out")
        assert ready.class_names == domain.class_names and set(ready.splits) == {"train", "test"}
        np.testing.assert_array_equal(ready.counts("test"), COUNTS[name])
        split = domain.split("train")
        raw, labels = split.__getitems__(range(len(split)))
        inputs, found = ready.split("train").__getitems__(range(len(split)))
        key = {(image.tobytes(), int(label)) for image, label in zip(raw, labels, strict=True)}
        assert {(image.tobytes(), int(label)) for image, label in zip(inputs, found, strict=True)} == key
    assert "tensorflow" not in sys.modules
    with pytest.raises(InputError, match="did you mean 'near'"):
        from_records("tiny", "neer", tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        from_records("other", "near", tmp_path / "out")
    numbers = from_arrays("d", {"train": (np.zeros((2, 3)), [0, 1])})
    with pytest.raises(InputError, match="image files"):
        prepare_records("numbers", {"d": numbers}, tmp_path / "out")


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(benchmarks.BENCHMARKS, "tiny", TINY)
    raw = tree(tmp_path / "raw")
    assert main(["list"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["how-to-get", "pacs"]) == 0
    assert "domaingeneralization" in capsys.readouterr().out
    assert main(["check", "tiny", "--data-dir", str(raw)]) == 0
    out = capsys.readouterr().out
    assert "recorded" not in out
    assert "as its manifest says" in out and "fingerprint" in out and "2 classes of 2 to 3" in out
    assert main(["prepare", "tiny", "--data-dir", str(raw), "--out", str(tmp_path / "out"), "--size", "4"]) == 0
    assert set(from_prepared(tmp_path / "out" / "tiny")) == {"near", "far"}
    known = {"near": loading.check(TINY, raw).fingerprints["near"], "far": "0" * 64}
    versioned = dataclasses.replace(TINY, manifest=dataclasses.replace(TINY.facts, fingerprints=known))
    monkeypatch.setitem(benchmarks.BENCHMARKS, "tiny", versioned)
    assert main(["check", "tiny", "--data-dir", str(raw)]) == 0
    out = capsys.readouterr().out
    assert out.count("(as recorded)") == out.count("(other contents than those recorded)") == 1
    (raw / "tiny" / "images" / "far" / "Mug" / "2.jpg").unlink()
    monkeypatch.setenv("DALIB_DATA", str(raw))
    assert main(["check", "tiny"]) == 2
    assert "far, class mug: 3 found, expected 4" in capsys.readouterr().err
    assert main(["check", "tinny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err
    assert main(["check", "tiny", "--domains", "near", "--no-decode"]) == 0
    with pytest.raises(SystemExit):
        main(["check", "tiny", "--dat", str(raw)])
