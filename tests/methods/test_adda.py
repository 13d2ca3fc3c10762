"""ADDA's second stage: what is frozen, what moves, and in which direction."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.encoders import MLP, Bottleneck, Classifier
from dalib.methods import States
from dalib.methods.adversarial.critics import adda
from dalib.methods.parts.nets import Discriminator, discriminate
from dalib.tasks import classification
from dalib.train import init_state, make_forward, make_optimizer, training_step
from tests.contract.cases import batch
from tests.golden import golden, inputs
from tests.methods.passes import FORWARD, discriminator_parameters, loss_of, make_context, make_pass, relative_error

NET = Classifier(MLP((6,)), 3, Bottleneck(width=4, norm=True))


@lru_cache
def two_steps(variant: str, layer: str = "features"):
    """``(variables of stage 1, forward, state before, state after, metrics)``."""
    rng = np.random.default_rng(0)
    variables = jax.jit(lambda key: NET.init(key, jnp.zeros((2, 5))))(jax.random.key(7))
    stats = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 2, x.shape), x.dtype), variables["batch_stats"])
    variables = {"params": variables["params"], "batch_stats": stats}
    method, optimizer = adda(variant=variant, layer=layer, hidden=(8,)), make_optimizer(learning_rate=0.1)
    sample = jax.ShapeDtypeStruct((6, 5), jnp.float32)
    state = init_state(
        jax.random.key(0), NET, method, optimizer, sample, batch_norm=method.needs.batch_norm, variables=variables
    )
    before = state.replace(step=jnp.asarray(5, jnp.int32))
    forward = make_forward(NET, method.needs.batch_norm)
    step = jax.jit(training_step(method, forward, optimizer, total_steps=10, task=classification(3)))
    state, metrics = step(before, batch("vectors"))
    state, metrics = step(state, batch("vectors"))
    return variables, forward, before, state, metrics


def same(a, b) -> bool:
    return all((x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("variant", ["paper", "tllib"])
def test_source_net_is_frozen_and_the_head_kept(variant):
    variables, _, before, after, metrics = two_steps(variant)
    assert same(before.method["source_net"], variables["params"])
    assert same(after.method["source_net"], variables["params"])
    assert same(after.params["head"], variables["params"]["head"])
    assert same(after.model["source"], variables["batch_stats"])
    assert not same(after.model["target"], variables["batch_stats"])
    for group in ("encoder", "bottleneck", "discriminator"):
        assert not same(after.params[group], before.params[group])
    prefix = "discriminator/" if variant == "paper" else ""
    assert 0 <= float(metrics[f"{prefix}adda/domain_accuracy"]) <= 1


def test_on_logits_the_copy_includes_the_head():
    variables, _, before, after, _ = two_steps("paper", "logits")
    assert before.params["discriminator"]["Dense_0"]["kernel"].shape == (3, 8)
    assert same(after.method["source_net"], variables["params"])
    assert not same(after.params["head"], variables["params"]["head"])
    assert not same(after.params["encoder"], variables["params"]["encoder"])
    with pytest.raises(InputError, match="layer"):
        adda(layer="hidden")


def test_the_target_encoder_starts_as_the_source_net():
    variables, forward, before, _, _ = two_steps("paper")
    x = batch("vectors").target.inputs
    target, _ = forward.one(before.params, before.model, x, "target", None, False)
    source, _ = forward.one(before.method["source_net"], before.model, x, "source", None, False)
    expected = NET.apply(variables, x)
    np.testing.assert_array_equal(target.logits, source.logits)
    np.testing.assert_allclose(target.logits, expected.logits, rtol=1e-6)


def losses(params, f_s, f_t, variant="paper"):
    """Values of the updates when the frozen source net gives ``f_s`` and the target encoder ``f_t``."""
    method = adda(variant=variant, hidden=(12, 12), norm=True, reversal=0.5)

    def one(params, model, inputs, domain, key, train):
        assert train == (domain == "target")
        return Outputs({"source": f_s, "target": f_t}[domain]), model

    states, forward = States({}, {"source_net": None, "source_stats": None}), FORWARD._replace(one=one)
    b = make_pass(f_s, f_t).batch
    results = {u.name: loss_of(u, params, states, b, forward, make_context()) for u in method.updates}
    return {name: result.value for name, result in results.items()}


def test_golden():
    with jax.enable_x64(True):
        f_s, f_t = (jnp.asarray(x) for x in inputs("f_s", "f_t"))
        params = {"discriminator": discriminator_parameters("D_feat")}
        value = jax.jit(lambda: losses(params, f_s, f_t)["discriminator"])()
        # TLlib adds the two domains, here it is half of each.
        assert relative_error(2 * value, golden("adda.source").value + golden("adda.target").value) < 1e-10

        def of_target(f_t, variant):
            values = losses(params, f_s, f_t, variant)
            return values["encoder" if variant == "paper" else "adversarial"]

        gradient = jax.jit(jax.grad(of_target), static_argnums=1)
        # Behind reversal with coefficient ½ and the half of the domain loss.
        assert relative_error(-4 * gradient(f_t, "tllib"), golden("adda.target").gradients["f_t"]) < 1e-10
        # Inverted labels: −ln D instead of −ln(1 − D).
        logits, back = jax.vjp(lambda f: logits_alone(params["discriminator"], f), f_t)
        (expected,) = back((jax.nn.sigmoid(logits) - 1) / 8)
        assert relative_error(gradient(f_t, "paper"), expected) < 1e-10


def logits_alone(params, rows):
    return discriminate(Discriminator((12, 12), norm=True), params, rows)


def test_unknown_variant():
    with pytest.raises(InputError, match="variant.*tllip"):
        adda(variant="tllip")


def test_the_frozen_net_keeps_its_statistics_when_the_convention_has_one_set():
    """Under "separate" the target's passes change the shared statistics; the source net must not see them."""
    variables, _, _, _, _ = two_steps("paper")
    method, optimizer = adda(hidden=(8,)), make_optimizer(learning_rate=0.1)
    sample = jax.ShapeDtypeStruct((6, 5), jnp.float32)
    state = init_state(jax.random.key(0), NET, method, optimizer, sample, batch_norm="separate", variables=variables)
    forward, seen = make_forward(NET, "separate"), []

    def watch(params, model, inputs, domain, key, train):
        outputs, new = forward.one(params, model, inputs, domain, key, train)
        seen.append(outputs.features) if domain == "source" else None
        return outputs, new

    shifted = jax.tree.map(lambda x: x + 1, state.model)
    states = States(shifted, state.method)
    loss_of(method.updates[0], state.params, states, batch("vectors"), forward._replace(one=watch), make_context())
    expected = NET.apply(variables, batch("vectors").source.inputs).features
    np.testing.assert_allclose(seen[0], expected, rtol=1e-5, atol=1e-6)
