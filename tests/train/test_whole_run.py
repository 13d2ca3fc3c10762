"""A whole run as one pure function: the population's numbers; sweeps of traced hyper-parameters; evaluation inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.train import (
    draw_rows,
    make_forward,
    make_population,
    make_predict,
    make_predict_members,
    member_of,
    stack_members,
    whole_run,
)
from tests.contract.cases import classifier
from tests.train.test_population import SIZES, close, member_step, pool, small_dann, taken

SWEEP = [(0.05, 1.0), (0.05, 0.0), (0.01, 1.0)]
"""Learning rate and weight of each member, all of one seed."""


def rows(steps=8):
    return jax.tree.map(lambda x: x[0], taken((5,), 0, steps))


@pytest.fixture(scope="module")
def swept():
    """``(states, metrics, evaluations)`` of the sweep, every member a whole run under one ``vmap``."""
    values = [jnp.asarray(column) for column in zip(*SWEEP, strict=True)]

    def of_member(rate, weight):
        step, init = member_step(learning_rate=rate, weight=weight)
        found = whole_run(step, init(jax.random.key(5)), pool(), rows(), evaluate=norm, every=4)
        return found

    return jax.jit(jax.vmap(of_member))(*values)


def norm(state):
    return {"norm": jnp.sum(state.params["head"]["fc"]["kernel"] ** 2), "step": state.step}


def test_learning_rates_and_weights_are_swept(swept):
    """Every member of the sweep is the run that its own constants make."""
    states, metrics, found = swept
    for i, (rate, weight) in list(enumerate(SWEEP))[1:]:
        step, init = member_step(learning_rate=rate, weight=weight)
        alone, own = make_population(lambda hyper, step=step: step).advance(
            stack_members([jax.jit(init)(jax.random.key(5))]), pool(), taken((5,), 0, 8), {}
        )
        close(member_of(states, i).params, member_of(alone, 0).params)
        np.testing.assert_allclose(metrics["loss/total"][i], own["loss/total"][0], rtol=1e-4)
        np.testing.assert_allclose(found["norm"][i, -1], norm(member_of(alone, 0))["norm"], rtol=1e-4)
    assert metrics["loss/total"].shape == (len(SWEEP), 8)
    assert found["step"].tolist() == [[4, 8]] * len(SWEEP)
    # The members do differ: a hyper-parameter that was lost on the way would go unseen otherwise.
    last = np.asarray(found["norm"][:, -1])
    assert np.ptp(last) > 1e-4 and abs(last[0] - last[1]) > 1e-6


@pytest.mark.slow
def test_a_population_sweeps_its_hyper_parameters():
    def step_of(hyper):
        return member_step(learning_rate=hyper["rate"], weight=hyper["weight"])[0]

    _, init = member_step()
    init = jax.jit(init)
    hyper = {
        name: jnp.asarray(column) for name, column in zip(("rate", "weight"), zip(*SWEEP, strict=True), strict=True)
    }
    states = stack_members([init(jax.random.key(5)) for _ in SWEEP])
    states, _ = make_population(step_of).advance(states, pool(), taken((5,) * len(SWEEP), 0, 8), hyper)
    for i, (rate, weight) in enumerate(SWEEP):
        step, _ = member_step(learning_rate=rate, weight=weight)
        alone, _ = make_population(lambda hyper, step=step: step).advance(
            stack_members([init(jax.random.key(5))]), pool(), taken((5,), 0, 8), {}
        )
        close(member_of(states, i).params, member_of(alone, 0).params)


def test_rows_drawn_on_the_device_go_through_every_epoch():
    drawn = jax.jit(lambda key: draw_rows(key, *SIZES, batch_size=5, steps=12))(jax.random.key(0))
    source, target = np.asarray(drawn.source).ravel(), np.asarray(drawn.target).ravel()
    n, m = SIZES
    for epoch in range(3):
        assert sorted(source[epoch * n : (epoch + 1) * n]) == list(range(n))
    for epoch in range(4):
        assert sorted(target[epoch * m : (epoch + 1) * m]) == list(range(n, n + m))
    assert (source[:n] != source[n : 2 * n]).any()
    with pytest.raises(InputError, match="batch_size: got 16"):
        draw_rows(jax.random.key(0), *SIZES, batch_size=16, steps=2)


def test_evaluations_must_divide_the_steps():
    step, init = member_step()
    with pytest.raises(InputError, match="a divisor of the 8 steps"):
        whole_run(step, init(jax.random.key(0)), pool(), rows(), every=3)


def test_members_predict_what_each_would_alone(swept):
    states, _, _ = swept
    forward, method = make_forward(classifier("vectors"), "joint"), small_dann(1.0)
    at = np.array([[[0, 1], [2, 3]], [[34, 33], [1, 1]], [[5, 5], [5, 6]]])
    logits = make_predict_members(method, forward, "target")(states, pool().inputs, at)
    predict = make_predict(method, forward, "target")
    for i in range(len(SWEEP)):
        member = member_of(states, i)
        alone = predict(member.params, member.model, pool().inputs[at[i].ravel()]).logits
        np.testing.assert_allclose(logits[i].reshape(alone.shape), alone, rtol=1e-4, atol=1e-5)
