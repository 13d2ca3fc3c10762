"""What statistics of the target are for: contrast and brightness that differ between the domains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Batch, Source, Target
from dalib.encoders import MLP, Classifier
from dalib.methods import States, adabn
from dalib.tasks import classification
from dalib.train import init_state, make_forward, make_optimizer, make_predict, recompute_statistics, training_step
from tests.methods.shifts import blobs, circle


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_targets_statistics_undo_a_change_of_scale_and_offset(seed):
    rng = np.random.default_rng(seed)
    centres = circle(5)
    source, target = blobs(rng, centres, range(5)), blobs(rng, centres, range(5))
    inputs = (0.4 * target.inputs + 1.5).astype(np.float32)
    # One set of variables, scored with the source's statistics and with the target's.
    net, method = Classifier(MLP((32,), norm=True), 5), adabn()
    optimizer = make_optimizer(learning_rate=0.02, kind="adam")
    forward = make_forward(net, method.needs.batch_norm)
    state = init_state(
        jax.random.key(seed), net, method, optimizer, source.inputs[:50], batch_norm=method.needs.batch_norm
    )
    step = jax.jit(training_step(method, forward, optimizer, total_steps=150, task=classification(5)))
    for _ in range(150):
        rows = rng.integers(0, len(source.labels), 50)
        batch = Batch(Source(source.inputs[rows], source.labels[rows]), Target(inputs[rows]))
        state, _ = step(state, batch)
    predict = make_predict(method, forward, "target")

    def accuracy(model):
        return float((predict(state.params, model, jnp.asarray(inputs)).logits.argmax(-1) == target.labels).mean())

    states = States(state.model, state.method)
    calibrated = method.hooks.calibrate(
        state.params, states, lambda: recompute_statistics(net, state.params, state.model["shared"], [inputs])
    )
    assert accuracy(state.model) < 0.7
    assert accuracy(calibrated.model) > 0.95
