"""Checkpoints: exact, atomic, and clear about damage."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods import dann
from dalib.train import make_mesh, open_checkpoints
from dalib.train.devices.sharding import replicated
from tests.contract.cases import batch, setup


@pytest.fixture(scope="module")
def states():
    state, step = setup(dann(), "vectors")
    later, _ = jax.jit(step)(state, batch("vectors"))
    return state, later


def same(a, b):
    raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        bool((raw(x) == raw(y)).all()) and x.dtype == y.dtype
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def damage(folder):
    """Cuts every file below a folder to half."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_restores_every_bit_and_keeps_the_last_two(tmp_path, states):
    state, later = states
    with open_checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(state) is None
        for step, value in ((0, state), (5, state), (10, later)):
            checkpoints.save(step, value)
        assert checkpoints.steps() == [5, 10]
        assert same(checkpoints.restore(state), later)
    with open_checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(state)
        assert same(restored, later)
        assert restored.key.dtype == state.key.dtype


def test_restores_onto_another_topology(tmp_path, states):
    state, later = states
    with open_checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, later)
        sharding = replicated(make_mesh(jax.devices()[:4]))
        restored = checkpoints.restore(jax.device_put(state, sharding))
        assert same(jax.device_get(restored.params), jax.device_get(later.params))
        assert jax.tree.leaves(restored.params)[0].sharding == sharding


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, states, caplog):
    state, later = states
    with open_checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, later)
        checkpoints.save(2, state)
    damage(tmp_path / "c" / "2")
    with open_checkpoints(tmp_path / "c") as checkpoints, caplog.at_level(logging.WARNING):
        assert same(checkpoints.restore(state), later)
        assert "step 2" in caplog.text
    damage(tmp_path / "c" / "1")
    with open_checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(InputError, match="none in .* can be read"):
            checkpoints.restore(state)
    assert (tmp_path / "c" / "1").exists()


def test_a_foreign_checkpoint_is_refused(tmp_path, states):
    state, _ = states
    foreign = state.replace(params={**state.params, "head": {"fc": {"kernel": np.zeros((9, 9), np.float32)}}})
    with open_checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(3, jax.tree.map(jnp.asarray, foreign))
        with pytest.raises(InputError, match="what to do"):
            checkpoints.restore(state)
    wider = jax.tree.map(lambda x: jnp.concatenate([x, x]) if x.ndim else x, state.params["head"])
    with open_checkpoints(tmp_path / "d") as checkpoints:
        checkpoints.save(3, state.replace(params={**state.params, "head": wider}))
        with pytest.raises(InputError, match="stored shape"):
            checkpoints.restore(state)
