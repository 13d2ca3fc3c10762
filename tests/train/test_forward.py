"""The five BatchNorm conventions against running means worked out by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Outputs, Source, Target
from dalib.encoders import Classifier
from dalib.methods import source_only
from dalib.train import CONVENTIONS, init_state, make_forward, make_optimizer, make_predict, recompute_statistics


class ConvNet(nn.Module):
    """One 1×1 convolution that passes its input on, then BatchNorm."""

    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(2, (1, 1), use_bias=False, kernel_init=lambda *_: jnp.eye(2)[None, None])(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=self.bn_momentum, epsilon=1e-5)(x)
        x = nn.Dropout(0.5)(x, deterministic=not train)
        return Outputs(x.mean((1, 2)), None, {"map": x})


NET = Classifier(ConvNet(), 2)
rng = np.random.default_rng(0)
BATCH = Batch(
    Source(rng.normal(1, 1, (6, 3, 3, 2)).astype(np.float32), np.array([0, 1] * 3, np.int32)),
    Target(rng.normal(4, 2, (4, 3, 3, 2)).astype(np.float32)),
)
S, T = BATCH.source.inputs.mean((0, 1, 2)), BATCH.target.inputs.mean((0, 1, 2))
MIXED = np.concatenate([BATCH.source.inputs, BATCH.target.inputs]).mean((0, 1, 2))
EXPECTED = {
    "joint": {"shared": 0.1 * MIXED},
    "separate": {"shared": 0.9 * 0.1 * S + 0.1 * T},
    "source": {"shared": 0.1 * S},
    "domain": {"source": 0.1 * S, "target": 0.1 * T},
    "frozen": {"shared": 0 * S},
}


def start(convention):
    optimizer = make_optimizer(learning_rate=0.1)
    state = init_state(
        jax.random.key(0), NET, source_only(), optimizer, jnp.asarray(BATCH.source.inputs), batch_norm=convention
    )
    return state, make_forward(NET, convention)


def running_mean(stats):
    return np.asarray(jax.tree.leaves({k: v for k, v in stats["encoder"]["BatchNorm_0"].items() if k == "mean"})[0])


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_running_means_by_hand(convention):
    state, forward = start(convention)
    outputs, model = jax.jit(forward.pair)(state.params, state.model, BATCH, jax.random.key(1))
    assert {k: v.shape for k, v in EXPECTED[convention].items()} == {k: (2,) for k in model}
    for slot, expected in EXPECTED[convention].items():
        np.testing.assert_allclose(running_mean(model[slot]), expected, rtol=1e-5, atol=1e-7)
    assert outputs.source.features.shape == (6, 2) and outputs.target.features.shape == (4, 2)


def test_equal_batches_are_interleaved_without_changing_anything():
    even = Batch(Source(BATCH.source.inputs[:4], BATCH.source.labels[:4]), BATCH.target)
    net = Classifier(ConvNet(), 2)
    state, _ = start("joint")
    forward = make_forward(net, "frozen")
    outputs, _ = forward.pair(state.params, state.model, even, jax.random.key(1))
    for side, inputs in ((outputs.source, even.source.inputs), (outputs.target, even.target.inputs)):
        kept = np.asarray(side.hidden["map"]) != 0
        np.testing.assert_allclose(
            np.asarray(side.hidden["map"])[kept], 2 * inputs[kept] / np.sqrt(1 + 1e-5), rtol=1e-5
        )


def test_frozen_keeps_dropout_switched_on():
    state, forward = start("frozen")
    outputs, _ = forward.pair(state.params, state.model, BATCH, jax.random.key(1))
    dropped = np.asarray(outputs.source.hidden["map"]) == 0
    assert 0.2 < dropped.mean() < 0.8


def test_evaluation_changes_nothing_and_must_name_a_domain():
    state, forward = start("domain")
    _, model = forward.pair(state.params, state.model, BATCH, jax.random.key(1))
    _, after = forward.one(state.params, model, BATCH.target.inputs, "target", None, False)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), model, after))
    on_source = make_predict(source_only(), forward, "source")(state.params, model, BATCH.target.inputs)
    on_target = make_predict(source_only(), forward, "target")(state.params, model, BATCH.target.inputs)
    assert not np.allclose(on_source.features, on_target.features)
    with pytest.raises(InputError, match="amazon"):
        forward.one(state.params, model, BATCH.target.inputs, "amazon", None, False)


def test_unknown_convention():
    with pytest.raises(InputError, match="did you mean 'joint'"):
        make_forward(NET, "jointt")


def test_recomputed_statistics_are_those_of_the_whole_set():
    state, _ = start("source")
    x = BATCH.target.inputs
    stats = recompute_statistics(NET, state.params, state.model["shared"], [x[:3], x[3:]])
    layer = stats["encoder"]["BatchNorm_0"]
    np.testing.assert_allclose(layer["mean"], x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer["var"], x.var((0, 1, 2)), rtol=1e-4)
    with pytest.raises(InputError, match="no BatchNorm"):
        recompute_statistics(NET, state.params, {}, [x])
    with pytest.raises(InputError, match="got none"):
        recompute_statistics(NET, state.params, state.model["shared"], [])
