"""Faults of a user's own data: all of them in one error, whatever place they are in."""

import numpy as np
import pytest
from PIL import Image

from dalib.core.checks import InputError
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.own.read import read_domains


def photos(root, classes, n=3, size=12):
    rng = np.random.default_rng(len(classes))
    for label in classes:
        (root / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(root / label / f"{i}.png")
    return root


def truncate(file):
    file.write_bytes(file.read_bytes()[:60])


def read(**options):
    own = Own(**{"size": 8, **options})
    return read_domains(own, plan(own))


def test_faults_of_images_classes_and_places_are_one_error(tmp_path):
    source = photos(tmp_path / "web", ("cat", "dog"))
    target = photos(tmp_path / "phone", ("cat", "dog", "eel"))
    truncate(source / "cat" / "1.png")
    truncate(target / "eel" / "2.png")
    with pytest.raises(InputError) as error:
        read(source=(str(source),), target=str(target))
    for message in ("cat/1.png", "eel/2.png", "only in phone, not in web: eel"):
        assert message in str(error.value)
    (tmp_path / "list.txt").write_text("web/cat/0.png 0\nweb/none.png 1\n../away.png 1\nweb/dog/0.png x\n")
    with pytest.raises(InputError) as error:
        read(source=(str(source), str(tmp_path / "list.txt"), str(tmp_path / "gone")), target=str(target))
    for message in ("cat/1.png", "line 2: no such file", "line 3", "line 4", "gone", "eel/2.png"):
        assert message in str(error.value)


def test_shapes_and_classes_are_one_error(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(9, 4)), y=np.arange(9) % 3)
    np.savez(tmp_path / "b.npz", x=rng.normal(size=(9, 5)), y=np.arange(9) % 3)
    np.savez(tmp_path / "c.npz", x=rng.normal(size=(9, 4)), y=np.arange(9) % 2)
    with pytest.raises(InputError) as error:
        read(source=(str(tmp_path / "a.npz"), str(tmp_path / "c.npz")), target=str(tmp_path / "b.npz"))
    assert "a and c: only in one of them 2" in str(error.value)
    with pytest.raises(InputError, match=r"different shapes\n  a: \(4,\)\n  b: \(5,\)"):
        read(source=(str(tmp_path / "a.npz"),), target=str(tmp_path / "b.npz"))


@pytest.mark.parametrize(
    ("relation", "classes", "message"),
    [
        ("partial", (0, 1, 3), "only in there, not in here: 3"),
        ("open", (0, 1, 3), "only in here, not in there: 2"),
        ("universal", (3, 4), "share no class"),
        ("universal", (0, 3), ""),
        ("open", (0, 1, 2, 3), ""),
        ("partial", (1,), ""),
    ],
)
def test_label_sets_by_relation(tmp_path, relation, classes, message):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "here.npz", x=rng.normal(size=(9, 4)), y=np.arange(9) % 3)
    np.savez(tmp_path / "there.npz", x=rng.normal(size=(12, 4)), y=np.resize(classes, 12))
    options = {"source": (str(tmp_path / "here.npz"),), "target": str(tmp_path / "there.npz"), "relation": relation}
    if message:
        with pytest.raises(InputError, match=message):
            read(**options)
    else:
        assert read(**options).source.class_names == ("0", "1", "2")


def test_images_alone_are_augmented(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=rng.normal(size=(9, 4)), y=np.arange(9) % 3)
    with pytest.raises(InputError, match="flip for vectors"):
        read(source=(str(tmp_path / "a.npz"),), target=str(tmp_path / "b.npz"), augment=("flip",))
