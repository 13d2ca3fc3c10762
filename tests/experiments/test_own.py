"""Own data in one line: every form of file, one error for all faults, and the real command on small data."""

import gzip
import json

import numpy as np
import pytest

from dalib.checks import InputError
from dalib.data import check_distinct, from_arrays
from dalib.report import load_runs
from experiments.config import main
from experiments.joined import JoinedDomain, join, parts_of
from experiments.ledger import entries
from experiments.own import Own, default_folder, own
from experiments.own_classic import CLASSIFIERS
from experiments.own_data import Options, place_of, read
from experiments.own_inputs import class_names, decode, make_target, scaled
from experiments.own_plan import plan
from experiments.published import load

SMALL = "--steps 4 --batch-size 4 --seeds 1 --log-every 2 --evaluate-every 2 --save-every 4 --no-report"
MLP = "--encoder-options encoder.widths=[8]"


def blobs(n=30, classes=3, shift=0.0, seed=0, width=5):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, width)) * 0.3
    x[np.arange(n), y] += 3
    return (x + shift).astype(np.float32), y


def archive(path, x, y=None):
    np.savez(path, x=x, **({} if y is None else {"y": y}))
    return str(path)


def read_one(path, labelled=True, **options):
    return read("source", place_of("source", str(path)), Options(**options), labelled=labelled)


def images(root, classes=("cat", "dog"), n=3, size=12, seed=0):
    from PIL import Image

    rng = np.random.default_rng(seed)
    for label in classes:
        (root / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (size, size + i, 3), np.uint8)).save(root / label / f"{i}.png")
    return root


@pytest.fixture
def pair(tmp_path):
    source = archive(tmp_path / "here.npz", *blobs())
    target = archive(tmp_path / "there.npz", *blobs(24, shift=0.5, seed=1))
    return source, target


def call(*arguments):
    return main(own, Own, "", [str(a) for a in arguments])


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


def test_images_in_archives(tmp_path):
    grey = archive(tmp_path / "grey.npz", np.full((2, 8, 8), 200), np.array([0, 1]))
    assert read_one(grey).kind == "series"
    found = read_one(grey, kind="images")
    assert found.inputs.shape == (2, 8, 8, 1) and found.inputs.dtype == np.uint8
    unit = read_one(archive(tmp_path / "unit.npz", np.full((2, 8, 8, 3), 0.5), np.array([0, 1])))
    assert set(unit.inputs.ravel()) == {128}
    with pytest.raises(InputError, match="0 … 255"):
        read_one(archive(tmp_path / "bad.npz", np.full((2, 8, 8, 3), -5), np.array([0, 1])))


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
        (lambda p: np.savez(p, x=np.array([[1, np.nan], [1, 1]]), y=np.zeros(2, int)), "NaN or infinity in 1 rows: 0"),
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
        ({"oracle": True, "target_test": "d.npz", "relation": "open"}, "--oracle beside --relation open"),
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
    assert todo.nets == ("source_only", "dann", "m3sda") and todo.classic == ("source_only", "coral")
    assert todo.arguments == {"m3sda": {"sources": 2}}
    alone = plan(Own(source=("a.npz",), target="c.npz", method=("dann",), baseline=False))
    assert alone.nets == ("dann",)


def test_default_folder_depends_on_the_protocol():
    one = Own(source=("a.npz",), target="c.npz")
    assert default_folder(one) == default_folder(Own(source=("a.npz",), target="c.npz", method=("dan",)))
    assert default_folder(one) != default_folder(Own(source=("a.npz",), target="c.npz", steps=7))


# ---- runs


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_classifiers_separate_blobs_and_use_weights(classifier):
    x, y = blobs()
    rows, labels = blobs(seed=5)
    np.testing.assert_array_equal(CLASSIFIERS[classifier](x, y, None)(rows), labels)
    weights = np.where(y == 0, 1e-6, 1.0)
    if classifier == "1nn":
        with pytest.raises(InputError, match="svm or logreg"):
            CLASSIFIERS[classifier](x, y, weights)
        return
    unsure = np.full((1, x.shape[1]), 0.1, np.float32)
    unsure[0, :2] = 1.5  # between class 0, which counts for nothing, and class 1
    assert CLASSIFIERS[classifier](x, y, weights)(unsure) == [1]


def test_closed_form_methods_leave_the_same_records(tmp_path, pair):
    source, target = pair
    command = ["--source", source, "--target", target, "--method", "coral", "--classifier", "svm", "--no-report"]
    assert call(*command, "--out", tmp_path / "out") == 0
    runs = load_runs(tmp_path / "out")
    assert {run.name for run in runs} == {"source_only+svm", "coral+svm"} and all(run.finished for run in runs)
    metrics = runs[0].evaluations[0].metrics
    assert runs[0].evaluations[0].oracle and metrics["accuracy"] == 1.0 and metrics["macro_f1"] == 1.0
    few = [*command[:-1], "--no-baseline", "--no-report", "--method", "tca", "--options", "tca.dim=2"]
    assert call(*few, "--out", tmp_path / "few") == 0
    (tca,) = load_runs(tmp_path / "few")
    assert tca.experiment["method_options"] == [["dim", 2]]
    assert tca.final is not None and tca.final.features_target.shape[1] == 2
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*")}
    assert call(*command, "--out", tmp_path / "out") == 0
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*")}


def test_ledger_takes_runs_on_own_data_that_are_a_benchmark(tmp_path):
    x, y = blobs(n=90)
    archive(tmp_path / "a.npz", np.abs(x) + 0.1, y)
    archive(tmp_path / "w.npz", np.abs(x) + 0.2, y)
    variant = next(n.variant for n in load() if n.table == "surf-full")
    places = ["--source", f"amazon={tmp_path}/a.npz", "--target", f"webcam={tmp_path}/w.npz", "--scale", "l1-domain"]
    arguments = ["--benchmark", "office_caltech10_surf", "--protocol", f"variant={variant}", "--no-report"]
    assert call(*places, *arguments, "--method", "coral", "--classifier", "1nn", "--out", tmp_path / "out") == 0
    found = [e for e in entries(load(), load_runs(tmp_path / "out")) if e.ours is not None]
    assert {(e.number.label, e.number.task) for e in found} == {
        ("1NN", "amazon → webcam"),
        ("1NN, recomputed", "amazon → webcam"),
    }
    assert all(e.verdict == "above" and not any("variant" in d for d in e.differences) for e in found)


def test_the_same_data_twice_is_refused(tmp_path, pair, capsys):
    assert call("--source", f"x={pair[0]}", "--target", pair[0], "--out", tmp_path / "out") == 2
    assert "same data twice" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_classes_that_differ_are_named_before_anything_runs(tmp_path, pair, capsys):
    x, y = blobs(classes=2, shift=0.3, seed=4)
    target = archive(tmp_path / "two.npz", x, y)
    assert call("--source", pair[0], "--target", target, "--out", tmp_path / "out") == 2
    assert "only in here, not in two: 2" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_nets_on_vectors_without_target_labels(tmp_path, pair):
    x, _ = blobs(24, shift=0.5, seed=1)
    target = archive(tmp_path / "bare.npz", x)
    out = tmp_path / "out"
    command = ["--source", pair[0], "--target", target, "--no-target-labels", "--no-baseline", *SMALL.split()]
    assert call(*command, *MLP.split(), "--method", "dan", "--population", "off", "--out", out) == 0
    (run,) = load_runs(out)
    assert run.finished and not any(event.oracle for event in run.evaluations) and run.final is None
    with np.load(run.path / "predictions.npz") as found:
        assert found["probabilities"].shape == (24, 3)
        np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found["predictions"], found["probabilities"].argmax(1))
        wanted = [["example", "class", "probability"]] + [
            [str(i), str(label), f"{found['probabilities'][i, label]:.6f}"]
            for i, label in enumerate(found["predictions"])
        ]
    lines = (run.path / "predictions.csv").read_text().splitlines()
    assert [line.split(",") for line in lines] == wanted


@pytest.mark.slow
def test_target_labels_change_nothing_but_the_score(tmp_path, pair):
    x, y = blobs(24, shift=0.5, seed=1)
    wrong = archive(tmp_path / "wrong.npz", x, (y + 1) % 3)
    bare = archive(tmp_path / "bare.npz", x)
    command = ["--source", pair[0], "--method", "dann", "--no-baseline", *SMALL.split(), *MLP.split()]
    for name, target, more in (("right", pair[1], []), ("wrong", wrong, []), ("bare", bare, ["--no-target-labels"])):
        assert call(*command, "--target", f"t={target}", *more, "--out", tmp_path / name) == 0
    runs = [load_runs(tmp_path / name)[0] for name in ("right", "wrong", "bare")]
    weights = [(run.path / "weights.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] == weights[2]
    assert runs[0].training == runs[1].training == runs[2].training


@pytest.mark.slow
def test_several_sources_partial_targets_and_the_report(tmp_path, pair):
    other = archive(tmp_path / "other.npz", *blobs(shift=-0.5, seed=2))
    out = tmp_path / "out"
    small = [*SMALL.replace("--no-report", "").split(), *MLP.split()]
    sources = ["--source", pair[0], "--source", other]
    assert call(*sources, "--target", pair[1], "--method", "m3sda", "dann", *small, "--out", out) == 0
    runs = load_runs(out)
    assert {run.name for run in runs} == {"source_only", "m3sda", "dann"}
    assert {run.task for run in runs} == {"here + other → there"}
    (page,) = out.rglob("report.html")
    assert "m3sda" in page.read_text()
    x, y = blobs(classes=2, shift=0.3, seed=4)
    two = archive(tmp_path / "two.npz", x, y)
    partial = ["--source", pair[0], "--target", two, "--relation", "partial", "--method", "pada"]
    assert call(*partial, *small, "--out", tmp_path / "partial") == 0


@pytest.mark.slow
def test_images_series_and_texts(tmp_path):
    images(tmp_path / "photos", n=5)
    images(tmp_path / "sketches", n=5, seed=1)
    small = [*SMALL.split(), "--no-baseline", "--method", "dan", "--holdout", "0.4"]
    places = ["--source", tmp_path / "photos", "--target", tmp_path / "sketches", "--size", "16", "--encoder", "lenet"]
    places += ["--augment", "crop", "flip"]
    assert call(*places, *small, "--out", tmp_path / "images") == 0
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        archive(tmp_path / f"{name}.npz", rng.normal(size=(12, 2, 32)), np.arange(12) % 2)
        rows = [{"text": f"{('good', 'bad')[i % 2]} thing {name} {i}", "label": i % 2} for i in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        call("--source", tmp_path / "one.npz", "--target", tmp_path / "two.npz", *small, "--out", tmp_path / "s") == 0
    )
    texts = ["--source", tmp_path / "one.jsonl", "--target", tmp_path / "two.jsonl"]
    assert call(*texts, *small, *MLP.split(), "--out", tmp_path / "t") == 0
    assert load_runs(tmp_path / "images")[0].experiment["augment"] == "crop+flip"
    assert {load_runs(tmp_path / name)[0].experiment["encoder"] for name in ("images", "s", "t")} == {
        "lenet",
        "series_cnn",
        "mlp",
    }


@pytest.mark.slow
def test_a_method_that_diverges_leaves_the_others_alone(tmp_path, pair, capsys):
    command = [
        "--source",
        pair[0],
        "--target",
        pair[1],
        "--method",
        "dan",
        "im",
        *SMALL.replace("--no-report", "").split(),
        *MLP.split(),
    ]
    out = tmp_path / "out"
    assert call(*command, "--options", "dan.weight=1e38", "--out", out) == 1
    assert "dan" in capsys.readouterr().err.split("stopped:")[1]
    assert {run.name: run.finished for run in load_runs(out)} == {"source_only": True, "dan": False, "im": True}
    assert "im" in (out / "here-there" / "report.html").read_text()
