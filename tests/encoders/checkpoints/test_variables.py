"""Variables to a file and back, in total."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.pretrained import load_variables, save_variables
from tests.contract.cases import classifier

SAMPLE = jnp.zeros((2, 5))


@pytest.fixture(scope="module")
def variables():
    return classifier("vectors").init(jax.random.key(1), SAMPLE)


def test_there_and_back(tmp_path, variables):
    save_variables(tmp_path / "w.safetensors", variables)
    shapes = jax.eval_shape(classifier("vectors").init, jax.random.key(0), SAMPLE)
    loaded = load_variables(tmp_path / "w.safetensors", shapes)
    assert jax.tree.structure(loaded) == jax.tree.structure(dict(variables))
    jax.tree.map(np.testing.assert_array_equal, loaded, dict(variables))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_all_differences_in_one_error(tmp_path, variables):
    save_variables(tmp_path / "w", {"params": {"a": jnp.zeros(3), "b": jnp.zeros((2, 3)), "c": jnp.zeros(1)}})
    like = {"params": {"a": jnp.zeros(3, jnp.int32), "b": jnp.zeros((3, 2)), "d": jnp.zeros(1)}}
    with pytest.raises(InputError) as error:
        load_variables(tmp_path / "w", like)
    for part in ("missing in the file: params/d", "not in the net: params/c", "params/a: float32", "[3, 2] in the net"):
        assert part in str(error.value)


def test_damaged_and_absent_files(tmp_path, variables):
    save_variables(tmp_path / "w", variables)
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-100])
    for name in ("w", "absent"):
        with pytest.raises(InputError, match="complete safetensors"):
            load_variables(tmp_path / name, variables)
    with pytest.raises(InputError, match="folder that exists"):
        save_variables(tmp_path / "no" / "w", variables)
    with pytest.raises(InputError, match="names without"):
        save_variables(tmp_path / "w", {"a/b": jnp.zeros(1)})
