"""A method's weight: a run maps over it, and at 0 it trains as source-only does, to the bit.

To the bit means in the operations as they are written: programs here are compiled without the backend's optimisations,
which fuse two programs differently and so may round a sum otherwise in its last digit.
"""

import inspect
from functools import lru_cache

import jax
import jax.numpy as jnp
import pytest

from dalib.methods import METHODS
from dalib.methods.base import SUPERVISED
from dalib.tasks import classification
from dalib.train import make_forward, make_optimizer, training_step
from tests.contract.cases import (
    ALL,
    CLASSES,
    STEPS,
    assert_close,
    assert_same_bits,
    batch,
    classifier,
    methods,
    quick_jit,
    setup,
    small_method,
)

WEIGHTED = tuple(name for name in ALL if "weight" in inspect.signature(METHODS[name]).parameters)

NOT_SOURCE_ONLY = {
    "adda": "there is no task loss",
    "m3sda": "two heads a source",
    "mcd": "two heads",
    "mfsan": "a projection and a head for each source",
    "pada": "the task loss is weighted by class",
}
"""Methods with a weight whose weight 0 is something else than source-only, and why."""

OTHER_STATISTICS = ("cc_loss", "fixmatch", "mean_teacher", "uda")
"""Weight 0 trains as source-only does, but the running statistics are those of views of the target."""

SOURCE_ONLY_AT_0 = tuple(name for name in WEIGHTED if name not in NOT_SOURCE_ONLY)
"""Updates of other groups aside, one supervised update + weight · penalty of passes that leave no trace."""


@lru_cache
def weighted(name: str, norm: bool = True):
    """``(state, jitted (weight, state, batch) -> (state, metrics))``; the weight is traced."""
    state, _ = setup(small_method(name), "vectors", norm=norm)
    optimizer = make_optimizer(learning_rate=0.01)

    def run(weight, state, b):
        method = METHODS[name](weight=weight)
        forward = make_forward(classifier("vectors", norm), method.needs.batch_norm)
        return training_step(method, forward, optimizer, total_steps=STEPS, task=classification(CLASSES))(state, b)

    return state, quick_jit(run), run


@lru_cache
def source_only_steps(batch_norm: str, steps: int = 3):
    """The states of source-only under a BatchNorm convention, after each of a few steps."""
    state, step = setup(small_method("source_only"), "vectors", batch_norm=batch_norm, norm=True)
    step, states = quick_jit(step), []
    for seed in range(steps):
        state, _ = step(state, batch("vectors", seed=seed))
        states.append(state)
    return states


@pytest.mark.parametrize("name", methods(WEIGHTED))
def test_vmaps_over_its_weight(name):
    state, alone, run = weighted(name)
    weights = jnp.array([0.0, 0.3, 1.0])
    b = jax.tree.map(jnp.asarray, batch("vectors"))
    states, metrics = quick_jit(jax.vmap(run, in_axes=(0, None, None)))(weights, state, b)
    for i in (0, 2):
        one, one_metrics = alone(weights[i], state, b)
        assert_close(jax.tree.map(lambda x, i=i: x[i], states.params), one.params, rtol=1e-4, atol=1e-5)
        assert_close(jax.tree.map(lambda x, i=i: x[i], metrics), one_metrics, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", methods(SOURCE_ONLY_AT_0))
def test_weight_0_is_source_only_to_the_bit(name):
    """Parameters of the net, their momenta and the batch statistics, over several steps, with BatchNorm in the net."""
    state, step, _ = weighted(name)
    net = [group for group in ("encoder", "bottleneck", "head") if group in state.params]
    for seed, plain in enumerate(source_only_steps(small_method(name).needs.batch_norm)):
        state, _ = step(jnp.float32(0), state, batch("vectors", seed=seed))
        assert_same_bits([state.params[g] for g in net], [plain.params[g] for g in net])
        assert_same_bits([state.optimizer[g] for g in net], [plain.optimizer[g] for g in net])
        if name not in OTHER_STATISTICS:
            assert_same_bits(state.model, plain.model)
    other, _ = step(jnp.float32(1), state, batch("vectors", seed=9))
    assert any((a != b).any() for a, b in zip(*(jax.tree.leaves(s.params) for s in (state, other)), strict=True))


def test_every_weight_is_accounted_for():
    assert set(NOT_SOURCE_ONLY) | set(OTHER_STATISTICS) <= set(WEIGHTED)
    assert {n for n in WEIGHTED if small_method(n).updates == (SUPERVISED,)} <= set(SOURCE_ONLY_AT_0)
