"""Digit protocols: which examples train and test, what the record says of them, and presets by task."""

import json

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import Domain
from dalib.data.benchmarks.facts import read_facts
from dalib.data.digits import GEOMETRIES
from dalib.data.readers.arrays import ArraySplit
from dalib.run.presets import digit_sets
from dalib.run.presets.digits import DIGIT_PRESETS
from dalib.run.program import make_program
from experiments.digits import Digits, digits, experiments, tasks
from experiments.ledger.published import load as published

SIDES = {"mnist": (28, 28, 1), "usps": (16, 16, 1), "mnist_m": (28, 28, 3)}
PAIRS = [(name, method) for name, preset in DIGIT_PRESETS.items() for method in preset.settings]


@pytest.fixture
def files(monkeypatch):
    """Forty images a split in the place of the published files; the wanted subsets are smaller too."""
    rng = np.random.default_rng(0)
    asked = []

    def made(benchmark, data_dir, *, domains):
        asked.append((benchmark, data_dir, domains))
        splits = {
            name: {
                split: ArraySplit(
                    rng.integers(0, 256, (40, *SIDES[name]), np.uint8), np.arange(40, dtype=np.int32) % 10
                )
                for split in ("train", "test")
            }
            for name in domains
        }
        return {name: Domain(name, read_facts("digits").classes[name], splits[name]) for name in domains}

    monkeypatch.setattr(digit_sets, "load", made)
    monkeypatch.setattr(digit_sets, "SUBSETS", {"mnist": 20, "usps": 15})
    return asked


def read(options):
    todo = experiments(options)
    made = digit_sets.reader(options.protocol, size=options.size, geometry=options.geometry, data_dir=options.data_dir)
    return todo, made(todo)


def test_small_protocol_draws_its_training_images_by_seed(files):
    todo, domains = read(Digits(protocol="small", method=("source_only", "dann"), seeds=2, oracle=False))
    assert len(files) == 1 and files[0][2] == ("mnist", "usps")
    by = {(e.task, e.name, e.seed): domains(e) for e in todo}
    first = by["mnist → usps", "source_only", 0]
    assert [len(d.split("train")) for d in first] == [20, 15] and [len(d.split("test")) for d in first] == [40, 40]
    prints = {key: tuple(d.split("train").fingerprint() for d in pair) for key, pair in by.items()}
    same, other = prints["mnist → usps", "dann", 0], prints["mnist → usps", "dann", 1]
    assert same == prints["mnist → usps", "source_only", 0] == prints["usps → mnist", "dann", 0][::-1]
    assert same[0] != other[0] and same[1] != other[1]
    x, y = first[1].split("train").__getitems__(range(15))
    assert x.shape == (15, 28, 28, 1) and x.dtype == np.float32 and x.min() == -1 and x.max() <= 1
    assert (first[1].labels("train") == y).all()


def test_full_protocol_takes_all_and_gives_both_domains_the_colours_of_one(files):
    todo, domains = read(Digits(protocol="full", method=("source_only",), seeds=1, oracle=False))
    assert [e.task for e in todo] == ["mnist → usps", "usps → mnist", "mnist → mnist_m"]
    grey, colour = domains(todo[0]), domains(todo[2])
    assert len(grey[0].split("train")) == 40
    assert [d.split("train").__getitems__([0])[0].shape for d in (*grey, *colour)] == [(1, 28, 28, 1)] * 2 + [
        (1, 28, 28, 3)
    ] * 2
    x = colour[0].split("train").__getitems__([0, 1])[0]
    assert (x[..., 0] == x[..., 2]).all()


def test_records_say_what_the_ledger_compares():
    variants = {(n.variant, n.task, n.split) for n in published() if n.benchmark == "digits"}
    for protocol in ("small", "full"):
        for e in experiments(Digits(protocol=protocol, method=("dann",), seeds=1, oracle=False, geometry="boxed")):
            said = dict(e.protocol)
            assert (said["variant"], e.task, said["split"]) in variants
            assert said.get("USPS geometry") == (GEOMETRIES["boxed"] if "usps" in e.task else None)
    assert all(e.protocol == () for e in experiments(Digits()))


def test_bad_choices_are_found_before_any_file_is_read(tmp_path):
    with pytest.raises(InputError, match="did you mean 'small'"):
        tasks(Digits(protocol="smal"))
    with pytest.raises(InputError, match="did you mean 'usps'"):
        tasks(Digits(protocol="small", source="ups"))
    with pytest.raises(InputError, match="size: got 16"):
        digit_sets.reader("full", size=16, geometry="centred", data_dir=None)
    with pytest.raises(InputError, match="did you mean 'centred'"):
        digits(Digits(protocol="full", geometry="centered", data_dir=tmp_path))
    with pytest.raises(InputError, match=r"(?s)mnist: domain not found.*usps: domain not found"):
        digits(Digits(protocol="full", data_dir=tmp_path, source="mnist", target="usps", out=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(InputError, match="20 of 3 examples"):
        digit_sets.subset(ArraySplit(np.zeros((3, 1)), np.zeros(3, np.int32)), 20, seed=0)


def test_presets_differ_by_task_where_their_source_does():
    methods = ("source_only", "dann", "mdd", "afn")
    grid = Digits(preset="tllib-digits", protocol="full", seeds=1, oracle=False, method=methods)
    rates = {(e.task, e.method): e.recipe.learning_rate for e in experiments(grid)}
    assert rates["mnist → usps", "dann"] == 0.01 and rates["usps → mnist", "dann"] == 0.1
    assert rates["usps → mnist", "mdd"] == 0.01 and rates["usps → mnist", "afn"] == 0.03
    (e, _) = experiments(Digits(protocol="small", preset="lenet", method=("source_only", "shot"), oracle=False))[1::-1]
    assert dict(e.method_options) == {"beta": 0.1, "refresh_every": 60} and e.recipe.learning_rate == 0.01
    more = experiments(Digits(protocol="small", preset="lenet", method=("shot",), options=("shot.beta=0",)))
    assert {dict(e.method_options)["beta"] for e in more if e.method == "shot"} == {0}


@pytest.mark.parametrize(("preset", "method"), PAIRS)
def test_every_preset_makes_a_net_for_28_pixels(preset, method):
    names = tuple(dict.fromkeys(("source_only", method)))
    grid = Digits(protocol="full", preset=preset, method=names, seeds=1, oracle=False, source="usps", target="mnist")
    e = next(e for e in experiments(grid) if e.method == method)
    program = make_program(e, 10)
    state = jax.eval_shape(program.init, jax.random.key(0), jax.ShapeDtypeStruct((2, 28, 28, 1), np.float32))
    assert dict(e.protocol)["preset"] == preset
    wanted = {"dann-paper": (768, 100), "mcd-paper": (768, 100), "shot-digits": (256, 10)}
    shapes = {x.shape for x in jax.tree.leaves(state.params["head"])}
    assert preset not in wanted or wanted[preset] in shapes


@pytest.mark.slow
def test_a_run_end_to_end_states_its_protocol(files, tmp_path, monkeypatch):
    monkeypatch.setattr(digit_sets, "SUBSETS", {"mnist": 36, "usps": 32})  # a batch of the preset
    digits(
        Digits(
            protocol="small",
            preset="lenet",
            preset_steps=False,
            method=("source_only", "shot"),
            source="usps",
            target="mnist",
            steps=2,
            log_every=2,
            evaluate_every=2,
            save_every=2,
            seeds=1,
            oracle=False,
            report=False,
            out=tmp_path,
        )
    )
    config = json.loads((tmp_path / "usps-mnist" / "shot" / "seed-0" / "config.json").read_text())
    said = dict(config["experiment"]["protocol"])
    assert said["variant"] == "2,000 MNIST and 1,800 USPS training images" and said["preset"] == "lenet"
