"""Runs whose pretrained encoder is frozen and changed by an adapter."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import ENCODERS, as_encoder
from dalib.encoders.pretrained import load_variables
from dalib.run import run as engine
from dalib.run.config import Experiment, Recipe, asdict
from dalib.run.grid import Grid, expand
from dalib.run.preflight.trace import _warn
from dalib.run.run import run_experiment
from dalib.run.trained import experiment_of

EXPERIMENT = Experiment(
    benchmark="own",
    source="here",
    target="there",
    method="dan",
    seed=0,
    steps=20,
    batch_size=8,
    encoder="mlp",
    bottleneck="none",
    batch_norm="joint",
    recipe=Recipe(learning_rate=0.05),
    weights="default",
    adapter="lora",
    adapter_options=(("rank", 2),),
    encoder_options=(("widths", (5, 4)),),
    evaluate_every=20,
    save_every=20,
)


def pair():
    from dalib import data

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)).astype("float32"), np.arange(32) % 2
    return [data.from_arrays(n, dict.fromkeys(("train", "test"), (x + s, y))) for n, s in (("here", 0), ("there", 1))]


def test_the_base_stays_and_the_adapter_and_the_head_learn(tmp_path, monkeypatch):
    encoder = ENCODERS["mlp"](widths=(5, 4))
    variables = as_encoder(encoder).init(jax.random.key(7), jnp.ones((1, 6)))
    monkeypatch.setattr(engine, "load", lambda name, **how: (encoder, variables))
    folder = run_experiment(EXPERIMENT, *pair(), tmp_path / "run")
    shapes = {"a": (6, 2), "b": (2, 5)}, {"a": (5, 2), "b": (2, 4)}
    own = {f"fc{i + 1}.kernel": {k: jnp.zeros(v) for k, v in parts.items()} for i, parts in enumerate(shapes)}
    head = {"fc": {"kernel": jnp.zeros((4, 2)), "bias": jnp.zeros(2)}}
    like = {"encoder": {"base": variables["params"], "adapter": own}, "head": head, "bottleneck": {}}
    found = load_variables(folder / "weights.safetensors", {"params": like})["params"]
    jax.tree.map(np.testing.assert_array_equal, found["encoder"]["base"], variables["params"])
    assert all(np.abs(parts["b"]).max() > 0 for parts in found["encoder"]["adapter"].values())
    assert experiment_of(asdict(EXPERIMENT)) == EXPERIMENT


def test_bad_adapters_are_one_error_before_anything_is_written(tmp_path):
    for change, said in (
        ({"adapter": "lorra"}, "lora"),
        ({"adapter_options": (("rang", 2),)}, "rank"),
        ({"adapter_options": (("rank", 0),)}, "rank"),
        ({"weights": ""}, "without weights"),
    ):
        with pytest.raises(InputError, match=said):
            run_experiment(replace(EXPERIMENT, **change), *pair(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_names_it():
    options = Grid(method=("dan",), seeds=1, oracle=False, adapter="lora", adapter_options=("rank=4", "alpha=8"))
    (found,) = expand(options, [("here", "there")], weights="default")
    assert (found.adapter, dict(found.adapter_options)) == ("lora", {"rank": 4, "alpha": 8})


def test_statistics_that_move_below_a_frozen_encoder_are_warned_about(monkeypatch, tmp_path, capsys):
    _warn.cache_clear()
    encoder = ENCODERS["mlp"](widths=(5, 4), norm=True)
    variables = as_encoder(encoder).init(jax.random.key(7), jnp.ones((1, 6)))
    monkeypatch.setattr(engine, "load", lambda name, **how: (encoder, variables))
    options = (("norm", True), ("widths", (5, 4)))
    moving = replace(EXPERIMENT, steps=1, log_every=1, evaluate_every=1, save_every=1, encoder_options=options)
    run_experiment(moving, *pair(), tmp_path / "moving")
    assert "--batch-norm frozen" in capsys.readouterr().err
    run_experiment(replace(moving, batch_norm="frozen"), *pair(), tmp_path / "frozen")
    assert "--batch-norm frozen" not in capsys.readouterr().err
