"""Adapters: nothing changes at the start, each formula by hand, merging is exact, and only the adapter is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib import data
from dalib.core.checks import InputError
from dalib.encoders import ENCODERS, as_encoder, make_classifier
from dalib.methods import dan
from dalib.tasks import classification
from dalib.train import init_state, make_forward, make_optimizer, make_step, put_batch
from dalib.transfer import ADAPTERS, adapted, merged, trained_share, with_adapter
from dalib.transfer.adapters import BASE, flatten

OPTIONS = {"lora": {"rank": 2}, "dora": {"rank": 2}, "bitfit": {}, "ia3": {"pattern": "kernel$"}}
assert OPTIONS.keys() == ADAPTERS.keys()


def small(name="lenet"):
    encoder = as_encoder(ENCODERS[name]())
    inputs = jax.random.normal(jax.random.key(1), (3, 28, 28, 1))
    return encoder, inputs, encoder.init(jax.random.key(0), inputs)


def moved(own):
    """The adapter away from its start."""
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), own)


@pytest.mark.parametrize("name", ADAPTERS)
def test_at_the_start_nothing_changes_and_merging_is_exact(name):
    encoder, inputs, variables = small()
    adapter = ADAPTERS[name](**OPTIONS[name])
    both = with_adapter(variables, adapter, jax.random.key(3))
    plain, _ = encoder.apply(variables["params"], {}, inputs)
    start, _ = adapted(encoder, adapter).apply(both["params"], {}, inputs)
    np.testing.assert_allclose(start.features, plain.features, rtol=1e-5, atol=1e-6)
    both["params"]["adapter"] = moved(both["params"]["adapter"])
    changed, _ = adapted(encoder, adapter).apply(both["params"], {}, inputs)
    assert float(jnp.abs(changed.features - plain.features).max()) > 1e-3
    alone, _ = encoder.apply(merged(both, adapter)["params"], {}, inputs)
    np.testing.assert_allclose(alone.features, changed.features, rtol=1e-6, atol=1e-6)


def test_formulas_by_hand():
    rng = np.random.default_rng(0)
    w, bias = rng.normal(size=(4, 3)), rng.normal(size=3)
    params = {"fc": {"kernel": jnp.asarray(w), "bias": jnp.asarray(bias)}}
    a, b, m = rng.normal(size=(4, 2)), rng.normal(size=(2, 3)), rng.normal(size=3)
    low = {"fc.kernel": {"a": jnp.asarray(a), "b": jnp.asarray(b)}}
    found = ADAPTERS["lora"](rank=2, alpha=3.0).merge(params, low)["fc"]
    np.testing.assert_allclose(found["kernel"], w + 1.5 * a @ b, rtol=1e-5)
    np.testing.assert_array_equal(found["bias"], params["fc"]["bias"])
    full = {"fc.kernel": {**low["fc.kernel"], "magnitude": jnp.asarray(m)}}
    v = w + 1.5 * a @ b
    found = ADAPTERS["dora"](rank=2, alpha=3.0).merge(params, full)["fc"]["kernel"]
    np.testing.assert_allclose(found, m * v / np.linalg.norm(v, axis=0), rtol=1e-5)
    found = ADAPTERS["ia3"](pattern="fc").merge(params, {"fc.kernel": jnp.asarray(m)})["fc"]
    np.testing.assert_allclose(found["kernel"], w * m, rtol=1e-5)
    np.testing.assert_allclose(found["bias"], bias * m, rtol=1e-5)
    found = ADAPTERS["bitfit"]().merge(params, {"fc.bias": jnp.asarray(m)})["fc"]
    np.testing.assert_allclose(found["bias"], bias + m, rtol=1e-5)


def test_a_convolution_is_one_matrix():
    x = jnp.arange(2 * 2 * 3 * 5, dtype=jnp.float32).reshape(2, 2, 3, 5)
    own = ADAPTERS["lora"](rank=2).init(jax.random.key(0), {"conv": {"kernel": x}})
    assert own["conv.kernel"]["a"].shape == (12, 2)
    assert own["conv.kernel"]["b"].shape == (2, 5)
    assert float(jnp.abs(own["conv.kernel"]["a"]).max()) <= 12**-0.5


def test_training_moves_the_adapter_and_the_head_and_keeps_no_state_of_the_base():
    encoder, _, _ = small()
    net = make_classifier(adapted(encoder, ADAPTERS["lora"](rank=2)), 2)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 28, 28, 1)).astype("float32"), np.arange(32) % 2
    source, target = (data.from_arrays(name, {"train": (x + shift, y)}) for name, shift in (("a", 0), ("b", 1)))
    optimizer = make_optimizer(learning_rate=0.05, frozen=(BASE,))
    state = init_state(jax.random.key(0), net, dan(), optimizer, x[:8], batch_norm="joint")
    before = jax.tree.map(np.asarray, state.params)
    step = make_step(dan(), make_forward(net, "joint"), optimizer, total_steps=2, task=classification(2))
    stream = data.paired_stream(source, target, batch_size=8, seed=0)
    for batch in stream.batches(0, 2):
        state, _ = step(state, put_batch(batch))
    after = state.params["encoder"]
    jax.tree.map(np.testing.assert_array_equal, after["base"], before["encoder"]["base"])
    parts = {path: x for path, x in flatten(after["adapter"]).items() if path.endswith(".b")}
    assert len(parts) == 3
    assert all(np.abs(x).max() > 0 for x in parts.values())
    size = sum(x.size for x in jax.tree.leaves(state.optimizer["encoder"]))
    adapter = sum(x.size for x in jax.tree.leaves(after["adapter"]))
    assert adapter <= size < adapter + 10  # momentum of the adapter, and counters
    assert trained_share(after) == pytest.approx(adapter / sum(x.size for x in jax.tree.leaves(after)))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lora", {"rank": 0}, "rank"),
        ("lora", {"rank": 1.5}, "rank"),
        ("dora", {"alpha": -1.0}, "alpha"),
        ("lora", {"pattern": "("}, "regular expression"),
        ("ia3", {"pattern": "nothing"}, "matches none"),
    ],
)
def test_bad_options_are_one_error(name, options, said):
    with pytest.raises(InputError, match=said):
        ADAPTERS[name](**options).init(jax.random.key(0), {"fc": {"kernel": jnp.ones((2, 2))}})
