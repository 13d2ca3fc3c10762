"""Ledgers and manifests that are none, caches that can't be written: an error of ours, on one screen."""

import pytest

from dalib.core.checks import InputError
from dalib.encoders.pretrained.cache import temporary_folder
from dalib.encoders.pretrained.manifest import read_manifest
from experiments.ledger.published import load

BROKEN = [
    b"[1]",
    b"{}",
    b"a = inf",
    b"\xff\xfe",
    b"",
    b"table = 3\nformat = 2\nweights = 3",
    b"format = 2\nweights = [1]\ntable = [1]",
    b"format = 2\n[[weights]]\nname = 3\norigins = 1\n[[table]]\nx = 1\nrows = 3",
    b"\n".join(b'[[table]]\nid = "%d"' % i for i in range(99)),
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("door", [read_manifest, load])
def test_files_that_are_no_manifest_and_no_ledger(text, door, tmp_path):
    path = tmp_path / "it.toml"
    path.write_bytes(text)
    with pytest.raises(InputError) as error:
        door(path)
    assert len(str(error.value).splitlines()) < 30
    path.unlink()
    for _ in ("missing", "a folder"):
        with pytest.raises(InputError, match=r"it\.toml"):
            door(path)
        path.mkdir(exist_ok=True)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_cache_that_can_not_be_written(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / place))
    with pytest.raises(InputError, match=r"DALIB_CACHE: got .*can't be written(.|\n)*what to do"):
        with temporary_folder():
            pytest.fail("made")
