"""Archives: nothing unsafe is unpacked, and nothing by halves."""

import io
import tarfile
import zipfile

import pytest

from dalib.core.checks import InputError
from dalib.data.readers.files.archives import unpack


def tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in members:
            info = tarfile.TarInfo(name)
            if kind == "file":
                info.size = 2
                archive.addfile(info, io.BytesIO(b"hi"))
            else:
                info.type, info.linkname = kind, "/etc/passwd"
                archive.addfile(info)
    return path


def test_unpacks_zip_and_tar(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one/x.txt", "hi")
        archive.writestr("one/empty/", "")
    made = tar(tmp_path / "b.tgz", [("./two", tarfile.DIRTYPE), ("./two/deep/y.txt", "file"), ("z.txt", "file")])
    out = unpack(made, unpack(tmp_path / "a.zip", tmp_path / "out"))
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "one/x.txt",
        "two/deep/y.txt",
        "z.txt",
    ]
    assert (out / "one" / "empty").is_dir() and (out / "z.txt").read_text() == "hi"
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    with pytest.raises(InputError, match=r"(?s)2 names that exist.*two.*z\.txt"):
        unpack(made, out)


def test_an_archive_bomb_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dalib.data.readers.files.archives.ALWAYS", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(2_000_000))
        archive.writestr("b", bytes(2_000_000))
    with tarfile.open(tmp_path / "bomb.tgz", "w:gz") as archive:
        for name in "ab":
            info = tarfile.TarInfo(name)
            info.size = 2_000_000
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    for name in ("bomb.zip", "bomb.tgz"):
        out = tmp_path / f"{name}-out"
        with pytest.raises(InputError, match="unpacks to [24]000000 bytes or more"):
            unpack(tmp_path / name, out)
        assert not list(out.iterdir())
        with pytest.raises(InputError, match="at most 3000000 bytes"):
            unpack(tmp_path / name, out, ratio=1e9, limit=3_000_000)
        assert sum(p.stat().st_size for p in unpack(tmp_path / name, out, ratio=1e9).iterdir()) == 4_000_000


def test_a_header_that_lies_about_the_size_gives_no_more_than_it_says(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(5000))
    raw = (tmp_path / "a.zip").read_bytes()
    assert raw.count((5000).to_bytes(4, "little")) == 2  # in the member's header and in the directory
    (tmp_path / "a.zip").write_bytes(raw.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="whole archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_all_unsafe_names_at_once_and_nothing_written(tmp_path):
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
    members = [("good.txt", "file"), ("../up.txt", "file"), ("/abs.txt", "file"), ("a/../../up", "file")]
    members += [(f"special{i}", kind) for i, kind in enumerate(kinds)] + [("good.txt", "file")]
    out = tmp_path / "out"
    with pytest.raises(InputError) as error:
        unpack(tar(tmp_path / "a.tar.gz", members), out)
    message = str(error.value)
    assert "7 unsafe members" in message
    for part in (
        "'../up.txt': leaves",
        "'/abs.txt': absolute",
        "a/../../up",
        "special0': link",
        "comes twice",
        "device",
    ):
        assert part in message
    assert not list(out.iterdir()) and not (tmp_path / "up.txt").exists()
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("..\\up.txt", "x")
        archive.writestr("C:\\x.txt", "x")
    with pytest.raises(InputError, match="3 unsafe members"):
        unpack(tmp_path / "b.zip", out)


def test_damaged_archives_leave_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
        archive.writestr("b.txt", "world, world")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(content.replace(b"world, world", b"world, WORLD", 1))
    made = tar(tmp_path / "b.tgz", [(f"{i}.txt", "file") for i in range(400)])
    (tmp_path / "cut.tgz").write_bytes(made.read_bytes()[:-200])
    (tmp_path / "text.zip").write_text("no archive")
    for name in ("bad.zip", "cut.tgz", "text.zip", "none.zip"):
        with pytest.raises(InputError, match=name):
            unpack(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
