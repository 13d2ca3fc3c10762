"""The manifest names encoders, fields and layouts that exist, and says where from and how checked."""

import re

import pytest

from dalib.core.checks import InputError
from dalib.core.types import ImagePreprocessing
from dalib.encoders.pretrained.fetch import skeleton
from dalib.encoders.pretrained.manifest import entries_of, find_entry, manifest, read_manifest
from dalib.encoders.pretrained.tables import TABLES
from dalib.encoders.registry import ENCODERS
from dalib.run.cli.verify import CHECKS


def test_every_entry_is_of_this_version():
    assert len(manifest()) > 60
    for entry in manifest().values():
        assert entry.encoder in ENCODERS, entry.name
        assert TABLES[entry.table].version == entry.version, entry.name
        assert not entry.check or entry.check in CHECKS, entry.name
        assert entry.licence and entry.trained_on and entry.origins, entry.name
        assert re.fullmatch(r"[a-z0-9_.-]+", entry.name)
        assert entry.sha256 == "" or re.fullmatch(r"[0-9a-f]{64}", entry.sha256), entry.name
        assert entry.sha256 == "" or entry.bytes, entry.name
        for origin in entry.origins:
            assert sum(map(bool, (origin.url, origin.hub, origin.package))) == 1, entry.name
            assert not origin.url or origin.url.startswith("https://"), entry.name
            assert not origin.package or (re.fullmatch(r"[0-9a-f]{64}", origin.archive_sha256) and entry.sha256)
        if isinstance(entry.preprocessing, ImagePreprocessing):
            assert entry.preprocessing.size <= entry.preprocessing.resize, entry.name
        # torchvision's habit: the first digits of the sha256 are in the file's name.
        if digits := re.search(r"-([0-9a-f]{8})\.(pth|th)$", entry.file):
            assert (entry.sha256 or entry.sha256_prefix).startswith(digits[1]), entry.name


@pytest.mark.slow
@pytest.mark.parametrize("name", manifest())
def test_every_entry_builds(name):
    like, _ = skeleton(manifest()[name])
    assert ("head" in like["params"]) == bool(manifest()[name].num_classes)


def test_the_first_entry_of_an_encoder_is_its_default():
    assert [entry.name for entry in entries_of("resnet50")] == ["resnet50-imagenet1k-v1", "resnet50-imagenet1k-v2"]
    lite = find_entry("efficientnet_lite1-imagenet1k").preprocessing
    assert lite == ImagePreprocessing(240, 272, True, "bicubic", 255.0, (127.0,) * 3, (128.0,) * 3)
    with pytest.raises(InputError, match="did you mean 'resnet50-imagenet1k-v[12]'"):
        find_entry("resnet50-imagenet1k")


def test_mistakes_in_a_manifest(tmp_path):
    entry = """[[weights]]
        name = "a"
        encoder = "lenet"
        table = "t"
        version = 1
        file = "f"
        licence = "MIT"
        trained_on = "x"
        origins = [{ url = "https://example.org/f" }]
        preprocessing = { kind = "image" }
        """
    for text, message in (
        (f"format = 1\n{entry}", "format 2"),
        (f"format = 2\n{entry}{entry}", "unique names"),
        (f"format = 2\n{entry}surplus = 1", "surplus"),
        ("format = 2\n" + entry.replace('table = "t"', ""), "table"),
        ("format = ", "readable"),
    ):
        (tmp_path / "m.toml").write_text(text)
        with pytest.raises(InputError, match=message):
            read_manifest(tmp_path / "m.toml")
