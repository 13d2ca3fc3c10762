"""How methods add up: one main loss, all penalties, all further updates, and nothing shared but the net."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.methods import METHODS, combine
from dalib.methods.base import SUPERVISED, Hooks, Method, term, trained_groups
from dalib.methods.view import Look, States
from tests.contract.cases import assert_close, assert_same_bits, batch, leaves, moved_groups, quick_jit, setup
from tests.methods.passes import make_spec

SMALL = {"hidden": (4,)}
NET = {"encoder", "head"}


def method(name: str, **settings) -> Method:
    return METHODS[name](**settings)


def after_one_step(total: Method, kind: str = "vectors", **settings):
    """``(state before, state after, metrics)``."""
    state, step = setup(total, kind, **settings)
    new, metrics = quick_jit(step)(state, batch(kind))
    return state, new, metrics


def trained_by(total: Method, params) -> dict[str, set[str]]:
    return {u.name: set(trained_groups(u, params)) for u in total.updates}


def test_a_term_joins_the_main_update_of_mcd():
    total = combine(method("mcd", repeats=2), method("dan", weight=0.5), batch_norm="separate")
    state, new, metrics = after_one_step(total)
    second = {"mcd/second_head"}
    assert trained_by(total, state.params) == {"A": NET | second, "B": {"head"} | second, "C": {"encoder"}}
    assert {"A/loss/dan", "B/loss/mcd", "C/loss/mcd"} <= set(metrics) and "B/loss/dan" not in metrics
    expected = metrics["A/loss/task"] + 0.5 * metrics["A/loss/dan"]
    np.testing.assert_allclose(metrics["A/loss/total"], expected, rtol=1e-5)
    assert moved_groups(state.params, new.params) == NET | second
    assert total.hooks.predict is not None


def test_two_penalties_keep_their_parameters_apart():
    dann, mdd = method("dann", weight=0.7, **SMALL), method("mdd", weight=0.3)
    total = combine(dann, mdd)
    state, new, metrics = after_one_step(total)
    assert total.updates == (SUPERVISED,)
    own = {"dann/discriminator", "mdd/adversary"}
    assert moved_groups(state.params, new.params) == NET | own == set(state.params)
    parts = metrics["loss/task"] + 0.7 * metrics["loss/dann"] + 0.3 * metrics["loss/mdd"]
    np.testing.assert_allclose(metrics["loss/total"], parts, rtol=1e-5)


def test_further_updates_all_run_and_train_their_own_groups_alone():
    confusion, wdgrl = method("confusion", **SMALL), method("wdgrl", hidden=(3,), critic_steps=2)
    total = combine(confusion, wdgrl)
    state, _, metrics = after_one_step(total)
    assert trained_by(total, state.params) == {
        "discriminator": {"confusion/discriminator"},
        "wdgrl/critic": {"wdgrl/critic"},
        "task": NET,
    }
    assert {"discriminator/loss/domain", "wdgrl/critic/loss/critic", "task/loss/confusion", "task/loss/wdgrl"} <= set(
        metrics
    )
    assert [u.repeats for u in total.updates] == [1, 2, 1]
    for i, update in enumerate(total.updates):
        # The update by itself, as the main one of nothing.
        _, step = setup(total._replace(updates=(update,)), "vectors")
        new, _ = quick_jit(step)(state, batch("vectors"))
        assert moved_groups(state.params, new.params) == trained_by(total, state.params)[update.name], i


@pytest.mark.parametrize("order", [0, 1])
def test_a_main_update_of_everything_leaves_a_critic_to_its_own_update(order):
    """PADA's main update trains everything; WDGRL's critic must not follow it."""
    parts = method("pada", **SMALL), method("wdgrl", hidden=(3,), critic_steps=1)
    total = combine(*parts[:: 1 - 2 * order])
    state, _ = setup(total, "vectors")
    trained = trained_by(total, state.params)
    assert trained["supervised"] == NET | {"pada/discriminator"}
    assert trained["wdgrl/critic"] == {"wdgrl/critic"}


def test_two_main_losses_exclude_each_other():
    with pytest.raises(InputError, match="mcd and m3sda each replace the supervised loss"):
        combine(method("mcd"), method("m3sda"))
    twice = SUPERVISED._replace(gradient=lambda f, trained: f(trained))
    sharp = Method("sharp", updates=(twice,))
    with pytest.raises(InputError, match="mcd and sharp each replace"):
        combine(method("mcd"), method("dan"), sharp)


def test_parts_of_different_batch_norms_need_one_by_argument():
    parts = method("mcd"), method("dan"), method("source_only")
    with pytest.raises(InputError, match=r"(?s)batch_norm.*mcd \(separate\), dan \(joint\), source_only \(source\)"):
        combine(*parts)
    assert combine(*parts, batch_norm="domain").needs.batch_norm == "domain"
    assert combine(method("dan"), method("dann")).needs.batch_norm == "joint"


def test_states_are_kept_apart():
    cdan, pada = method("cdan", randomized=5, **SMALL), method("pada", **SMALL)
    total = combine(cdan, pada)
    params, state = total.init(jax.random.key(0), make_spec())
    assert set(params) == {"cdan/discriminator", "pada/discriminator"}
    assert set(state) == {"cdan", "pada"}
    assert set(state["cdan"]) == {"features", "predictions"} and "class_weights" in state["pada"]
    # What PADA's look at the target changes is PADA's alone.
    look = Look(lambda domain: Outputs(jnp.eye(5), 2 * jnp.eye(5)[:3]), None, None)
    for _ in range(2):
        new = total.hooks.refresh(params, States({}, state), look)
        assert_same_bits(new.method["cdan"], state["cdan"])
        assert int(new.method["pada"]["refreshes"]) == int(state["pada"]["refreshes"]) + 1
        state = new.method
    assert np.any(state["pada"]["class_weights"] != 1)


def test_randomness_is_by_position():
    """A part draws from its position, whatever its neighbours are."""
    noise = lambda name: term(name, lambda view: jax.random.normal(view.key), weight=0.0)  # noqa: E731

    def drawn(*names):
        _, _, metrics = after_one_step(combine(*map(noise, names)))
        return [float(metrics[f"loss/{name}"]) for name in names]

    first, second, third = drawn("a", "b", "c")
    assert len({first, second, third}) == 3
    assert drawn("d", "e") == [first, second]
    start = [combine(*pair).init(jax.random.key(0), make_spec())[0] for pair in same_nets()]
    assert_same_bits(start[0]["one/discriminator"], start[1]["two/discriminator"])
    pair = (leaves(start[0][f"{name}/discriminator"]) for name in ("one", "two"))
    assert any((a != b).any() for a, b in zip(*pair, strict=True))


def same_nets():
    one, two = (method("dann", **SMALL)._replace(name=name) for name in ("one", "two"))
    return (one, two), (two, one)


def looking_again(shift: float) -> Method:
    """A penalty with a further pass of the target, shifted, in training mode."""

    def penalty(view):
        outputs, view = view.again(view.batch.target.inputs + shift, "target", key=view.key)
        value = jnp.square(outputs.logits).mean()
        return 0.1 * value, view, {"loss/again": value}

    return Method("again", penalties=(penalty,))


def test_statistics_of_a_penaltys_further_pass_arrive_in_the_state():
    dan = method("dan")
    _, plain, _ = after_one_step(combine(dan), norm=True)
    states = [after_one_step(combine(*parts), norm=True)[1] for parts in sums_with_a_pass(dan)]
    for state in states:
        assert any((a != b).any() for a, b in zip(leaves(state.model), leaves(plain.model), strict=True))
    # Two passes of one running mean: each goes a share of the way, so the order of parts does not matter here.
    assert_close(states[0].model, states[1].model)
    alone = after_one_step(looking_again(3.0), norm=True)[1]
    assert_close(states[0].model, alone.model)


def sums_with_a_pass(dan: Method):
    return (dan, looking_again(3.0)), (looking_again(3.0), dan)


def test_gradients_of_every_update_pass_through_the_hook():
    seen = []

    def clip(update, gradients, view):
        seen.append((update, set(gradients)))
        assert view.key is not None
        return jax.tree.map(lambda g: 1e-3 * g / optax.tree.norm(gradients), gradients)

    clipping = Method("clip", hooks=Hooks(gradients=clip))
    state, _, metrics = after_one_step(combine(method("mcd", repeats=2), clipping, batch_norm="separate"))
    second = {"mcd/second_head"}
    expected = [("A", NET | second), ("B", {"head"} | second), ("C", {"encoder"}), ("C", {"encoder"})]
    assert seen == expected
    norms = [metrics[f"{name}/gradient_norm"] for name in "ABC"]
    np.testing.assert_allclose(norms, 1e-3, rtol=1e-4)


def sharpness_aware(rho: float, losses: list) -> Method:
    """Differentiates where the loss is worst in a ball of radius ρ."""

    def gradient(value_and_grad, trained):
        (value, _), uphill = value_and_grad(trained)
        losses.append(value)
        scale = rho / optax.tree.norm(uphill)
        return value_and_grad(jax.tree.map(lambda p, g: p + scale * g, trained, uphill))

    return Method("sharp", updates=(SUPERVISED._replace(gradient=gradient),))


def test_a_gradient_taken_twice_sees_the_penalties():
    dann, calls = method("dann", **SMALL), []
    total = combine(sharpness_aware(0.05, calls), dann)
    state, new, metrics = after_one_step(total)
    plain_state, plain, flat = after_one_step(combine(sharpness_aware(0.0, calls), dann))
    assert_same_bits(state.params, plain_state.params)
    parts = metrics["loss/task"] + metrics["loss/dann"]
    np.testing.assert_allclose(metrics["loss/total"], parts, rtol=1e-5)
    assert float(metrics["loss/total"]) != float(flat["loss/total"])
    assert "dann/discriminator" in moved_groups(state.params, new.params)
    assert len(calls) == 2
    once = after_one_step(combine(Method("sharp"), dann))[1]
    assert_close(plain.params, once.params)


def test_confusion_beside_a_gradient_of_its_own_keeps_it():
    """The main update is the one that brings something, not the first that differs."""
    calls = []
    total = combine(method("confusion", **SMALL), sharpness_aware(0.05, calls))
    state, _, metrics = after_one_step(total)
    assert len(calls) == 1 and "supervised/loss/confusion" in metrics
    assert trained_by(total, state.params) == {
        "confusion/discriminator": {"confusion/discriminator"},
        "supervised": NET,
    }
