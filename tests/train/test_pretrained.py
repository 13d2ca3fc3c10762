"""Training that starts from variables of the encoder alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Array, Outputs
from dalib.encoders import MLP, Classifier
from dalib.methods import dan
from dalib.train import init_state, make_optimizer

SAMPLE = jnp.zeros((4, 5))


class Normed(nn.Module):
    """One layer and BatchNorm."""

    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        return Outputs(nn.BatchNorm(use_running_average=not train, name="bn")(nn.Dense(3, name="fc")(inputs)))


def state(net, encoder=None, batch_norm="joint"):
    method, optimizer = dan(), make_optimizer(learning_rate=0.1)
    init = lambda key, given: init_state(key, net, method, optimizer, SAMPLE, batch_norm=batch_norm, encoder=given)  # noqa: E731
    return jax.jit(init)(jax.random.key(0), encoder)


@pytest.mark.parametrize("batch_norm", ["domain"])
def test_the_encoder_is_replaced_and_nothing_else(batch_norm):
    given = Normed().init(jax.random.key(7), SAMPLE)
    given = {**given, "batch_stats": jax.tree.map(lambda x: x + 2, given["batch_stats"])}
    net = Classifier(Normed(), num_classes=3)
    drawn, begun = state(net, batch_norm=batch_norm), state(net, given, batch_norm)
    jax.tree.map(np.testing.assert_array_equal, begun.params["encoder"], given["params"])
    for statistics in begun.model.values():
        jax.tree.map(np.testing.assert_array_equal, statistics["encoder"], given["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, begun.params["head"], drawn.params["head"])
    assert not np.array_equal(begun.params["encoder"]["fc"]["kernel"], drawn.params["encoder"]["fc"]["kernel"])
    assert jax.tree.structure(begun) == jax.tree.structure(drawn)


def test_all_differences_in_one_error():
    given = Normed().init(jax.random.key(7), jnp.zeros((1, 6)))
    with pytest.raises(InputError) as error:
        state(Classifier(Normed(), num_classes=3), {"params": {**given["params"], "more": {"bias": jnp.zeros(1)}}})
    for part in (
        "params/fc/kernel: float32[5, 3] in the net, float32[6, 3] in encoder",
        "params/more/bias: float32[1] in encoder, not in the net",
        "batch_stats/bn/mean: float32[3] in the net, missing",
    ):
        assert part in str(error.value), error.value


def test_an_encoder_without_batch_norm():
    given = MLP((4,)).init(jax.random.key(7), SAMPLE)
    begun = state(Classifier(MLP((4,)), num_classes=2), {**given, "batch_stats": {}})
    jax.tree.map(np.testing.assert_array_equal, begun.params["encoder"], given["params"])
