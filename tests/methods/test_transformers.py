"""Functions that make methods out of methods: values by hand, alone, inside a sum and around one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Outputs, Source, Target
from dalib.methods import (
    Method,
    States,
    Update,
    averaged,
    combine,
    dan,
    evaluated,
    mean_teacher,
    scheduled,
    sharp,
    source_only,
    term,
)
from dalib.methods.base import joined_loss
from tests.contract.cases import batch, quick_jit, setup
from tests.methods.passes import joined, make_context, make_view

EMPTY = Batch(Source(jnp.zeros((1, 1)), jnp.zeros(1, jnp.int32)), Target(jnp.zeros((1, 1))))
CURVES = jnp.array([1.0, 2.0, 4.0])
W = jnp.array([0.5, -1.0, 0.25])
D = jnp.array([3.0])
SLOPE = 3.0


def quadratic(view):
    """½ Σ c w² + ½ d², with statistics that show at which w it was looked at."""
    w, d = view.params["encoder"], view.params["own"]
    value = 0.5 * (CURVES * w**2).sum() + 0.5 * (d**2).sum()
    nothing = Outputs(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    return value, view.show(nothing, nothing).with_model({"shared": w}), {"at": w}


def line(view):
    return view.params["encoder"].sum()


METHOD = Method("quadratic", updates=(Update("main", quadratic),), penalties=term("line", line, weight=SLOPE).penalties)


def gradient_of(method):
    """``((value, (states, metrics)), gradients)`` of the main update as the step would ask for it."""
    (main,) = method.updates

    def value_and_grad(trained, penalties=True):
        def objective(params):
            view = make_view(EMPTY, params, States({"shared": jnp.zeros(3)}, {}))
            value, after, metrics = joined_loss(method, main, view) if penalties else main.loss(view)
            return value, (after.states, metrics)

        return jax.value_and_grad(objective, has_aux=True)(trained)

    return main.gradient(value_and_grad, {"encoder": W, "own": D})


@pytest.mark.parametrize("penalties", [True, False])
def test_sharpness_of_a_quadratic_is_the_closed_form(penalties):
    (value, (states, metrics)), gradients = gradient_of(sharp(METHOD, radius=0.1, penalties=penalties))
    slope = CURVES * W + SLOPE * penalties
    worst = W + 0.1 * slope / jnp.linalg.norm(slope)
    np.testing.assert_allclose(gradients["encoder"], CURVES * worst + SLOPE, rtol=1e-6)
    # The method's own group is trained but not moved.
    np.testing.assert_allclose(gradients["own"], D, rtol=1e-6)
    np.testing.assert_allclose(value, 0.5 * (CURVES * worst**2).sum() + 4.5 + SLOPE * worst.sum(), rtol=1e-6)
    np.testing.assert_allclose(metrics["at"], worst, rtol=1e-6)
    np.testing.assert_array_equal(states.model["shared"], W)


def test_sharpness_moves_the_groups_that_are_named():
    _, gradients = gradient_of(sharp(METHOD, radius=0.1, groups=("own",)))
    np.testing.assert_allclose(gradients["own"], D + 0.1, rtol=1e-6)
    np.testing.assert_allclose(gradients["encoder"], CURVES * W + SLOPE, rtol=1e-6)
    with pytest.raises(InputError, match="did you mean 'own'"):
        gradient_of(sharp(METHOD, groups=("owm",)))
    with pytest.raises(InputError, match="gradient of its own"):
        sharp(sharp(METHOD))
    # Where nothing pulls there is no direction, and no division by 0.
    still = METHOD._replace(penalties=(), updates=(Update("main", lambda view: (0.0 * line(view), view, {})),))
    _, gradients = gradient_of(sharp(still))
    assert not gradients["encoder"].any()


def test_a_schedule_multiplies_penalties_and_nothing_else():
    params = {"encoder": W, "own": D}

    def value(method, progress):
        result = joined(method, method.updates[0], params, None, EMPTY, context=make_context(progress))
        return result.value, result.metrics["loss/line"]

    half = scheduled(METHOD, lambda view: view.progress**2)
    task = value(half, 0.0)[0]
    np.testing.assert_allclose(task, quadratic(make_view(EMPTY, params))[0])
    np.testing.assert_allclose(value(half, 0.5)[0] - task, 0.25 * SLOPE * W.sum(), rtol=1e-6)
    assert value(half, 0.5)[1] == value(METHOD, 0.5)[1] == W.sum()
    with pytest.raises(InputError, match="without penalties"):
        scheduled(source_only(), 2.0)


def by_hand(method, steps, d):
    """States of a short run, and averages of parameters and statistics written out."""
    state, step = setup(method, "vectors", norm=True)
    state, step = state.replace(step=jnp.int32(0)), quick_jit(step)
    net = [g for g in ("encoder", "bottleneck", "head") if g in state.params]
    average = jax.tree.map(np.asarray, ({g: state.params[g] for g in net}, state.model))
    for i in range(steps):
        state, _ = step(state, batch("vectors", seed=i))
        share = min(d, i / (i + 1))
        now = ({g: state.params[g] for g in net}, state.model)
        average = jax.tree.map(lambda old, new, s=share: s * old + (1 - s) * np.asarray(new), average, now)
    return state, average


@pytest.mark.parametrize(
    "method",
    [
        averaged(
            combine(sharp(dan(), penalties=False), mean_teacher(evaluate="student"), batch_norm="joint"), decay=0.6
        ),
        pytest.param(
            combine(dan(), averaged(mean_teacher(evaluate="student"), decay=0.6), batch_norm="joint"),
            marks=pytest.mark.slow,
        ),
        pytest.param(combine(averaged(dan(), decay=0.6), batch_norm="domain"), marks=pytest.mark.slow),
    ],
    ids=["around", "inside", "by domain"],
)
def test_an_average_is_the_one_written_out_with_its_statistics(method):
    state, (params, model) = by_hand(method, 4, 0.6)
    found, states = evaluated(method, state.params, States(state.model, state.method))
    assert states.model.keys() == state.model.keys() and found.keys() == state.params.keys()
    for name, tree in params.items():
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), found[name], tree)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), states.model, model)
    trained = jax.tree.leaves((state.params["head"], state.model))
    kept = jax.tree.leaves((found["head"], states.model))
    assert any((x != y).any() for x, y in zip(trained, kept, strict=True))


def test_a_sum_takes_its_gradient_once():
    assert combine(dan(), sharp(mean_teacher()), batch_norm="joint").updates[0].gradient is not None
    with pytest.raises(InputError, match="dan and second each replace the supervised loss, or how"):
        combine(sharp(dan()), sharp(dan())._replace(name="second"))


def test_a_method_has_one_average():
    with pytest.raises(InputError, match="'mean_teacher' evaluates parameters of its own"):
        averaged(mean_teacher())
    with pytest.raises(InputError, match="their own evaluate"):
        combine(averaged(dan()), mean_teacher())
