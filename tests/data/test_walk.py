"""What counts as an image in a folder, with and without labels; what is passed over is counted and named."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.data import from_folder
from dalib.data.readers.files.names import class_name, printable
from dalib.data.readers.files.walk import account, images_below
from tests.run.own_data import read_one

rng = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (6, 5, 3), np.uint8)).save(path, "png")


@pytest.fixture
def tree(tmp_path):
    for name in ("cat/0", "cat/1", "dog/0"):
        picture(tmp_path / "pets" / f"{name}.png")
    return tmp_path / "pets"


IMAGES = ("cat/0.png", "cat/1.png", "dog/0.png")

# Files and folders that people find in folders of images: path, and the reason for passing over it.
LEFTOVERS = [
    ("cat/Thumbs.db", "left by a system"),
    ("cat/desktop.ini", "left by a system"),
    ("cat/@eaDir/0.png/thumb.png", "left by a system"),
    ("__MACOSX/cat/._0.png", "left by a system"),
    ("lost+found/0.png", "left by a system"),
    ("cat/.ipynb_checkpoints/0-checkpoint.png", "hidden"),
    (".cache/cat/0.png", "hidden"),
    ("cat/._0.png", "hidden"),
    (".DS_Store", "hidden"),
    ("cat/00.xml", "not images"),
    ("README.txt", "not images"),
    ("dog/labels", "not images"),
    ("dog/0.png.part", "not images"),
]


@pytest.mark.parametrize(("name", "reason"), LEFTOVERS)
def test_leftovers_are_passed_over_with_and_without_labels(tree, name, reason):
    place = tree / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"x")
    for labelled in (True, False):
        raw = read_one(tree, labelled=labelled)
        assert raw.inputs.paths == IMAGES
        (note,) = raw.notes
        assert f"passed over 1: 1 {reason} (" in note and name.split("/")[0] in note
    with pytest.warns(UserWarning, match=f"passed over 1: 1 {reason}"):
        assert from_folder("pets", tree).split("train").paths == IMAGES


def test_images_with_other_suffixes_or_none_are_found(tree):
    for name, form in (("photo.JPG", "jpeg"), ("b.jfif", "jpeg"), ("download", "webp"), ("c.png-large", "png")):
        Image.new("RGB", (4, 4), "red").save(tree / "cat" / name, form)
    expected = ["0.png", "1.png", "b.jfif", "c.png-large", "download", "photo.JPG"]
    for labelled in (True, False):
        raw = read_one(tree, labelled=labelled)
        assert raw.inputs.paths == (*(f"cat/{name}" for name in expected), "dog/0.png") and not raw.notes
    assert len(raw.inputs.__getitems__(range(7))[0]) == 7


def test_many_leftovers_are_counted_and_five_named(tree):
    for i in range(9):
        (tree / "cat" / f"{i}.xml").write_text("x")
    (note,) = read_one(tree).notes
    assert "9 not images (cat/0.xml, cat/1.xml, cat/2.xml, cat/3.xml, cat/4.xml, …)" in note
    assert account({}) == ""


def test_links_are_followed_and_dead_ones_named(tree, tmp_path):
    picture(tmp_path / "elsewhere" / "deep" / "7.png")
    (tree / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tree / "dog" / "1.png").symlink_to(tmp_path / "elsewhere" / "deep" / "7.png")
    (tree / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tree / "dog" / "self.png").symlink_to("self.png")
    raw = read_one(tree, labelled=False)
    assert raw.inputs.paths == ("cat/0.png", "cat/1.png", "cat/more/deep/7.png", "dog/0.png", "dog/1.png")
    assert "2 links to nothing (dog/gone.png, dog/self.png)" in raw.notes[0]
    # The same image in two classes has two labels.
    with pytest.raises(InputError, match=r"images in two classes, by links:\n.*dog/1.png is .*cat/more/deep/7.png"):
        read_one(tree)
    (tree / "dog" / "1.png").unlink()
    assert read_one(tree).labels == ["cat"] * 3 + ["dog"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../dog"])
def test_loops_of_links_end(tree, target):
    (tree / "cat" / "again").symlink_to(target)
    (tree / "dog" / "round").symlink_to("../cat")
    found = images_below(tree)
    assert found.paths[:2] == ["cat/0.png", "cat/1.png"] and found.paths[-1] == "dog/0.png" and len(found.paths) == 3
    assert sorted(found.passed) == ["links to a folder already read"]


def test_a_link_to_a_folder_above_brings_in_no_other_class(tree):
    (tree / "cat" / "up").symlink_to("..")
    raw = read_one(tree)
    assert raw.inputs.paths == IMAGES and "links to a folder already read (cat/up)" in raw.notes[0]


def test_folders_without_images_say_what_they_hold(tmp_path):
    (tmp_path / "only" / "cat").mkdir(parents=True)
    (tmp_path / "only" / "cat" / "a.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no image; passed over 1: 1 not images \(cat/a.heic\)"):
        read_one(tmp_path / "only", labelled=False)
    picture(tmp_path / "only" / "dog" / "0.png")
    with pytest.raises(InputError, match=r"1 empty class folders(.|\n)*only/cat, passed over 1"):
        read_one(tmp_path / "only")


def test_no_read_permission_is_an_error(tree, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(InputError, match="Permission denied"):
        images_below(tree)


def test_names_that_are_not_utf8(tmp_path):
    root = os.fsencode(tmp_path) + b"/d"
    for folder in (b"caf\xe9", b"dog"):
        os.makedirs(root + b"/" + folder)
        picture(tmp_path / "0.png")
        shutil.copy(tmp_path / "0.png", os.fsdecode(root + b"/" + folder + b"/im\xe9.png"))
    domain = from_folder("d", tmp_path / "d")
    assert domain.class_names == ("caf\\xe9", "dog") and len(domain.fingerprint()) == 64
    "".join((*domain.class_names, *map(printable, domain.split("train").paths))).encode()
    assert domain.split("train").__getitems__([0])[0][0].shape == (6, 5, 3)
    shutil.copy(tmp_path / "0.png", os.fsdecode(root + b"/dog/\xff.png"))
    (tmp_path / "d" / "dog" / os.fsdecode(b"\xfe.png")).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"dog/\\xfe.png"):
        from_folder("d", tmp_path / "d")


def test_class_names_in_two_unicode_forms_are_one_class(tmp_path):
    one, two = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    for root, name in (("web", one), ("phone", two)):
        picture(tmp_path / root / name / "0.png")
        picture(tmp_path / root / "dog" / "0.png")
    assert one != two and class_name(two) == one
    assert read_one(tmp_path / "web").labels == read_one(tmp_path / "phone").labels == [one, "dog"]
    picture(tmp_path / "web" / two / "0.png")
    with pytest.raises(InputError, match=r"look the same:\n.*'cafe\\u0301' and 'caf\\xe9'"):
        read_one(tmp_path / "web")


def test_folders_of_one_general_name_are_told_apart(tmp_path):
    from dalib.data.readers.places import place_of, told_apart

    paths = [tmp_path / "amazon" / "images", tmp_path / "dslr" / "images", tmp_path / "web"]
    for path in paths:
        path.mkdir(parents=True)
    places = [place_of("source", str(path)) for path in paths]
    assert [place.name for place in places] == ["images", "images", "web"]
    assert [place.name for place in told_apart(places)] == ["amazon", "dslr", "web"]
    assert [place.name for place in told_apart(places[1:])] == ["images", "web"]
    named = [place_of("source", f"cats={paths[2]}"), place_of("target", f"cats={paths[1]}")]
    assert told_apart(named) == named
