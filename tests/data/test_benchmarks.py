"""Image benchmarks against their manifests: layouts, every fault at once, list files."""

import dataclasses

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import benchmarks
from dalib.data.benchmarks import loading
from dalib.data.benchmarks.facts import read_facts, wrong_counts
from dalib.data.benchmarks.images import read_list
from dalib.data.benchmarks.object_images import read_imageclef
from dalib.data.benchmarks.style_images import read_domainnet, read_pacs, read_vlcs
from dalib.data.readers.tfds import prepare_records
from tests.data.tiny_benchmark import CLASSES, COUNTS, TINY, facts, picture, tree

# Published totals; the manifests hold them class by class.
TOTALS = {
    "office31": {"amazon": 2817, "dslr": 498, "webcam": 795},
    "office_home": {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357},
    "office_caltech10": {"amazon": 958, "caltech10": 1123, "dslr": 157, "webcam": 295},
    "visda2017": {"synthetic": 152397, "real": 55388},
    "imageclef_da": {"c": 600, "i": 600, "p": 600, "b": 600},
    "pacs": {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
    "vlcs": {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376},
    "amazon_reviews": dict.fromkeys(("books", "dvd", "electronics", "kitchen", "video"), 6000),
}


def total(counts):
    return counts if isinstance(counts, int) else sum(counts)


@pytest.mark.parametrize("name", TOTALS)
def test_manifests_add_up_to_the_published_totals(name):
    assert {domain: total(splits["all"]) for domain, splits in read_facts(name).counts.items()} == TOTALS[name]


def test_manifests_with_official_splits_add_up():
    def sums(name):
        return {d: tuple(map(total, splits.values())) for d, splits in read_facts(name).counts.items()}

    assert sums("domainnet") == {
        "clipart": (33525, 14604),
        "infograph": (36023, 15582),
        "painting": (50416, 21850),
        "quickdraw": (120750, 51750),
        "real": (120906, 52041),
        "sketch": (48212, 20916),
    }
    assert sums("digits")["svhn"] == (73257, 26032) and sums("digits")["usps"] == (7291, 2007)
    assert sums("mnist_m_release")["mnist_m"] == (59001, 9001)
    assert sums("amazon_multi_domain") == sums("amazon_features")
    assert sums("amazon_features")["kitchen"] == (2000, 5945)
    assert sum(n for (n,) in sums("uci_har").values()) == 10299
    pacs = read_facts("pacs").counts
    assert all(c["train"] + c["val"] == total(c["all"]) == total(c["test"]) for c in pacs.values())


@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_every_benchmark_says_what_it_is(name):
    made = benchmarks.benchmark(name)
    known = made.facts
    assert made.optional <= set(known.domains)
    for domain, splits in known.counts.items():
        classes = known.classes[domain]
        assert len(set(classes)) == len(classes) > 1
        assert all(isinstance(n, int) or len(n) == len(classes) for n in splits.values())
    text = benchmarks.how_to_get(name)
    assert known.homepage in text and known.licence in text and known.citation in text and "layout" in text


def test_an_empty_folder_names_all_domains(tmp_path):
    with pytest.raises(InputError, match=r"(?s)amazon.*dslr.*webcam.*how-to-get office31"):
        benchmarks.load("office31", tmp_path)
    with pytest.raises(InputError, match="did you mean 'office31'"):
        benchmarks.load("ofice31", tmp_path)
    with pytest.raises(InputError, match="did you mean 'webcam'"):
        benchmarks.load("office31", tmp_path, domains=["webcan"])
    with pytest.raises(InputError, match="none of its domains"):
        benchmarks.load("digits", tmp_path)


def test_a_wrong_folder_is_one_fault(tmp_path):
    (tmp_path / "photos").mkdir()
    picture(tmp_path / "more" / "amazon" / "bike" / "0.jpg")
    with pytest.raises(
        InputError, match=r"1 faults:\n    amazon, dslr, webcam: no folder .*which holds more, photos\n"
    ):
        benchmarks.load("office31", tmp_path)
    with pytest.raises(
        InputError, match=r"1 faults:\n    amazon: 1 examples, expected 2817; 31 of 31 classes differ: "
    ):
        benchmarks.load("office31", tmp_path / "more", domains=["amazon"])
    for i in range(9):
        picture(tmp_path / "home" / "amazon" / f"Desk{i}" / "0.jpg")
    with pytest.raises(
        InputError, match=r"2 faults:\n    amazon: class folder too many: 9 of them: .*Desk4 \(1 images\), …"
    ):
        benchmarks.load("office31", tmp_path / "home", domains=["amazon"])


def test_data_dir_and_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("DALIB_DATA", raising=False)
    with pytest.raises(InputError, match="DALIB_DATA is not set"):
        loading.load(TINY)
    monkeypatch.setenv("DALIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no such folder"):
        loading.load(TINY)
    monkeypatch.setenv("DALIB_DATA", str(tree(tmp_path)))
    assert set(loading.load(TINY)) == {"near", "far"}


@pytest.mark.parametrize("layout", ["tiny/images", "tiny", "."])
def test_layouts_and_spellings(tmp_path, layout):
    domains = loading.load(TINY, tree(tmp_path, layout))
    for name, domain in domains.items():
        assert domain.class_names == CLASSES
        np.testing.assert_array_equal(domain.counts("train"), COUNTS[name])
        assert domain.splits["train"] is domain.splits["test"]
    near = domains["near"].split("train")
    inputs, labels = near.__getitems__([0, 4])
    assert labels.tolist() == [0, 1] and inputs[0].shape == (10, 12, 3)
    assert [path.split("/")[-1] for path in near.paths] == ["0.jpg", "1.jpg", "2.jpg", "0.png", "1.png"]
    assert set(loading.load(TINY, tmp_path, domains=["far"])) == {"far"}


def test_a_whole_benchmark_passes_and_its_fingerprint_follows_the_data(tmp_path):
    report = loading.check(TINY, tree(tmp_path))
    assert not report.faults and not report.absent
    assert [(row.domain, row.split, row.size) for row in report.rows] == [("near", "all", 5), ("far", "all", 6)]
    again = loading.check(TINY, tmp_path)
    assert report.fingerprints == again.fingerprints and len(set(report.fingerprints.values())) == 2
    picture(tmp_path / "tiny" / "images" / "far" / "Mug" / "0.jpg", 99)
    changed = loading.check(TINY, tmp_path).fingerprints
    assert changed["near"] == again.fingerprints["near"] and changed["far"] != again.fingerprints["far"]


def test_all_faults_at_once(tmp_path):
    here = tree(tmp_path) / "tiny" / "images"
    (here / "near" / "images" / "mug" / "0.png").unlink()
    picture(here / "near" / "images" / "stapler" / "0.jpg")
    picture(here / "far" / "loose.jpg")
    (here / "far" / "Mug" / "notes.txt").write_text("x")
    cut = here / "far" / "Mug" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    (here / "far" / "Mug" / "Thumbs.db").write_text("ignored")
    faults = "\n".join(loading.check(TINY, tmp_path).faults)
    for expected in (
        "near, class mug: 1 found, expected 2",
        "near: class folder too many:",
        "far: image outside class folders:",
        "far: not an image:",
        "Mug/1.jpg: ",
    ):
        assert expected in faults
    assert len(faults.splitlines()) == 5
    assert "Mug/1.jpg" not in "\n".join(loading.check(TINY, tmp_path, decode=False).faults)
    with pytest.raises(InputError, match=r"(?s)5 faults.*stapler.*notes.*loose.*class mug.*Mug/1\.jpg"):
        loading.load(TINY, tmp_path)
    with pytest.raises(InputError, match=r"(?s)4 faults.*stapler.*notes.*loose.*class mug"):
        loading.load(TINY, tmp_path, decode=False)


def test_wrong_counts_name_every_class():
    known = facts({"near": {"train": (3, 2), "test": 7}})
    assert wrong_counts(known, "near", "train", np.array([3, 2])) == []
    assert len(wrong_counts(known, "near", "train", np.array([2, 3]))) == 2
    assert wrong_counts(known, "near", "test", np.array([3, 4])) == []
    assert wrong_counts(known, "near", "test", np.array([3, 3])) == ["near, test: 6 examples, expected 7"]
    assert "not known" in wrong_counts(known, "near", "val", np.array([1, 1]))[0]
    sized = read_facts("crossner")
    counts = np.array(sized.counts["ai"]["train"])
    assert wrong_counts(sized, "ai", "train", counts, 100) == []
    assert wrong_counts(sized, "ai", "train", counts, 99) == ["ai, train: 99 examples, expected 100"]


def test_other_class_names_are_a_fault(tmp_path):
    for names, odd in ((("mug", "back_pack"), "their order"), ((*CLASSES, "pen"), "pen")):
        tree(tmp_path / odd)
        made = dataclasses.replace(TINY, read=lambda known, *rest, names=names: TINY.read(facts(classes=names), *rest))
        faults = loading.check(made, tmp_path / odd).faults
        assert len(faults) == 2 and all(fault.endswith(f"manifest's: {odd}") for fault in faults)


def test_lists_with_paths_of_another_machine(tmp_path):
    for i in range(3):
        picture(tmp_path / "c" / f"{i}.jpg", i)
    picture(tmp_path / "c" / "deep" / "3.jpg")
    (tmp_path / "l.txt").write_text("/elsewhere/data/c/0.jpg 1\nc/x.y/1.jpg 2\n\nc/2.jpg 1\nq/c/deep/3.jpg 2\n")
    images, faults = read_list("c", tmp_path / "l.txt", tmp_path, "c", 2, first_label=1)
    assert not faults
    assert images.paths == ("c/0.jpg", "c/1.jpg", "c/2.jpg", "c/deep/3.jpg") and images.labels.tolist() == [0, 1, 0, 1]
    (tmp_path / "bad.txt").write_text("c/0.jpg 0\nc/9.jpg 0\nc/1.jpg 7\nc/1.jpg\n../c/1.jpg 0\nc/1.jpg -1\n")
    images, faults = read_list("c", tmp_path / "bad.txt", tmp_path, "c", 2)
    assert len(images) == 1 and [fault.split(":")[1].strip() for fault in faults] == [
        f"bad.txt, line {n}" for n in (2, 3, 4, 5, 6)
    ]
    assert "no such image" in faults[0] and "leaves its folder" in faults[3]
    assert read_list("c", tmp_path / "none.txt", tmp_path, "c", 2)[0] is None


def test_domainnet_by_lists(tmp_path):
    root = tmp_path / "DomainNet"
    for i in range(3):
        picture(root / "clipart" / "a" / f"{i}.jpg", i)
    (root / "splits").mkdir()
    (root / "splits" / "clipart_train.txt").write_text("clipart/a/0.jpg 0\nclipart/a/1.jpg 0\n")
    known = facts({"clipart": {"train": (2, 0), "test": (1, 0)}, "real": {"train": (1, 0), "test": (0, 1)}}, ("a", "b"))
    reading = read_domainnet(known, tmp_path, ("clipart", "real"))
    assert [fault.split(":")[0] for fault in reading.faults] == ["clipart", "real"]
    assert "clipart_test.txt" in reading.faults[0]
    (root / "splits" / "clipart_test.txt").write_text("clipart/a/2.jpg 0\n")
    domain = read_domainnet(known, tmp_path, ("clipart",)).domains["clipart"]
    assert domain.counts("train").tolist() == [2, 0] and domain.counts("test").tolist() == [1, 0]

    prepare_records("domainnet", {"clipart": domain}, tmp_path / "ready")
    ready = read_domainnet(known, tmp_path / "ready", ("clipart",)).domains["clipart"]
    assert ready.class_names == ("a", "b") and len(ready.split("train")) == 2 and len(ready.split("test")) == 1


def test_imageclef_by_list_or_folder(tmp_path):
    known = facts({"c": {"all": (1, 1)}, "b": {"all": (1, 0)}}, ("aeroplane", "bike"))
    picture(tmp_path / "imageCLEF" / "c" / "0.jpg")
    picture(tmp_path / "imageCLEF" / "c" / "1.jpg")
    (tmp_path / "imageCLEF" / "list").mkdir()
    (tmp_path / "imageCLEF" / "list" / "cList.txt").write_text("c/251.planes/0.jpg 0\nc/1.jpg 1\n")
    reading = read_imageclef(known, tmp_path, ("c", "b"))
    assert not reading.faults and reading.domains["c"].counts("test").tolist() == [1, 1] and "b" not in reading.domains
    picture(tmp_path / "imageCLEF" / "b" / "bike" / "0.jpg")
    assert read_imageclef(known, tmp_path, ("b",)).domains["b"].counts("test").tolist() == [0, 1]


def test_pacs_official_lists(tmp_path):
    known = facts({"photo": {"all": (2, 1)}}, ("dog", "elephant"))
    for i in range(2):
        picture(tmp_path / "PACS" / "kfold" / "photo" / "dog" / f"{i}.jpg", i)
    picture(tmp_path / "PACS" / "kfold" / "photo" / "elephant" / "2.jpg")
    domain = read_pacs(known, tmp_path, ("photo",)).domains["photo"]
    assert domain.splits["train"] is domain.splits["test"] and domain.counts("train").tolist() == [2, 1]
    lists = tmp_path / "PACS"
    (lists / "photo_train_kfold.txt").write_text("photo/dog/0.jpg 1\nphoto/elephant/2.jpg 2\n")
    (lists / "photo_crossval_kfold.txt").write_text("photo/dog/1.jpg 1\n")
    reading = read_pacs(known, tmp_path, ("photo",))
    assert reading.faults == ["photo: lists without photo_test_kfold.txt"]
    (lists / "photo_test_kfold.txt").write_text("photo/dog/0.jpg 1\nphoto/dog/1.jpg 1\nphoto/elephant/2.jpg 2\n")
    domain = read_pacs(known, tmp_path, ("photo",)).domains["photo"]
    assert {s: domain.counts(s).tolist() for s in domain.splits} == {"train": [1, 1], "val": [1, 0], "test": [2, 1]}


def test_vlcs_divided_and_whole(tmp_path):
    known = facts({"SUN09": {"all": (1, 1)}}, ("bird", "car", "chair", "dog", "person"))
    for part in ("train", "full", "test"):
        picture(tmp_path / "VLCS" / "SUN" / part / "1" / "0.jpg")
    domain = read_vlcs(known, tmp_path, ("SUN09",)).domains["SUN09"]
    assert domain.counts("train").tolist() == [0, 1, 0, 0, 0] and len(domain.split("test")) == 1
    assert domain.split("train").paths == ("SUN/full/1/0.jpg",)
    picture(tmp_path / "whole" / "SUN09" / "person" / "0.jpg")
    domain = read_vlcs(known, tmp_path / "whole", ("SUN09",)).domains["SUN09"]
    assert domain.splits["train"] is domain.splits["test"] and domain.counts("train").tolist() == [0, 0, 0, 0, 1]
