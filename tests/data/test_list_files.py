"""List files as people have them: with and without labels, other encodings and roots, names of classes, repetitions."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.data import UNLABELLED, from_list_file
from tests.run.own_data import read_one

FILES = ("cat/0.png", "cat/1.png", "dog/a b.png", "dog/c,d.png", "dog/caf\u00e9.png")


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(FILES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (3, 3), (i, 0, 0)).save(tmp_path / name)
    return tmp_path


def listing(root, lines, name="list.txt", encoding="utf-8"):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return root / name


LABELS = ("0", "0", "1", "1", "1")


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", "  "])
@pytest.mark.parametrize("labels", [LABELS, ("cat", "cat", "dog", "dog", "dog"), ("alarm clock",) * 3 + ("a, b",) * 2])
def test_separators_and_class_names(root, separator, labels):
    raw = read_one(listing(root, [f"{file}{separator}{label}" for file, label in zip(FILES, labels, strict=True)]))
    assert raw.inputs.paths == FILES and raw.labels == list(labels)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(root, encoding):
    lines = [f"{file} {label}" for file, label in zip(FILES, LABELS, strict=True)]
    assert read_one(listing(root, lines, encoding=encoding)).labels == list(LABELS)


@pytest.mark.parametrize("line", ["{}", "{} -1", "{} 99999999999", "{}\tno, class", '"{}",x', "{},"])
def test_without_labels_none_is_parsed(root, line):
    lines = [line.format(file) for file in FILES[:3]]
    raw = read_one(listing(root, lines), labelled=False)
    assert raw.inputs.paths == FILES[:3] and raw.labels is None and (raw.inputs.labels == UNLABELLED).all()
    domain = from_list_file("d", {"train": root / "list.txt"}, root=root, labelled=False, class_names=["a", "b"])
    assert (domain.labels("train") == UNLABELLED).all() and domain.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        (["cat/0.png", "cat/1.png 0"], ["line 1: not 'path label': 'cat/0.png'", "--no-target-labels"]),
        (["cat/0.png -1", "cat/1.png 0"], ["line 1: label '-1' is not an integer ≥ 0; --no-target-labels"]),
        (["cat/0.png 0", "cat/1.png 99999999999"], ["line 2: label 99999999999 is not below 100,000"]),
        (["cat/0.png 0", "cat/1.png " + "9" * 6000], ["line 2: label 999999999999999999999999999999 is not below"]),
        (["cat/0.png 0", "cat/1.png cat", "dog/a b.png 1"], ["line 2: label 'cat' is not an integer", "unlike"]),
        (["cat/0.png cat", "cat/1.png 7", "dog/a b.png dog"], ["line 2: label '7' is a number, unlike"]),
        (["cat/0.png 0", "./cat/../cat/0.png 1"], ["line 2: ./cat/../cat/0.png has label 1, and 0 in line 1"]),
        (["cat/0.png 0", "cat/2.png 0", "../x.png 0"], ["2 bad lines", "no such file: cat/2.png", "leaves the root"]),
        (["cat 0"], ["no such file: cat"]),
        (["/cat/0.png 0"], ["absolute path /cat/0.png (--absolute-paths"]),
        (["cat/0.png\0 0", "x " * 6000], ["2 bad lines", "no such file: cat/0.png\0"]),
        (["", " "], ["without any line"]),
    ],
)
def test_faults_name_their_lines(root, lines, messages):
    with pytest.raises(InputError) as error:
        read_one(listing(root, lines))
    for message in messages:
        assert message in str(error.value)
    with pytest.raises(InputError):
        from_list_file("d", {"train": root / "list.txt"}, root=root)


def test_bytes_that_are_not_utf8_name_the_file_that_has_them(root):
    latin = root / "dog" / "gr\udce9y.png"
    latin.write_bytes((root / "cat" / "0.png").read_bytes())
    (root / "list.txt").write_bytes(b"dog/gr\xe9y.png 0\ncat/1.png 1\n")
    assert read_one(root / "list.txt").inputs.paths == ("dog/gr\udce9y.png", "cat/1.png")
    (root / "list.txt").write_bytes(b"dog/gr\xe8y.png 0\n")
    with pytest.raises(InputError, match=r"no such file: dog/gr\\xe8y.png \(in bytes that are not UTF-8\)"):
        read_one(root / "list.txt")


def test_paths_in_other_unicode_forms_and_with_backslashes(root):
    other = unicodedata.normalize("NFD", FILES[4])
    assert read_one(listing(root, [f"{other} 0", "cat\\0.png 1"])).inputs.paths == (FILES[4], "cat/0.png")


def test_root_of_the_paths(root, tmp_path):
    inside = listing(root, [f"{file} {label}" for file, label in zip(FILES, LABELS, strict=True)], "image_list/all.txt")
    with pytest.raises(InputError, match=f"found below {root}: pass it as --root") as error:
        read_one(inside)
    assert "5 bad lines" in str(error.value)
    assert read_one(inside, root=root).labels == list(LABELS)
    above = listing(root, ["0.png 0", "1.png 1"], "above.txt")
    with pytest.raises(InputError, match=f"found below {root}/cat: pass it as --root"):
        read_one(above)
    whole = listing(root, [f"{root}/{file} 0" for file in FILES], "absolute.txt")
    assert len(read_one(whole, absolute_paths=True).labels) == 5


@pytest.mark.filterwarnings("ignore:d/test")
def test_images_that_are_listed_again_are_reported(root):
    file = listing(root, ["cat/0.png 0", "dog/a b.png 1", "cat/../cat/0.png 0"])
    raw = read_one(file)
    assert len(raw.inputs) == 3 and "1 images are listed again" in raw.notes[0]
    assert "cat/../cat/0.png in lines 1 and 3" in raw.notes[0]
    with pytest.warns(UserWarning, match="d/train: 1 images are listed again"):
        domain = from_list_file("d", {"train": file, "test": file}, root=root)
    np.testing.assert_array_equal(domain.counts("train"), [2, 1])


def test_class_names_of_the_domain(root):
    file = listing(root, ["cat/0.png dog", "cat/1.png ant"])
    domain = from_list_file("d", {"train": file}, root=root)
    assert domain.class_names == ("ant", "dog") and domain.labels("train").tolist() == [1, 0]
    named = from_list_file("d", {"train": file}, root=root, class_names=["dog", "bee", "ant"])
    assert named.labels("train").tolist() == [0, 2]
    with pytest.raises(InputError, match="'ant' is not an integer ≥ 0 or a class name"):
        from_list_file("d", {"train": file}, root=root, class_names=["dog", "bee"])
    with pytest.raises(InputError, match="class_names: got None, and labelled=False"):
        from_list_file("d", {"train": file}, root=root, labelled=False)
