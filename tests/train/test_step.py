"""The step: directions of gradients, groups of updates, one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Source, Target
from dalib.methods import Method, Update, combine, dan, dann, deep_coral, mcd
from dalib.methods.base import SUPERVISED, term, trained_groups
from dalib.methods.view import States
from dalib.tasks import classification
from dalib.train import init_state, make_forward, make_optimizer, make_step, put_batch
from tests.contract.cases import CLASSES, batch, classifier, setup
from tests.methods.passes import Context, joined


def loss_gradients(method, *, step=5):
    """Gradient of the first update's loss by group, and of the task loss alone."""
    state, _ = setup(method, "images")
    forward = make_forward(classifier("images"), method.needs.batch_norm)
    context = Context(jnp.int32(step), jnp.float32(step / 10), jax.random.key(3), classification(CLASSES))

    def loss(params, m):
        states = States(state.model, state.method)
        return joined(m, m.updates[0], params, states, batch("images"), forward, context).value

    return jax.grad(loss)(state.params, method), jax.grad(loss)(state.params, method._replace(penalties=()))


def difference(tree, other):
    return jnp.concatenate(
        [(a - b).ravel() for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)]
    )


def test_reversal_turns_the_encoders_domain_gradient_and_not_the_discriminators():
    reversed_, task = loss_gradients(dann(reversal=1.0))
    # reversal = −1 makes the reversal an identity: the plain gradient of the domain loss.
    plain, _ = loss_gradients(dann(reversal=lambda view: -1.0))
    for group in ("encoder", "bottleneck"):
        turned, straight = difference(reversed_[group], task[group]), difference(plain[group], task[group])
        assert float(jnp.abs(straight).max()) > 1e-4
        np.testing.assert_allclose(turned, -straight, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(difference(reversed_["head"], task["head"]), 0, atol=1e-7)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        reversed_["discriminator"],
        plain["discriminator"],
    )


def test_at_step_0_the_encoder_feels_no_adversary_and_the_discriminator_learns():
    gradients, task = loss_gradients(dann(), step=0)
    assert float(jnp.abs(difference(gradients["encoder"], task["encoder"])).max()) == 0
    assert any(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(gradients["discriminator"]))


def test_gradient_of_the_joined_loss_matches_finite_differences():
    method = deep_coral(weight=30.0, layer="features")
    state, _ = setup(method, "vectors")
    forward = make_forward(classifier("vectors"), "joint")
    context = Context(jnp.int32(5), jnp.float32(0.5), jax.random.key(3), classification(CLASSES))
    with jax.enable_x64():
        double = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)  # noqa: E731
        params, states = double(state.params), States(double(state.model), {})
        b = batch("vectors")
        b = Batch(Source(double(b.source.inputs), b.source.labels), Target(double(b.target.inputs)))
        direction = jax.tree.map(lambda p: jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)

        @jax.jit
        def loss(t):
            moved = jax.tree.map(lambda p, d: p + t * d, params, direction)
            return joined(method, SUPERVISED, moved, states, b, forward, context).value

        slope, numeric = jax.grad(loss)(0.0), (loss(1e-6) - loss(-1e-6)) / 2e-6
        assert abs(float(slope)) > 1e-2
        np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_each_update_of_mcd_trains_its_groups_only():
    method = mcd(repeats=2)
    state, _ = setup(method, "vectors")
    expected = {
        "A": {"encoder", "head", "second_head"},
        "B": {"head", "second_head"},
        "C": {"encoder"},
    }
    assert {u.name: set(trained_groups(u, state.params)) for u in method.updates} == expected
    for update in method.updates:
        alone = method._replace(updates=(update,))
        _, step = setup(alone, "vectors")
        new, _ = jax.jit(step)(state, batch("vectors"))
        for group in state.params:
            same = all(
                bool((a == b).all())
                for a, b in zip(jax.tree.leaves(state.params[group]), jax.tree.leaves(new.params[group]), strict=True)
            )
            assert same == (group not in expected[update.name]), (update.name, group)


def test_repeated_updates_do_not_run_through_the_schedule_faster():
    state, step = setup(mcd(repeats=3), "vectors")
    new, metrics = jax.jit(step)(state, batch("vectors"))
    assert int(new.step) == int(state.step) + 1
    np.testing.assert_allclose(metrics["learning_rate"], 0.01, rtol=1e-6)


def test_one_compilation_serves_a_whole_schedule():
    net, method = classifier("vectors"), dann()
    optimizer = make_optimizer(learning_rate=0.1)
    b = put_batch(batch("vectors"))
    state = init_state(jax.random.key(0), net, method, optimizer, b.source.inputs, batch_norm="joint")
    step = make_step(method, make_forward(net, "joint"), optimizer, total_steps=10, task=classification(CLASSES))
    reversal = []
    for _ in range(4):
        state, metrics = step(state, b)
        reversal.append(float(metrics["dann/reversal"]))
    assert step._cache_size() == 1
    np.testing.assert_allclose(reversal, [2 / (1 + np.exp(-10 * p)) - 1 for p in (0, 0.1, 0.2, 0.3)], rtol=1e-5)


def test_caller_keeps_its_pretrained_variables():
    net, method = classifier("vectors"), dan()
    b = put_batch(batch("vectors"))
    variables = net.init(jax.random.key(5), b.source.inputs)
    optimizer = make_optimizer(learning_rate=0.1)
    state = init_state(
        jax.random.key(0), net, method, optimizer, b.source.inputs, batch_norm="domain", variables=variables
    )
    step = make_step(method, make_forward(net, "domain"), optimizer, total_steps=10, task=classification(CLASSES))
    step(state, b)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(variables))


def test_combine_refuses_what_it_can_not_add():
    with pytest.raises(InputError, match="different names"):
        combine(dan(), dan(weight=2.0))
    with pytest.raises(InputError, match="mcd and mcd2 each replace the supervised loss"):
        combine(mcd(), mcd()._replace(name="mcd2"))
    lonely = Method(
        "lonely", updates=(Update("u", lambda view: (jnp.float32(0), view, {})), SUPERVISED._replace(joins=False))
    )
    with pytest.raises(InputError, match="no common pass"):
        state, step = setup(combine(lonely, dan()), "vectors")
        step(state, batch("vectors"))
    with pytest.raises(InputError, match="scalar"):
        state, step = setup(term("rows", lambda view: view.target.features[:, 0]), "vectors")
        step(state, batch("vectors"))
    unknown = Method("m", updates=(SUPERVISED._replace(trains=("heed",)),))
    with pytest.raises(InputError, match="did you mean 'head'"):
        state, step = setup(unknown, "vectors")
        step(state, batch("vectors"))
