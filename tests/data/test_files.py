"""Folders and list files, on tiny generated PNGs."""

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.data import from_folder, from_list_file
from dalib.data.readers.images import read_image

pytestmark = pytest.mark.filterwarnings("ignore:.*passed over")  # README.txt and .DS_Store of the tree


def picture(path, value=0, size=(5, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value, 10, 20) if mode == "RGB" else value).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """root/<class>/…: cat 4 images, ant 6, one of them deeper; names out of order on purpose."""
    root = tmp_path / "amazon"
    for i in range(4):
        picture(root / "cat" / f"{i}.png", 100 + i)
    for i in range(5):
        picture(root / "ant" / f"{i}.png", i)
    picture(root / "ant" / "more" / "5.png", 5)
    (root / "ant" / ".DS_Store").write_text("x")
    (root / "README.txt").write_text("about")
    return root


def values(split):
    inputs, labels = split.__getitems__(range(len(split)))
    return [int(x[0, 0, 0]) for x in inputs], labels.tolist()


def test_class_folders_sorted_by_name(tree):
    domain = from_folder("amazon", tree)
    assert domain.class_names == ("ant", "cat")
    assert list(domain.splits) == ["train"]
    assert values(domain.split("train")) == ([0, 1, 2, 3, 4, 5, 100, 101, 102, 103], [0] * 6 + [1] * 4)
    np.testing.assert_array_equal(domain.counts("train"), [6, 4])
    (image,), _ = domain.split("train").__getitems__([2])
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.broadcast_to([2, 10, 20], (4, 5, 3)))


def test_grey_mode(tree):
    (image,), _ = from_folder("amazon", tree, mode="L").split("train").__getitems__([0])
    assert image.shape == (4, 5, 1)
    with pytest.raises(InputError, match="mode"):
        from_folder("amazon", tree, mode="BGR")


def test_holdout_is_stratified_disjoint_and_deterministic(tree):
    one, two = (from_folder("amazon", tree, holdout=0.5, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one.counts("train"), [3, 2])
    np.testing.assert_array_equal(one.counts("test"), [3, 2])
    train, test = (set(one.split(s).paths) for s in ("train", "test"))
    assert not train & test and len(train | test) == 10
    assert one.fingerprint() == two.fingerprint()
    seeds = {from_folder("amazon", tree, holdout=0.5, seed=seed).split("test").paths for seed in range(4)}
    assert len(seeds) > 1


def test_split_folders_found_and_named(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            picture(tmp_path / split / name / "0.png")
    assert list(from_folder("d", tmp_path).splits) == ["train", "val"]
    named = from_folder("d", tmp_path, splits={"train": "train", "test": "val"})
    assert named.split("test").paths == ("val/a/0.png", "val/b/0.png")
    both = from_folder("d", tmp_path, splits={"train": "val", "test": "val"})
    assert both.split("train").paths == both.split("test").paths
    with pytest.raises(InputError, match="either holdout or split folders"):
        from_folder("d", tmp_path, holdout=0.5)
    with pytest.raises(InputError, match="no such folder"):
        from_folder("d", tmp_path, splits={"train": "training"})
    picture(tmp_path / "val" / "c" / "0.png")
    with pytest.raises(InputError, match=r"only in train: none; only in val: \['c'\]"):
        from_folder("d", tmp_path)


def test_single_folder_between_root_and_classes_is_passed_through(tmp_path):
    """Office-31 unpacks as amazon/images/<class>/…."""
    picture(tmp_path / "amazon" / "images" / "a" / "0.png")
    picture(tmp_path / "amazon" / "images" / "b" / "0.png")
    domain = from_folder("d", tmp_path / "amazon")
    assert domain.class_names == ("a", "b") and domain.split("train").paths == ("images/a/0.png", "images/b/0.png")
    assert from_folder("d", tmp_path).class_names == ("a", "b")
    assert from_folder("d", tmp_path / "amazon", splits={"train": "images"}).class_names == ("a", "b")


def test_nested_tree_without_train_says_what_to_do(tmp_path):
    for name in ("amazon", "dslr"):
        picture(tmp_path / name / "images" / "a" / "0.png")
    with pytest.raises(InputError, match=r'for example .*/amazon, or in Python splits=\{"train": "amazon"\}'):
        from_folder("d", tmp_path)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        from_folder("d", tmp_path / "nowhere")
    with pytest.raises(InputError, match="without any folder"):
        from_folder("d", tmp_path)
    file = picture(tmp_path / "x.png")
    with pytest.raises(InputError, match="a file"):
        from_folder("d", file)
    root = tmp_path / "root"
    (root / "empty").mkdir(parents=True)
    with pytest.raises(InputError, match="empty class folders"):
        from_folder("d", root)
    picture(root / "full" / "0.png")
    with pytest.raises(InputError, match=r"1 empty class folders(.|\n)*root/empty"):
        from_folder("d", root)


def test_bad_files_are_all_counted_and_ten_shown(tree):
    for i in range(12):
        (tree / "cat" / f"bad{i:02}.png").write_bytes(b"not an image")
    with pytest.raises(InputError) as error:
        from_folder("amazon", tree)
    message = str(error.value)
    assert "12 files" in message and "bad00.png" in message and "bad09.png" in message
    assert "bad10.png" not in message and "2 more" in message
    late = from_folder("amazon", tree, check=False)
    with pytest.raises(InputError, match="bad00.png"):
        late.split("train").__getitems__([late.split("train").paths.index("cat/bad00.png")])


def test_text_file_among_images_and_image_outside_classes(tree):
    (tree / "ant" / "notes.txt").write_text("hello")
    with pytest.warns(
        UserWarning, match=r"amazon: passed over 3: 1 hidden .*; 2 not images \(README.txt, ant/notes.txt"
    ):
        domain = from_folder("amazon", tree)
    np.testing.assert_array_equal(domain.counts("train"), [6, 4])
    picture(tree / "stray.png")
    with pytest.raises(InputError, match="stray.png"):
        from_folder("amazon", tree)


def test_truncated_and_deep_images(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "x.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:600])
    with pytest.raises(InputError, match="cut.jpg"):
        read_image(tmp_path / "cut.jpg")
    Image.fromarray(np.full((3, 3), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        read_image(tmp_path / "deep.png")
    with pytest.raises(InputError, match="gone.png"):
        read_image(tmp_path / "gone.png")


def test_fingerprint_of_files(tmp_path):
    """Equal names and sizes do not make equal domains; a copy elsewhere does."""
    for root, value in (("one", 1), ("two", 2), ("copy", 1)):
        picture(tmp_path / root / "a" / "0.bmp", value)
    one, two, copy = (from_folder("d", tmp_path / root).fingerprint() for root in ("one", "two", "copy"))
    assert one == copy != two


@pytest.fixture
def listed(tree, tmp_path):
    picture(tree / "two words" / "a b.png", 77)
    file = tmp_path / "list.txt"
    file.write_text("cat/0.png 1\n\nant/3.png\t0\ntwo words/a b.png 2\n")
    return file


def test_list_file(tree, listed):
    domain = from_list_file("amazon", {"train": listed, "test": str(listed)}, root=tree)
    assert domain.class_names == ("0", "1", "2")
    assert values(domain.split("train")) == ([100, 3, 77], [1, 0, 2])
    assert from_list_file("a", {"train": listed}, root=tree, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")


def test_all_faults_of_list_files_in_one_error(tree, listed):
    (tree.parent / "secret.png").write_bytes((tree / "cat" / "0.png").read_bytes())
    faulty = tree.parent / "faulty.txt"
    faulty.write_text(
        f"cat/0.png 1\ncat/nine.png 1\ncat/1.png one\ncat/1.png -1\ncat/1.png\n../secret.png 0\n"
        f"cat/../../secret.png 0\n{tree}/cat/1.png 0\ncat/1.png 3\n"
    )
    with pytest.raises(InputError) as error:
        from_list_file("a", {"train": listed, "test": faulty}, root=tree, class_names=["x", "y", "z"])
    message = str(error.value)
    assert "8 bad lines" in message
    for line, fault in [
        (2, "no such file: cat/nine.png"),
        (3, "'one' is not an integer ≥ 0 or a class name"),
        (4, "'-1' is not an integer ≥ 0"),
        (5, "not 'path label'"),
        (6, "../secret.png leaves the root"),
        (7, "leaves the root"),
        (8, "allow_absolute"),
        (9, "there are 3 class names"),
    ]:
        assert any(f"faulty.txt, line {line}:" in shown and fault in shown for shown in message.splitlines()), fault


def test_absolute_paths_on_request(tree, tmp_path):
    file = tmp_path / "absolute.txt"
    file.write_text(f"{tree}/cat/1.png 0\n")
    domain = from_list_file("a", {"train": file}, root=tree, allow_absolute=True)
    assert values(domain.split("train")) == ([101], [0])


def test_list_file_missing_empty_or_unreadable(tree, tmp_path):
    with pytest.raises(InputError, match=r"files\['train'\](.|\n)*no such file"):
        from_list_file("a", {"train": tmp_path / "gone.txt"}, root=tree)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(InputError, match="without any line"):
        from_list_file("a", {"train": empty}, root=tree)
    with pytest.raises(InputError, match="root"):
        from_list_file("a", {"train": empty}, root=tree / "gone")
    with pytest.raises(InputError, match="files"):
        from_list_file("a", {}, root=tree)
    (tree / "cat" / "bad.png").write_bytes(b"no")
    empty.write_text("cat/bad.png 0\n")
    with pytest.raises(InputError, match="bad.png"):
        from_list_file("a", {"train": empty}, root=tree)
    empty.write_bytes(b"caf\xe9.png 0\n")
    with pytest.raises(InputError, match="UTF-8"):
        from_list_file("a", {"train": empty}, root=tree)
