"""Readers of published file forms: digits, reviews, entities, recordings, windows of movement."""

import bz2
import gzip
import json
import struct
import sys
import wave
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.data import benchmarks
from dalib.data.benchmarks import digit_files, digits
from dalib.data.benchmarks.amazon import read_counts, read_multi_domain, read_reviews, read_svmlight
from dalib.data.benchmarks.crossner import read_bio
from dalib.data.benchmarks.digits import blend, read_digits, read_release
from dalib.data.benchmarks.facts import read_facts
from dalib.data.benchmarks.fsdd import read_fsdd
from dalib.data.benchmarks.object_images import read_surf
from dalib.data.benchmarks.uci_har import UCI_HAR, UCI_HAR_FEATURES
from tests.data.tiny_benchmark import facts

RNG = np.random.default_rng(0)


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_files(folder, n=6):
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        x, y = RNG.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(y))
        made[split] = (x, y)
    return made


def test_mnist_from_idx_and_npz(tmp_path):
    known = read_facts("digits")
    made = mnist_files(tmp_path / "MNIST" / "raw")
    domain = read_digits(known, tmp_path, known.domains).domains["mnist"]
    for split, (x, y) in made.items():
        inputs, labels = domain.split(split).__getitems__(range(len(y)))
        np.testing.assert_array_equal(inputs[..., 0], x)
        np.testing.assert_array_equal(labels, y)
    (tmp_path / "b").mkdir()
    arrays = {f"{k}_{split}": pair[i] for split, pair in made.items() for i, k in enumerate("xy")}
    np.savez(tmp_path / "b" / "mnist.npz", **arrays)
    other = read_digits(known, tmp_path / "b", ("mnist",)).domains["mnist"]
    assert other.fingerprint() == domain.fingerprint()
    with pytest.raises(InputError, match=r"(?s)mnist, train, class 0: 1 found, expected 5923.*class 9"):
        benchmarks.load("digits", tmp_path, domains=["mnist"])


def test_damaged_idx(tmp_path):
    file = tmp_path / "x"
    for content in (b"\x00\x00\x0d\x01" + b"\0" * 8, idx(np.zeros((2, 3), np.uint8))[:-1], b"\x00\x00\x08\x03\0", b""):
        file.write_bytes(content)
        with pytest.raises(ValueError):
            digit_files.read_idx(file)
    mnist_files(tmp_path / "mnist")
    whole = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    whole.write_bytes(whole.read_bytes()[:-20])
    assert read_digits(read_facts("digits"), tmp_path, ("mnist",)).faults[0].startswith("mnist: ")
    whole.unlink()
    assert "without its images" in read_digits(read_facts("digits"), tmp_path, ("mnist",)).faults[0]


def test_usps_forms_agree(tmp_path):
    values = np.round(RNG.uniform(-1, 1, (5, 256)), 3)
    values[0, :4] = (-1, 1, 0, 0.5)
    labels = np.array([3, 0, 9, 1, 1])
    libsvm, esl = tmp_path / "libsvm", tmp_path / "esl"
    libsvm.mkdir()
    esl.mkdir()
    rows = [" ".join(f"{i + 1}:{v:g}" for i, v in enumerate(row) if v) for row in values]
    text = "\n".join(f"{y + 1} {row}" for y, row in zip(labels, rows, strict=True))
    for name in ("usps.bz2", "usps.t.bz2"):
        (libsvm / name).write_bytes(bz2.compress(text.encode()))
    table = "\n".join(f"{y:.4f} " + " ".join(f"{v:.4f}" for v in row) for y, row in zip(labels, values, strict=True))
    for name in ("zip.train.gz", "zip.test.gz"):
        (esl / name).write_bytes(gzip.compress(table.encode()))
    one, two = (read_digits(read_facts("digits"), place, ("usps",)).domains["usps"] for place in (libsvm, esl))
    assert one.fingerprint() == two.fingerprint()
    inputs, found = one.split("train").__getitems__(range(5))
    assert inputs.shape == (5, 16, 16, 1) and found.tolist() == labels.tolist()
    assert inputs[0, 0, :4, 0].tolist() == [0, 255, 127, 191]
    (esl / "zip.test.gz").unlink()
    assert "counterpart" in read_digits(read_facts("digits"), esl, ("usps",)).faults[0]
    with pytest.raises(ValueError, match="outside"):
        digit_files.usps_pixels(np.full((1, 256), 2.0))


def test_usps_from_hdf5(tmp_path, monkeypatch):
    """With a stand-in for h5py, which need not be installed: a file is a mapping of groups."""
    values = np.round(RNG.uniform(-1, 1, (3, 256)), 3)
    group = {"data": ((values + 1) / 2).astype(np.float32), "target": np.array([7, 0, 9])}

    class File(dict):
        def __init__(self, path, mode):
            assert path.is_file() and mode == "r"
            super().__init__(train=group, test=group)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    (tmp_path / "usps.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=File))
    inputs, labels = (
        read_digits(read_facts("digits"), tmp_path, ("usps",)).domains["usps"].split("test").__getitems__([0, 1, 2])
    )
    np.testing.assert_array_equal(inputs, digit_files.usps_pixels(values))
    assert labels.tolist() == [7, 0, 9]
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install h5py" in read_digits(read_facts("digits"), tmp_path, ("usps",)).faults[0]


def test_svhn_label_ten_is_zero(tmp_path):
    from scipy.io import savemat

    x = RNG.integers(0, 256, (32, 32, 3, 4), np.uint8)
    for prefix in ("", "synth_"):
        for split in ("train", "test"):
            savemat(tmp_path / f"{prefix}{split}_32x32.mat", {"X": x, "y": np.array([[10], [1], [9], [10]], np.uint8)})
    reading = read_digits(read_facts("digits"), tmp_path, ("svhn", "syn_digits"))
    for domain in reading.domains.values():
        inputs, labels = domain.split("test").__getitems__([0, 2])
        assert labels.tolist() == [0, 9]
        np.testing.assert_array_equal(inputs[1], x[:, :, :, 2])


def test_mnist_m_recipe():
    photographs = [RNG.integers(0, 256, shape, np.uint8) for shape in ((40, 30, 3), (28, 50, 3))]
    black, white = np.zeros((20, 28, 28), np.uint8), np.full((20, 28, 28), 255, np.uint8)
    crops = blend(black, photographs, seed=(0, 0))
    np.testing.assert_array_equal(blend(white, photographs, seed=(0, 0)), 255 - crops)
    windows = [np.lib.stride_tricks.sliding_window_view(p, (28, 28, 3)).reshape(-1, 28, 28, 3) for p in photographs]
    assert all((crop == np.concatenate(windows)).all(axis=(1, 2, 3)).any() for crop in crops)
    assert len({crop.tobytes() for crop in crops}) > 10
    np.testing.assert_array_equal(crops, blend(black, photographs, seed=(0, 0)))
    assert (crops != blend(black, photographs, seed=(0, 1))).any()


def test_mnist_m_keeps_photographs_of_the_test_apart(tmp_path):
    mnist_files(tmp_path / "mnist", 8)
    folder = tmp_path / "BSDS500" / "data" / "images" / "train"
    folder.mkdir(parents=True)
    for i in range(10):  # grey level tells the photograph; of every five the first is for the test
        Image.fromarray(np.full((30, 32, 3), 20 * i, np.uint8)).save(folder / f"{i}.jpg", quality=100)
    known = read_facts("digits")
    domains = read_digits(known, tmp_path, known.domains).domains
    assert set(domains) == {"mnist", "mnist_m"}
    for split, levels in (("train", (1, 2, 3, 4, 6, 7, 8, 9)), ("test", (0, 5))):
        digit, _ = domains["mnist"].split(split).__getitems__(range(8))
        image, _ = domains["mnist_m"].split(split).__getitems__(range(8))
        distance = [np.abs(np.abs(20 * level - digit.astype(int)) - image).max(axis=(1, 2, 3)) for level in levels]
        assert (np.min(distance, axis=0) <= 1).all()
    assert digits.DIGITS.optional == set(known.domains)


def test_reviews_split_at_newlines_alone(tmp_path):
    known = facts({"books": {"all": (1, 2)}}, ("negative", "positive"))
    texts = [("fine \x1a one\x85two\u2028three", 1), ("bad &amp; sad", 0), ("good", 1)]
    text = "\n".join(json.dumps({"label": y, "text": t}, ensure_ascii=False) for t, y in texts)
    (tmp_path / "books.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    domain = read_reviews(known, tmp_path, ("books",)).domains["books"]
    inputs, labels = domain.split("train").__getitems__([2, 0])
    assert inputs.tolist() == ["good", texts[0][0]] and labels.tolist() == [1, 1]
    assert domain.counts("test").tolist() == [1, 2]
    raw = tmp_path / "b" / "raw_data" / "books"
    raw.mkdir(parents=True)
    (raw / "review_positive").write_text(f"{texts[0][0]}\n{texts[2][0]}\n", encoding="utf-8")
    assert "review_negative" in read_reviews(known, tmp_path / "b", ("books",)).faults[0]
    (raw / "review_negative").write_text(f"{texts[1][0]}\n", encoding="utf-8")
    assert read_reviews(known, tmp_path / "b", ("books",)).domains["books"].counts("train").tolist() == [1, 2]
    (tmp_path / "books.jsonl.gz").write_bytes(gzip.compress(b'{"label": 3, "text": "a"}\nno\n{"text": "b"}\n'))
    assert len(read_reviews(known, tmp_path, ("books",)).faults) == 3


def test_reviews_as_first_published(tmp_path):
    known = facts({"kitchen": {"train": (1, 2), "test": (1, 1)}}, ("negative", "positive"))

    def review(title, rating, body):
        fields = {"title": title, "rating": rating, "review_text": body}
        return "<review>\n" + "".join(f"<{k}>\n{v}\n</{k}>\n" for k, v in fields.items()) + "</review>\n"

    folder = tmp_path / "sorted_data_acl" / "kitchen_&_housewares"
    folder.mkdir(parents=True)
    (folder / "positive.review").write_text(review("Fine", "5.0", "a < b & caf\xe9") + review("", "", "x"), "latin-1")
    (folder / "negative.review").write_text(review("Bad", "1.0", "no"))
    assert "unlabeled.review" in read_multi_domain(known, tmp_path, ("kitchen",)).faults[0]
    (folder / "unlabeled.review").write_text(review("u", "2.0", "meh") + review("v", "5.0", "wow"))
    reading = read_multi_domain(known, tmp_path, ("kitchen",))
    assert not reading.faults
    texts, labels = reading.domains["kitchen"].split("train").__getitems__([0, 1])
    assert texts.tolist() == ["Bad\nno", "Fine\na < b & caf\xe9"] and labels.tolist() == [0, 1]
    assert reading.domains["kitchen"].labels("test").tolist() == [0, 1]
    (folder / "unlabeled.review").write_text(
        review("u", "3.0", "meh") + review("v", "?", "wow") + review("", "5.0", "")
    )
    assert len(read_multi_domain(known, tmp_path, ("kitchen",)).faults) == 3


def test_mnist_m_as_released(tmp_path):
    known = read_facts("mnist_m_release")
    assert "no folder" in read_release(known, tmp_path, ("mnist_m",)).faults[0]
    for split, n in (("train", 3), ("test", 2)):
        folder = tmp_path / "mnist_m" / f"mnist_m_{split}"
        folder.mkdir(parents=True)
        for i in range(n):
            Image.fromarray(np.full((32, 32, 3), 10 * i, np.uint8)).save(folder / f"{i:08d}.png")
        lines = "".join(f"{i:08d}.png {9 - i}\n" for i in range(n))
        (tmp_path / "mnist_m" / f"mnist_m_{split}_labels.txt").write_text(lines)
    domain = read_release(known, tmp_path, ("mnist_m",)).domains["mnist_m"]
    (image,), labels = domain.split("test").__getitems__([1])
    assert labels.tolist() == [8] and (image == 10).all() and len(domain.split("train")) == 3


def test_counts_of_words(tmp_path):
    known = facts({"dvd": {"train": (1, 1), "test": (1, 0)}}, ("negative", "positive"))
    (tmp_path / "dvd_train.svmlight").write_text("1 0:3 4999:1\n-1 17:200\n")
    assert "dvd_test.svmlight" in read_counts(known, tmp_path, ("dvd",)).faults[0]
    x, y = read_svmlight(tmp_path / "dvd_train.svmlight")
    assert x.shape == (2, 5000) and y.tolist() == [1, 0]
    assert x[0, 0] == 3 and x[0, 4999] == 1 and x[1, 17] == 200 and x.sum() == 204
    for line in ("2 0:1", "1 5000:1", "1 0:1 3", "1 0:300", "1 a:1"):
        (tmp_path / "bad").write_text(f"1 0:1\n{line}\n")
        with pytest.raises(ValueError, match="line 2"):
            read_svmlight(tmp_path / "bad")


def test_entities(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("EU\tB-organisation\nrejects\tO\n\nNew\tB-location\nYork\tI-location\n\n\n", encoding="utf-8")
    sentences, faults = read_bio(file, ("location", "organisation"))
    assert not faults and sentences.words == (("EU", "rejects"), ("New", "York"))
    assert [tags.tolist() for tags in sentences.tags] == [[3, 0], [1, 2]]
    file.write_text("EU\tB-planet\nword\n")
    assert len(read_bio(file, ("location",))[1]) == 2
    folder = tmp_path / "ner_data" / "ai"
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        (folder / f"{split}.txt").write_text("Ada\tB-researcher\n")
    with pytest.raises(InputError) as error:
        benchmarks.load("crossner", tmp_path, domains=["ai"])
    assert "test.txt" in str(error.value) and "ai, dev: 1 examples, expected 350" in str(error.value)


def test_recordings(tmp_path):
    known = facts({"theo": {"train": (1, 1), "test": (1, 0)}}, ("0", "1"))
    folder = tmp_path / "recordings"
    folder.mkdir()

    def record(name, samples, rate=8000):
        with wave.open(str(folder / name), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(np.asarray(samples, "<i2").tobytes())

    record("0_theo_3.wav", [1, 2, 3])
    record("0_theo_7.wav", [4, -5])
    record("1_theo_11.wav", [6])
    reading = read_fsdd(known, tmp_path, ("theo",))
    assert not reading.faults
    (clip,), labels = reading.domains["theo"].split("train").__getitems__([0])
    assert clip.tolist() == [4, -5] and labels.tolist() == [0]
    assert reading.domains["theo"].counts("train").tolist() == [1, 1]
    assert reading.domains["theo"].split("test").__getitems__([0])[0][0].tolist() == [1, 2, 3]
    record("1_theo_12.wav", [6], rate=16000)
    record("1_someone_1.wav", [6])
    (folder / "noise.wav").write_bytes(b"x")
    (folder / "1_theo_13.wav").write_bytes(b"RIFF")
    assert len(read_fsdd(known, tmp_path, ("theo",)).faults) == 4


def test_windows_by_subject(tmp_path):
    root = tmp_path / "UCI HAR Dataset"
    known = facts({"1": {"all": (1, 1)}, "2": {"all": (0, 1)}}, ("walking", "sitting"))
    signals = {}
    for part, subjects, labels in (("train", "1 1", "1 2"), ("test", "2", "2")):
        (root / part / "Inertial Signals").mkdir(parents=True)
        (root / part / f"subject_{part}.txt").write_text("\n".join(subjects.split()))
        (root / part / f"y_{part}.txt").write_text("\n".join(labels.split()))
        n = len(subjects.split())
        features = RNG.normal(size=(n, 561)).astype(np.float32)
        np.savetxt(root / part / f"X_{part}.txt", features)
        for i, name in enumerate(("body_acc", "body_gyro", "total_acc")):
            for j, axis in enumerate("xyz"):
                signals[part, 3 * i + j] = RNG.normal(size=(n, 128)).astype(np.float32)
                np.savetxt(root / part / "Inertial Signals" / f"{name}_{axis}_{part}.txt", signals[part, 3 * i + j])
    reading = UCI_HAR.read(known, tmp_path, ("1", "2"))
    assert not reading.faults
    windows, labels = reading.domains["1"].split("train").__getitems__([0, 1])
    assert windows.shape == (2, 128, 9) and labels.tolist() == [0, 1]
    np.testing.assert_allclose(windows[:, :, 5], signals["train", 5], rtol=1e-6)
    (row,), _ = UCI_HAR_FEATURES.read(known, tmp_path, ("2",)).domains["2"].split("test").__getitems__([0])
    np.testing.assert_allclose(row, features[0], rtol=1e-6)
    (root / "test" / "y_test.txt").write_text("3")
    (root / "train" / "y_train.txt").unlink()
    assert len(UCI_HAR.read(known, tmp_path, ("1",)).faults) == 2


def test_surf_forms_agree(tmp_path):
    from scipy.io import savemat

    known = facts({"caltech10": {"all": (1, 2)}}, ("a", "b"))
    x, y = RNG.integers(0, 9, (3, 800)), np.array([0, 1, 1])
    np.savez(tmp_path / "surf.npz", surf_caltech10_x=x.astype(np.uint16), surf_caltech10_y=y.astype(np.int8))
    (tmp_path / "mat").mkdir()
    savemat(tmp_path / "mat" / "Caltech10_SURF_L10.mat", {"fts": x.astype(float), "labels": y[:, None] + 1.0})
    one, two = (read_surf(known, place, ("caltech10",)).domains["caltech10"] for place in (tmp_path, tmp_path / "mat"))
    assert one.fingerprint() == two.fingerprint() and one.counts("train").tolist() == [1, 2]
    x[1] = 0
    np.savez(tmp_path / "surf.npz", surf_caltech10_x=x, surf_caltech10_y=y)
    assert "row 1 without any count" in read_surf(known, tmp_path, ("caltech10",)).faults[0]
    np.savez(tmp_path / "surf.npz", surf_caltech10_x=x[:, :7], surf_caltech10_y=y)
    assert "shapes" in read_surf(known, tmp_path, ("caltech10",)).faults[0]
