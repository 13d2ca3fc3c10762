"""Protocol presets: every one names what exists, and reaches the experiment whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.registry import make_bottleneck
from dalib.methods import METHODS
from dalib.run.config import Experiment, flat
from dalib.run.own.options import Own
from dalib.run.own.plan import plan
from dalib.run.presets.protocols import PROTOCOLS, settings
from dalib.run.program import make_program

CASES = [(name, method) for name, protocol in PROTOCOLS.items() for method in protocol.settings]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_presets_are_experiments(name, method):
    found = settings(name, method)
    width = {} if found.width is None else {"width": found.width}
    assert method in METHODS and METHODS[method]().needs.setting == "closed"
    assert (make_bottleneck(found.bottleneck, **width) is None) == (found.width is None)
    Experiment(
        benchmark=PROTOCOLS[name].benchmark,
        source="a",
        target="b",
        method=method,
        seed=0,
        steps=found.steps,
        batch_size=found.batch_size,
        encoder="resnet50",
        bottleneck=found.bottleneck,
        bottleneck_options=flat(width),
        batch_norm=found.batch_norm,
        recipe=found.recipe,
    ).check()


def test_facts_of_the_sources():
    assert settings("tllib", "mcc").batch_size == 36 and settings("tllib", "mcc").recipe.learning_rate == 0.005
    assert settings("deepda", "dan").recipe.gamma == 3e-4 and not settings("deepda", "dan").recipe.nesterov
    assert settings("adda-paper", "adda").recipe.momentum == 0.5
    assert PROTOCOLS["shot"].seeds == 3 and PROTOCOLS["tllib"].selection == "oracle"


def test_every_preset_brings_its_source_only_row():
    assert all("source_only" in protocol.settings for protocol in PROTOCOLS.values())


def test_unknown_presets_and_methods():
    with pytest.raises(InputError, match="did you mean 'tllib'"):
        settings("tlib", "dann")
    with pytest.raises(InputError, match="settings for"):
        settings("dann-paper", "cdan")
    with pytest.raises(InputError, match="settings for"):
        plan(Own(source=("a.npz",), target="b.npz", method=("cdan",), preset="dann-paper"))


def test_the_inverse_schedule_decays_by_the_step():
    """After i steps of SGD with gradient g the parameter moved by rate · g · Σ (1 + γ i)^−0.75."""
    from dalib.run.config import Recipe

    recipe = Recipe(learning_rate=0.5, momentum=0.0, schedule="inverse", gamma=0.3)
    experiment = Experiment("toy", "a", "b", "source_only", 0, 4, 2, "mlp", "none", "source", recipe)
    experiment = Experiment(**{**vars(experiment), "encoder_options": (("widths", (2,)),)})
    program = make_program(experiment, 2)
    from dalib.core.types import Batch, Source, Target
    from dalib.train import put_batch

    x, y = np.ones((2, 1), np.float32), np.array([0, 0], np.int32)
    state = program.init(jax.random.key(0), jnp.asarray(x))
    biases, probabilities = [], []
    for _ in range(4):
        logits = program.predict_source(state.params, state.model, jnp.asarray(x)).logits
        probabilities.append(float(jax.nn.softmax(logits)[0, 0]))
        biases.append(float(state.params["head"]["fc"]["bias"][0]))
        state, _ = program.step(state, put_batch(Batch(Source(x, y), Target(x))))
    moved = np.diff(biases)
    expected = [0.5 * (1 + 0.3 * i) ** -0.75 * (1 - probabilities[i]) for i in range(3)]
    np.testing.assert_allclose(moved, expected, rtol=1e-4)
