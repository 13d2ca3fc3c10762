"""``dalib.encoders.load``: an encoder with weights, from the manifest's cache or a file of one's own."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import save_file

from dalib.core.checks import InputError
from dalib.core.types import ImagePreprocessing, TextPreprocessing
from dalib.encoders import load, squeezenet1_1
from dalib.encoders.checkpoints.rules import Rule, RuleTable
from dalib.encoders.checkpoints.variables import flatten
from dalib.encoders.pretrained import manifest
from dalib.encoders.pretrained.fetch import keep, sample_input
from dalib.encoders.pretrained.tables import TABLES

NAME = "squeezenet1_1"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file in the authors' layout: names with slashes, kernels [h, w, in, out]."""
    like = jax.eval_shape(squeezenet1_1(num_classes=1000).init, jax.random.key(0), sample_input(ImagePreprocessing()))
    rng = np.random.default_rng(0)
    arrays = {}
    for name, x in flatten(like["params"]).items():
        theirs = name.replace("/squeeze/", "/squeeze1x1/").replace("head/", "conv10/")
        arrays[theirs] = (0.1 * rng.normal(size=x.shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("published") / "squeezenet.safetensors"
    save_file(arrays, path)
    return path, arrays


def test_a_file_of_ones_own(published):
    path, arrays = published
    encoder, variables, inputs = load(NAME, weights=path, layout="caffe/squeezenet", dtype="bfloat16")
    assert encoder.num_classes == 0 and "head" not in variables["params"]
    np.testing.assert_array_equal(variables["params"]["fire2"]["squeeze"]["kernel"], arrays["fire2/squeeze1x1/kernel"])
    assert isinstance(variables["params"]["conv1"]["bias"], jax.Array)
    assert inputs == ImagePreprocessing()
    with pytest.raises(InputError, match="not known to the rule table"):
        load(NAME, weights=path)  # torchvision's layout is the default's
    with pytest.raises(InputError, match="did you mean 'caffe/squeezenet'"):
        load(NAME, weights=path, layout="cafe/squeezenet")


def test_published_weights_come_from_the_cache_with_and_without_head(published, monkeypatch):
    path, arrays = published
    name = "squeezenet1_1-imagenet1k-caffe"
    entry = manifest.find_entry(name)
    with pytest.raises(InputError, match="not the published one"):
        keep(entry, path)
    import dataclasses

    free = dataclasses.replace(entry, sha256="", bytes=None)
    entries = {**manifest.manifest(), name: free}
    monkeypatch.setattr(manifest, "manifest", lambda: entries)
    keep(free, path)
    _, variables, inputs = load(NAME, weights=name, num_classes=1000)
    np.testing.assert_array_equal(variables["params"]["head"]["bias"], arrays["conv10/bias"])
    assert inputs.channels == "BGR"
    _, variables, _ = load(NAME, weights=name)
    assert "head" not in variables["params"]
    with pytest.raises(InputError, match="0, or 1000 for the published head(.|\n)*Classifier"):
        load(NAME, weights=name, num_classes=31)


def test_straight_onto_a_sharding(published):
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec())
    _, variables, _ = load(NAME, weights=published[0], layout="caffe/squeezenet", sharding=sharding)
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(variables))


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="did you mean 'resnet50'"):
        load("resnet5O")
    with pytest.raises(InputError, match="an encoder with published weights"):
        load("lenet")
    with pytest.raises(InputError, match="did you mean 'squeezenet1_1-imagenet1k-(v1|caffe)'"):
        load(NAME, weights="squeezenet1_1-imagenet1k")
    with pytest.raises(InputError, match="field of the encoder"):
        load("resnet50", weights="resnet50-imagenet1k-v1", widht=3)
    with pytest.raises(InputError, match="hf://organisation/name"):
        load(NAME, weights="hf://squeezenet")


def test_tokeniser_files_beside_the_weights(tmp_path, monkeypatch):
    entry = manifest.find_entry("bert_tiny-uncased")
    small = {"vocabulary": 11, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8, "positions": 9}
    from dalib.encoders import bert_tiny

    like = jax.eval_shape(bert_tiny(**small).init, jax.random.key(0), sample_input(entry.preprocessing))
    monkeypatch.setitem(TABLES, "own", RuleTable("own", 1, (Rule(r"(.*)", r"\1"),)))
    save_file({n: np.ones(x.shape, x.dtype) for n, x in flatten(like).items()}, tmp_path / "model.safetensors")
    _, _, inputs = load("bert_tiny", weights=tmp_path, layout="own", **small)
    assert inputs == TextPreprocessing(max_length=512, tokenizer=None)
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    _, _, inputs = load("bert_tiny", weights=tmp_path, layout="own", **small)
    assert inputs.tokenizer == str(tmp_path)
