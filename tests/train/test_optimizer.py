"""Optimiser groups against optax's own optimisers, and what frozen means."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Time
from dalib.train import SCHEDULES, make_optimizer
from dalib.train.optimizer import inverse

PARAMS = {
    "encoder": {"conv1": {"kernel": jnp.array([1.0, -2.0])}, "conv2": {"kernel": jnp.array([0.5, 3.0])}},
    "head": {"kernel": jnp.array([0.3, -0.7])},
}


def at(progress):
    """The time of a run of 10,000 steps at this progress."""
    return Time(jnp.int32(progress * 10_000), jnp.float32(progress))


def gradient(params):
    return jax.tree.map(lambda p: 0.1 * p**2 + 1.0, params)


def run(optimizer, steps=5, params=PARAMS, total=10):
    state = optimizer.init(params)
    for i in range(steps):
        new = dict(params)
        for g in params:
            new[g], state[g] = optimizer.update(g, gradient(params[g]), state[g], params[g], at(i / total))
        params = new
    return params, state


def reference(tx, params, steps=5):
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("settings", "tx"),
    [
        ({"momentum": 0.9}, optax.sgd(0.05, momentum=0.9)),
        ({"momentum": 0.9, "nesterov": True}, optax.sgd(0.05, momentum=0.9, nesterov=True)),
        ({"momentum": 0.0}, optax.sgd(0.05)),
        (
            {"momentum": 0.9, "weight_decay": 0.1},
            optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05, momentum=0.9)),
        ),
        ({"kind": "adam"}, optax.adam(0.05)),
        ({"kind": "adamw", "weight_decay": 0.1}, optax.adamw(0.05, weight_decay=0.1)),
    ],
)
def test_agrees_with_optax(settings, tx):
    ours, _ = run(make_optimizer(learning_rate=0.05, **settings))
    theirs = reference(tx, PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


def test_multiplier_is_a_smaller_rate_of_that_group_alone():
    ours, _ = run(make_optimizer(learning_rate=0.05, multipliers={"encoder": 0.1}))
    slow, fast = reference(optax.sgd(0.005, momentum=0.9), PARAMS), reference(optax.sgd(0.05, momentum=0.9), PARAMS)
    np.testing.assert_allclose(ours["encoder"]["conv1"]["kernel"], slow["encoder"]["conv1"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(ours["head"]["kernel"], fast["head"]["kernel"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_frozen_never_moves_not_even_by_decay_and_has_no_moments(kind):
    optimizer = make_optimizer(learning_rate=0.05, kind=kind, weight_decay=0.1, frozen=["^encoder/conv1"])
    ours, state = run(optimizer)
    assert (ours["encoder"]["conv1"]["kernel"] == PARAMS["encoder"]["conv1"]["kernel"]).all()
    assert (ours["encoder"]["conv2"]["kernel"] != PARAMS["encoder"]["conv2"]["kernel"]).all()
    assert (ours["head"]["kernel"] != PARAMS["head"]["kernel"]).all()
    moments = [x for x in jax.tree.leaves(state["encoder"]) if x.shape == (2,)]
    assert len(moments) == {"sgd": 1, "adam": 2, "adamw": 2}[kind]


def test_schedules():
    assert all(float(s(at(0))) == 1 for s in SCHEDULES.values())
    np.testing.assert_allclose(SCHEDULES["dann"](at(1)), 11**-0.75, rtol=1e-6)
    np.testing.assert_allclose(SCHEDULES["cosine"](at(1)), 0, atol=1e-7)
    np.testing.assert_allclose(inverse(gamma=1e-3, total_steps=10_000)(at(0.3)), 4**-0.75, rtol=1e-6)
    optimizer = make_optimizer(learning_rate=0.05, schedule=SCHEDULES["dann"])
    np.testing.assert_allclose(optimizer.rate(at(1)), 0.05 * 11**-0.75, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"multipliers": {"encoder": 0.0}}, "frozen="),
        ({"kind": "sdg"}, "did you mean 'sgd'"),
        ({"learning_rate": -1.0}, "> 0"),
        ({"frozen": ["^encoder/conv9"]}, "matches no parameter"),
        ({"multipliers": {"encodr": 0.1}}, "no parameter group"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        make_optimizer(**{"learning_rate": 0.05, **settings}).init(PARAMS)
