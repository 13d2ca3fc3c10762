"""The image benchmarks on made-up pictures in the published layouts: from the command line to the report."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments.inputs.images
from dalib.core.checks import InputError
from dalib.core.types import ImagePreprocessing
from dalib.data import benchmarks as data
from dalib.data.domain import pool
from dalib.data.readers.arrays import ArraySplit
from dalib.data.readers.prepare import prepare
from dalib.encoders import LeNet
from dalib.run.cli.main import main
from dalib.run.program import make_parts
from experiments import domainnet, office31, office_caltech_images, office_home, pacs, visda
from experiments.inputs.image_splits import Rows, ViewedImages
from tests.data.tiny_benchmark import picture

EACH = 2
FEW = 3
FOLDERS = {
    "office31": lambda domain: f"{domain}/images",
    "office_home": lambda domain: domain.replace("_", " "),
    "visda2017": {"synthetic": "train", "real": "validation"}.__getitem__,
    "domainnet": lambda domain: domain,
    "pacs": lambda domain: domain,
    "office_caltech10": lambda domain: f"office_caltech10/images/{domain}",
}
COMMANDS = {
    "office31": (office31.office31, office31.Office31, ("dslr", "webcam")),
    "office_home": (office_home.office_home, office_home.OfficeHome, ("Art", "Real_World")),
    "visda2017": (visda.visda, visda.Visda, ("synthetic", "real")),
    "domainnet": (domainnet.domainnet, domainnet.DomainNet, ("clipart", "sketch")),
    "pacs": (pacs.pacs, pacs.Pacs, ("photo", "sketch")),
    "office_caltech10": (
        office_caltech_images.office_caltech_images,
        office_caltech_images.OfficeCaltechImages,
        ("dslr", "webcam"),
    ),
}
SMALL = "--encoder lenet --size 28 --steps 4 --batch-size 4 --log-every 2 --evaluate-every 2 --save-every 4 --seeds 1"


def benchmark(name, root, monkeypatch):
    """The benchmark with two pictures of each class (DomainNet: of three classes), in its published layout."""
    real = data.BENCHMARKS[name]
    facts, domains = real.facts, real.facts.domains
    most = FEW if name == "domainnet" else None
    classes = {domain: facts.classes[domain][:most] for domain in domains}
    splits = ("train", "test") if name == "domainnet" else ("all",)
    small = dataclasses.replace(
        facts,
        classes=classes,
        counts={domain: {split: (EACH,) * len(classes[domain]) for split in splits} for domain in domains},
        sizes={},
        fingerprints={},
    )
    monkeypatch.setitem(data.BENCHMARKS, name, dataclasses.replace(real, manifest=small))
    for d, domain in enumerate(domains if name == "pacs" else COMMANDS[name][2]):
        for split in splits:
            lines = []
            for c, kind in enumerate(classes[domain]):
                for i in range(EACH):
                    path = f"{FOLDERS[name](domain)}/{kind}/{split}{i}.png"
                    picture(root / path, seed=1000 * d + 10 * c + i + len(split), size=(40, 30))
                    lines.append(f"{path} {c}\n")
            if name == "domainnet":
                (root / f"{domain}_{split}.txt").write_text("".join(lines))
    return root


def call(name, root, *arguments):
    function, options, (source, target) = COMMANDS[name]
    out = ["--data-dir", str(root), "--out", str(root / "runs"), *SMALL.split()]
    if "--several" not in arguments:
        out += ["--source", source, "--target", target]
    return main(function, options, "", [*out, *arguments])


def events(folder):
    return [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_fine_tuning_from_pictures_to_the_report(name, tmp_path, monkeypatch):
    root = benchmark(name, tmp_path, monkeypatch)
    assert call(name, root, "--weights", "", "--bottleneck", "none", "--method", "source_only") == 0
    (folder,) = (path.parent for path in (root / "runs").rglob("config.json"))
    config = json.loads((folder / "config.json").read_text())
    assert config["experiment"]["benchmark"] == name and config["experiment"]["augment"] == "crop+flip"
    kinds = {(e["domain"], e["split"]) for e in events(folder) if e["event"] == "evaluate"}
    source, target = COMMANDS[name][2]
    held = "test" if name in ("domainnet", "office_caltech10") else "train"
    assert kinds == {(source, held), (target, "test"), (target, "unlabelled")}
    assert "by selection rule" in (root / "runs" / "report.html").read_text()


def test_prepared_images_are_those_that_are_decoded(tmp_path, monkeypatch, capsys):
    root = benchmark("office31", tmp_path, monkeypatch)
    prepare("office31", data.load("office31", root, domains=["dslr"]), tmp_path / "ready", size=32)
    options = office31.Office31(weights="", size=28, data_dir=root, source="dslr", target="webcam")

    def images(options, names):
        found = experiments.inputs.images._load(options, names)
        return experiments.inputs.images._view(options)(found["dslr"]).split("train").__getitems__(range(8))

    decoded = images(options, ["dslr"])
    ready = dataclasses.replace(options, prepared=tmp_path / "ready", data_dir=None)
    for here, there in zip(decoded, images(ready, ["dslr"]), strict=True):
        np.testing.assert_array_equal(here, there)
    with pytest.raises(InputError, match="without webcam"):
        images(ready, ["dslr", "webcam"])
    with pytest.raises(InputError, match=r"(?s)size 32.*size 34"):
        images(dataclasses.replace(ready, size=30), ["dslr"])
    with pytest.raises(InputError, match="frozen-features"):
        office31.experiments(dataclasses.replace(ready, weights="default", frozen_features=True))


@pytest.mark.slow
def test_frozen_features_and_several_sources(tmp_path, monkeypatch):
    root = benchmark("pacs", tmp_path, monkeypatch)
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    net = LeNet()
    variables = net.init(jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    prepared = ImagePreprocessing(size=28, resize=32)
    monkeypatch.setattr(experiments.inputs.images, "load", lambda name, weights: (net, variables, prepared))
    several = ["--frozen-features", "--several", "--target", "sketch", "--method", "source_only", "m3sda"]
    assert call("pacs", root, *several, "--options", "m3sda.sources=3", "--batch-size", "6") == 0
    folder = root / "runs" / "art_painting + cartoon + photo-sketch" / "m3sda" / "seed-0"
    config = json.loads((folder / "config.json").read_text())["experiment"]
    assert config["encoder"] == "mlp" and config["weights"] == ""
    assert ["features", "lenet, default"] in config["protocol"]
    features = np.load(folder / "final.npz")["features_target"]
    classes = len(data.BENCHMARKS["pacs"].facts.classes["sketch"])
    assert features.shape == (classes * EACH, 256) and np.isfinite(features).all()


def test_all_faults_of_the_data_at_once_and_nothing_written(tmp_path, monkeypatch, capsys):
    root = benchmark("office31", tmp_path, monkeypatch)
    cut = next((root / "dslr/images").rglob("*.png"))
    cut.write_bytes(cut.read_bytes()[:60])
    (root / "webcam/images/back_pack/all0.png").unlink()
    picture(root / "webcam/images/zebra/a.png")
    assert call("office31", root, "--weights", "") == 2
    text = capsys.readouterr().err
    assert str(cut) in text and "zebra" in text and "back_pack" in text and not (root / "runs").exists()


def test_tasks_and_what_contradicts():
    def tasks(module, options):
        return [(e.source, e.target) for e in module.experiments(options)]

    one = {"method": ("source_only",), "seeds": 1}
    assert len(tasks(office31, office31.Office31(**one))) == 6
    assert len(tasks(office_home, office_home.OfficeHome(**one))) == 12
    assert tasks(visda, visda.Visda(**one)) == [("synthetic", "real")]
    assert len(tasks(domainnet, domainnet.DomainNet(**one))) == 12
    assert tasks(pacs, pacs.Pacs(**one, several=True, target="photo")) == [("art_painting + cartoon + sketch", "photo")]
    frozen = office31.experiments(office31.Office31(**one, frozen_features=True))[0]
    assert frozen.encoder == "mlp" and frozen.encoder_options == (("widths", ()),) and not frozen.augment
    preset = office31.experiments(office31.Office31(**one, preset="tllib"))[0]
    assert preset.steps == 2_500 and preset.bottleneck == "none" and preset.encoder == "resnet50"
    assert preset.augment == "crop+flip" and preset.crop == 224
    window = office31.experiments(office31.Office31(**one, preset="deepda"))[0]
    assert window.augment == "random-crop+flip" and window.crop == 224
    heads = office31.experiments(office31.Office31(**one, preset="deepda", frozen_features=True))[0]
    assert not heads.augment and not heads.crop
    for bad, message in (
        ({"oracle": True}, "oracle"),
        ({"frozen_features": True, "weights": ""}, "frozen-features"),
        ({"holdout": 1.0}, "holdout"),
        ({"method": ("m3sda",)}, "--several"),
        ({"several": True, "source": "dslr"}, "beside --several"),
        ({"source": "dlsr"}, "did you mean 'dslr'"),
    ):
        with pytest.raises(InputError, match=message):
            office31.experiments(office31.Office31(**{**one, **bad}))


def test_no_held_out_picture_has_a_twin_among_those_trained_on():
    x = np.arange(40, dtype=np.float32)[:, None]
    x[20:] = x[:20]  # every picture twice, of one class
    whole = ArraySplit(x, np.arange(40, dtype=np.int32) % 2)
    domain = experiments.inputs.images._source(pool("a", ("no", "yes"), whole), 0.3)
    train, test = (domain.split(name).__getitems__(range(len(domain.split(name))))[0] for name in ("train", "test"))
    assert len(train) + len(test) == 40 and 0 < len(test) < 12
    assert not set(train.ravel()) & set(test.ravel())
    assert experiments.inputs.images._source(domain, 0.3) is domain


def test_the_whole_image_is_stored_and_its_centre_enters_the_net():
    options = office31.Office31(weights="", size=28, method=("source_only",), seeds=1)
    geometry, finish = experiments.inputs.images._whole(options)
    image = np.zeros((40, 30, 3), np.uint8)
    image[:, 15:] = 255  # dark on the left, bright on the right
    stored = finish(geometry(image, np.random.default_rng(0)), np.random.default_rng(0))
    assert stored.shape == (32, 32, 3) and stored[0, 0, 0] < 0 < stored[0, -1, 0]
    experiment = office31.experiments(options)[0]
    experiment = dataclasses.replace(experiment, encoder="lenet", bottleneck="none")
    net, uncut = (make_parts(dataclasses.replace(experiment, crop=c), 31).net for c in (experiment.crop, 0))
    batch = jnp.asarray(stored, jnp.float32)[None]
    variables = net.init(jax.random.key(0), batch)
    params, stats = variables["params"], variables.get("batch_stats", {})
    centre = uncut.apply(params, stats, batch[:, 2:30, 2:30])[0]
    np.testing.assert_array_equal(net.apply(params, stats, batch)[0].logits, centre.logits)
    with pytest.raises(InputError, match="at least 28"):
        net.apply(params, stats, batch[:, 5:])


def test_rows_and_views():
    base = ArraySplit(np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3), np.arange(4, dtype=np.int32))
    some = Rows(base, np.array([3, 1]))
    x, y = some.__getitems__([1, 0])
    assert y.tolist() == [1, 3] and some.labels.tolist() == [3, 1] and (x[0] == base.inputs[1]).all()
    assert some.fingerprint() != Rows(base, np.array([1, 3])).fingerprint() != base.fingerprint()
    decoded = []
    for keep in (0, 1 << 20):
        decoded.clear()
        seen = ViewedImages(some, lambda image, rng: decoded.append(1) or image[:1], lambda x, rng: x / 2, keep=keep)
        for _ in range(2):
            x, y = seen.__getitems__(range(2))
            assert x.dtype == np.float32 and y.tolist() == [3, 1]
            np.testing.assert_array_equal(x, base.inputs[[3, 1], :1].astype(np.float32) / 2)
        assert len(decoded) == (2 if keep else 4)
