"""Targets with classes of their own: outputs, the unknown class in predictions and records, and its scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.methods import METHODS
from dalib.report import load_runs
from dalib.run.config import Experiment, Recipe
from dalib.run.own.adapt import Own, own
from dalib.run.program import make_program, outputs_of, target_metrics


def experiment(**options):
    settings = {
        "benchmark": "b",
        "source": "a",
        "target": "t",
        "method": "osbp",
        "seed": 0,
        "steps": 2,
        "batch_size": 4,
        "encoder": "mlp",
        "bottleneck": "none",
        "batch_norm": "source",
        "recipe": Recipe(),
        "relation": "open",
        "encoder_options": (("widths", (4,)),),
    }
    return Experiment(**{**settings, **options})


@pytest.mark.parametrize(("method", "outputs"), [("osbp", 4), ("ovanet", 3), ("source_only", 3)])
def test_every_method_predicts_one_class_more(method, outputs):
    mine = experiment(method=method, rejection=0.0 if method != "source_only" else 0.9)
    mine.check()
    assert outputs_of(mine, 3, METHODS[method]()) == outputs
    program = make_program(mine, 3)
    state = program.init(jax.random.key(0), jnp.zeros((2, 5)))
    head = jax.tree.leaves(state.params["head"])
    assert {leaf.shape[-1] for leaf in head} == {outputs}
    logits = program.predict_target(state.params, state.model, jnp.ones((2, 5))).logits
    assert logits.shape == (2, 4)
    if method == "source_only":  # a fresh net is sure of nothing
        assert (logits.argmax(-1) == 3).all()


def test_scores_of_an_open_target():
    confusion = np.array([[8, 0, 2], [0, 6, 4], [1, 1, 8]])
    found = target_metrics(confusion, experiment())
    assert found["os_star"] == pytest.approx(0.7) and found["unknown"] == pytest.approx(0.8)
    assert found["h_score"] == pytest.approx(2 * 0.7 * 0.8 / 1.5)
    assert target_metrics(confusion, experiment(relation="closed")) == {}
    assert target_metrics(np.diag([3, 3, 0]), experiment()) == {}


@pytest.mark.slow
def test_own_data_with_unknown_classes(tmp_path):
    rng = np.random.default_rng(0)

    def archive(name, classes, n):
        y = np.resize(classes, n)
        x = rng.normal(size=(n, 6)) * 0.3
        x[np.arange(n), y] += 3
        np.savez(tmp_path / name, x=x, y=y)
        return str(tmp_path / name)

    options = Own(
        source=(archive("a.npz", (0, 1, 2), 60),),
        target=archive("t.npz", (0, 1, 3, 4), 80),
        relation="universal",
        method=("ovanet", "dann"),
        encoder_options=("encoder.widths=[16]",),
        seeds=1,
        steps=60,
        batch_size=16,
        evaluate_every=20,
        save_every=60,
        recipe=Recipe(learning_rate=0.05),
        scale="none",
        out=tmp_path / "out",
    )
    own(options)
    runs = {run.name: run for run in load_runs(tmp_path / "out")}
    assert set(runs) == {"source_only", "ovanet", "dann"}
    assert runs["ovanet"].class_names == ("0", "1", "2", "unknown")
    assert runs["dann"].experiment["rejection"] == 0.8 and "rejection" not in runs["ovanet"].experiment
    last = [event for event in runs["ovanet"].evaluations if event.oracle][-1]
    assert last.metrics["h_score"] > 0.5
    assert "Target test h score" in (next((tmp_path / "out").rglob("report.html"))).read_text()
