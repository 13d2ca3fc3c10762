"""Own data in one line: every form of file, and one error for all faults."""

import gzip
import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import check_distinct, from_arrays
from dalib.data.matching import JoinedDomain, join, parts_of
from dalib.data.readers.user_files import place_of
from dalib.run.config import Recipe
from dalib.run.own.inputs import class_names, decode, make_target, scaled
from dalib.run.own.options import Own, default_folder
from dalib.run.own.plan import plan
from tests.run.own_data import archive, blobs, call, images, read_one

# ---- readers


def test_names_of_places(tmp_path):
    assert place_of("source", f"here={tmp_path}/a.npz").name == "here"
    assert place_of("source", f"{tmp_path}/books.jsonl.gz").name == "books"
    assert place_of("source", str(tmp_path)).name == tmp_path.name
    with pytest.raises(InputError, match="name=PATH"):
        place_of("source", "here=")


def test_series_with_channels_first_or_last_are_the_same(tmp_path):
    x = np.arange(2 * 3 * 20.0).reshape(2, 20, 3)
    last = read_one(archive(tmp_path / "last.npz", x, ["a", "b"]))
    first = read_one(archive(tmp_path / "first.npz", x.swapaxes(1, 2), ["a", "b"]))
    np.testing.assert_array_equal(first.inputs, last.inputs)
    assert first.kind == "series" and first.labels == ["a", "b"] and last.inputs.shape == (2, 20, 3)
    told = read_one(tmp_path / "last.npz", layout="nct")
    assert told.inputs.shape == (2, 3, 20)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "csv"])
def test_texts(tmp_path, ending):
    rows = [{"body": 'good, "very" good', "stars": 1}, {"body": "bad\nindeed", "stars": 0}]
    if ending == "csv":
        content = 'body,stars\n"good, ""very"" good",1\n"bad\nindeed",0\n'
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows)
    path = tmp_path / f"texts.{ending}"
    path.write_bytes(gzip.compress(content.encode()) if ending.endswith("gz") else content.encode())
    found = read_one(path, text_column="body", label_column="stars")
    assert found.inputs == [row["body"] for row in rows] and found.labels == ["1", "0"]
    assert read_one(path, text_column="body", labelled=False).labels is None


def test_bad_lines_are_all_named(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": ""}\nnot json\n{"text": "b"}\n')
    with pytest.raises(InputError) as error:
        read_one(path)
    assert all(f"line {n}" in str(error.value) for n in (2, 3, 4)) and "3 bad lines" in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: np.savez(p, x=np.ones((3, 2))), "x .n, …. and y"),
        (lambda p: np.savez(p, x=np.ones((3, 2)), y=np.zeros(2, int)), r"\[3\] whole numbers"),
        (lambda p: np.savez(p, x=np.ones((3, 2)), y=np.zeros(3)), "whole numbers"),
        (lambda p: np.savez(p, x=np.array([[1, 1], [1, 1e39]]), y=np.zeros(2, int)), "too large.* in 1 rows: 1"),
        (lambda p: np.savez(p, x=np.ones((3, 2)) * 1j, y=np.zeros(3, int)), "real numbers(.|\n)*imaginary part"),
        (lambda p: np.savez(p, x=np.ones((3, 0)), y=np.zeros(3, int)), r"shape \(3, 0\)"),
        (lambda p: np.savez(p, x=np.ones((3, 2)), y=np.array([b"\xe9"] * 3)), "UTF-8"),
        (lambda p: np.save(p.open("wb"), np.ones((3, 2))), "np.savez"),
        (
            lambda p: np.savez(p, x=np.array([[1, np.nan], [1, 1]]), y=np.zeros(2, int)),
            "NaN, infinity or too large.* in 1 rows: 0",
        ),
        (lambda p: np.savez(p, x=np.ones(3), y=np.zeros(3, int)), "vectors .n, d."),
        (lambda p: np.savez(p, x=np.array([{}, {}], object), y=np.zeros(2, int)), "plain arrays"),
        (lambda p: p.write_bytes(b"PK\x03\x04 cut off"), "plain arrays"),
    ],
)
def test_bad_archives(tmp_path, make, message):
    path = tmp_path / "bad.npz"
    make(path)
    with pytest.raises(InputError, match=message):
        read_one(path)


def test_folders_and_truncated_images(tmp_path):
    root = images(tmp_path / "photos")
    found = read_one(root)
    assert found.kind == "images" and found.labels == ["cat"] * 3 + ["dog"] * 3
    for name in ("cat/1.png", "dog/2.png"):
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="2 unreadable images") as error:
        decode("source photos", found, lambda image, rng: image[:4, :4])
    assert "cat/1.png" in str(error.value) and "dog/2.png" in str(error.value)


def test_more_images_than_memory_are_refused(tmp_path, monkeypatch):
    raw = read_one(images(tmp_path / "photos"))
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1}[name])
    with pytest.raises(InputError, match="--frozen-features"):
        decode("source", raw, lambda image, rng: np.zeros((8, 8, 3), np.float32))
    assert len(decode("source", raw, lambda image, rng: np.zeros((4, 4, 1), np.float32))) == 6


def test_unlabelled_folders_may_be_flat(tmp_path):
    root = images(tmp_path / "photos", classes=("anything",))
    assert read_one(root, labelled=False).labels is None and len(read_one(root, labelled=False).inputs) == 3


def test_list_files(tmp_path):
    images(tmp_path)
    (tmp_path / "list.txt").write_text("cat/0.png 0\ndog/0.png 1\n")
    assert read_one(tmp_path / "list.txt").labels == ["0", "1"]
    (tmp_path / "list.txt").write_text("cat/0.png 0\nnowhere.png 1\ndog/0.png x\n")
    with pytest.raises(InputError, match="2 bad lines"):
        read_one(tmp_path / "list.txt")


# ---- inputs


def test_class_names_are_in_order():
    assert class_names(["10", "9", "b", "a", "9"]) == ("9", "10", "a", "b")


def test_scales():
    rng = np.random.default_rng(0)
    a, b, t = rng.normal(2, 3, (50, 4)), rng.normal(1, 1, (30, 4)), rng.normal(-1, 2, (40, 4))
    (sa, sb), (st,) = scaled([a, b], [t], "source")
    both = np.concatenate([sa, sb])
    np.testing.assert_allclose([both.mean(0), both.std(0)], [[0] * 4, [1] * 4], atol=1e-6)
    np.testing.assert_allclose(st, (t - np.concatenate([a, b]).mean(0)) / np.concatenate([a, b]).std(0), rtol=1e-4)
    for x in (*scaled([a, b], [t], "domain")[0], *scaled([a, b], [t], "domain")[1]):
        np.testing.assert_allclose([x.mean(0), x.std(0)], [[0] * 4, [1] * 4], atol=1e-6)
    counts = rng.integers(1, 9, (20, 4))
    same = scaled([counts], [counts * 7], "l1-domain")
    np.testing.assert_allclose(same[0][0], same[1][0], atol=1e-6)
    with pytest.raises(InputError, match="counts"):
        scaled([a], [t], "l1-domain")


def test_joined_sources_keep_their_parts_with_classes_in_one_order():
    x, y = blobs()
    a = from_arrays("a", {"train": (x, y), "test": (x, y)}, class_names=("u", "v", "w"))
    b = from_arrays("b", {"train": (x + 1, y), "test": (x, y)}, class_names=("w", "u", "v"))
    both = join([a, b])
    assert isinstance(both, JoinedDomain) and both.name == "a + b" and len(both.split("train")) == 60
    np.testing.assert_array_equal(both.labels("train")[30:33], [2, 0, 1])
    assert [p.name for p in parts_of(both)] == ["a", "b"] and parts_of(a) is a
    with pytest.raises(InputError, match="different names"):
        join([a, a])


def test_unlabelled_target_has_no_labels_at_all():
    x, _ = blobs()
    target = make_target("t", x, None, None, ("a", "b", "c"))
    assert (target.labels("train") == -1).all() and (target.labels("test") == -1).all()
    check_distinct(from_arrays("s", {"train": blobs(seed=3)}), target)


# ---- plans


def test_faults_of_a_command_come_at_once(tmp_path):
    with pytest.raises(InputError) as error:
        plan(Own(source=("a.npz",), target="b.npz", method=("dannn", "m3sda", "kliep"), scale="z", seeds=0))
    for message in ("did you mean 'dann'", "several --source", "weights source rows", "scale", "≥ 1"):
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": ()}, "at least one --source"),
        ({"method": ("osbp",)}, "--relation open"),
        ({"method": ("ovanet",)}, "--relation open or --relation universal"),
        ({"method": ("coral",), "relation": "open"}, "closed or partial"),
        ({"oracle": True, "target_test": "d.npz", "relation": "open"}, "--oracle and --relation open"),
        ({"augment": ("turn",)}, "augment: got 'turn'"),
        ({"method": ("mme",)}, "semi-supervised"),
        ({"method": ("tca",), "options": ("tca.dims=3",)}, "did you mean 'dim'"),
        ({"method": ("pada",)}, "--relation partial"),
        ({"source": ("a.npz", "b.npz", "d.npz"), "method": ("m3sda",)}, "a multiple of 3"),
        ({"frozen_features": True}, "pretrained encoder"),
        ({"weights": "default"}, "no --encoder"),
        ({"oracle": True}, "--target-test"),
        ({"oracle": True, "target_labels": False}, "one or the other"),
        ({"protocol": ("split",)}, "name=value"),
        ({"kind": "sound"}, "vectors"),
        ({"encoder": "resnet51"}, "did you mean"),
        ({"options": ("dan.weight=1",)}, "options of the methods being run"),
    ],
)
def test_commands_that_contradict_themselves(options, message):
    with pytest.raises(InputError, match=message):
        plan(Own(**{"source": ("a.npz",), "target": "c.npz", **options}))


def test_faults_of_all_files_come_at_once(tmp_path, capsys):
    archive(tmp_path / "a.npz", np.ones((3, 2)))
    (tmp_path / "b.jsonl").write_text("{}\n")
    out = tmp_path / "out"
    sources = ["--source", tmp_path / "a.npz", "--source", tmp_path / "none"]
    assert call(*sources, "--target", tmp_path / "b.jsonl", "--out", out) == 2
    error = capsys.readouterr().err
    assert "y [n]" in error and "no such file" in error and "line 1" in error and not out.exists()


def test_baselines_come_along():
    todo = plan(Own(source=("a.npz", "b.npz"), target="c.npz", method=("dann", "m3sda", "coral")))
    assert todo.nets == ("source_only", "dann", "m3sda") and [c.method for c in todo.classic] == [
        "source_only",
        "coral",
    ]
    assert todo.arguments == {"m3sda": {"sources": 2}}
    alone = plan(Own(source=("a.npz",), target="c.npz", method=("dann",), baseline=False))
    assert alone.nets == ("dann",)


def test_default_folder_depends_on_the_protocol():
    one = Own(source=("a.npz",), target="c.npz")
    assert default_folder(one) == default_folder(Own(source=("a.npz",), target="c.npz", method=("dan",)))
    assert default_folder(one) != default_folder(Own(source=("a.npz",), target="c.npz", steps=7))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "09bbb6c6"),
        ({"method": ("dan",), "seeds": 9, "oracle": True, "population": "off", "report": False}, "09bbb6c6"),
        ({"steps": 7, "batch_size": 8}, "88d0fbc9"),
        ({"task": "regression"}, "06975bf8"),
        ({"target_labelled": "c.npz"}, "3d4a7a64"),
        ({"preset": "tllib", "preset_steps": False}, "058dab5c"),
        ({"recipe": Recipe(learning_rate=0.1), "accumulate": 2, "gradient_cache": True}, "188ddda3"),
        ({"options": ("dann.weight=0.5",), "log_every": 10, "evaluate_every": 50, "save_every": 100}, "2e1bada8"),
    ],
)
def test_folders_of_older_commands_are_found_again(options, name):
    assert str(default_folder(Own(source=("a.npz",), target="b.npz", **options))) == f"runs/own-b-{name}"
