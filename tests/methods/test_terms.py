"""Methods that add one statistic of both domains to the task loss: golden values, what they see, where gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.statistics.mmd import ddc, dsan, jan
from dalib.methods.statistics.moments import cmd, homm, log_coral
from dalib.methods.statistics.regression import dare_gram, rsd
from dalib.methods.statistics.transport import deepjdot, swd
from dalib.tasks import regression
from tests.golden import golden, inputs
from tests.methods.passes import gradients_of, make_context, make_pass, make_spec, penalty_of, relative_error


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def sample():
    names = ("f_s", "f_t", "g_s", "g_t")
    arrays = dict(zip(names, inputs(*names), strict=True))
    return {**arrays, "labels": inputs("y_s")[0].astype(np.int32)}


GOLDEN = {
    "mmd2.linear": (ddc, {}, 0.25, 1e-10),
    "cmd.K5.sigmoid": (cmd, {}, 1.0, 1e-10),
    "homm.p3.full": (homm, {}, 1e4, 1e-10),
    "rsd.w0.1": (rsd, {}, 1e-3, 1e-8),
}


@pytest.mark.parametrize("case", list(GOLDEN))
def test_golden(case, wide):
    factory, settings, weight, tolerance = GOLDEN[case]
    method, expected = factory(**settings), golden(case)
    value, metrics, gradients = gradients_of(method, sample())
    assert relative_error(value, weight * expected.value) < tolerance
    assert relative_error(metrics[f"loss/{method.name}"], expected.value) < tolerance
    for name, gradient in expected.gradients.items():
        assert relative_error(gradients[name], weight * gradient) < tolerance
    assert not np.any(gradients["g_s"]) and not np.any(gradients["g_t"])


def test_golden_jan(wide):
    value, _, gradients = gradients_of(jan(estimator="linear"), sample())
    expected = golden("jmmd.linear")
    assert relative_error(value, expected.value - 2 / 7) < 1e-10  # TLlib's constant
    for name, gradient in expected.gradients.items():
        assert relative_error(gradients[name], gradient) < 1e-10


def test_adversarial_jan_turns_the_maps_round_and_not_the_layers():
    arrays = {k: np.asarray(v, np.float32) for k, v in sample().items() if k != "labels"}
    plain, _, expected = gradients_of(jan(), arrays)
    method = jan(adversarial=True)
    params, state = method.init(jax.random.key(0), make_spec())
    value, _, gradients = gradients_of(method, arrays, params=params, state=state)
    np.testing.assert_allclose(value, plain, rtol=1e-5)  # the maps start as the identity
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-7)
    f = penalty_of(method, params, state)
    loss = jax.jit(lambda p: f(make_pass(**arrays), p)[0])
    of_theta = jax.jit(jax.grad(loss))(params)
    assert all(np.any(g) for g in jax.tree.leaves(of_theta["theta"]["features"]["kernel"]))
    # A descent step along the reversed gradient raises the discrepancy.
    assert float(loss(jax.tree.map(lambda p, g: p - 0.1 * g, params, of_theta))) > float(value)


def test_log_coral_sees_scale_alike_in_both_directions():
    x = jax.random.normal(jax.random.key(0), (20, 3))
    f = jax.jit(lambda s, t: penalty_of(log_coral(epsilon=1e-6))(make_pass(s, t))[0])
    # Covariances C and a²C: the logarithms differ by 2 ln a on the diagonal, ‖·‖² = d (2 ln a)².
    expected = 3 * (2 * np.log(3.0)) ** 2 / (4 * 9)
    np.testing.assert_allclose([f(x, 3 * x), f(3 * x, x)], expected, rtol=1e-4)


def test_layers_and_squashes_are_chosen_by_name():
    with pytest.raises(InputError, match="layer.*logit"):
        log_coral(layer="logit")
    with pytest.raises(InputError, match="squash"):
        cmd(squash="relu")
    with pytest.raises(InputError, match="interval"):
        penalty_of(cmd(squash="none", interval=(1.0, 1.0)))(make_pass(jnp.ones((3, 2)), jnp.ones((3, 2))))
    f_s, f_t = (np.float32(z) for z in inputs("f_s", "f_t"))
    f = jax.jit(lambda s, t: penalty_of(cmd(squash="none", interval=(-1.0, 1.0)))(make_pass(s, t))[0])
    bounded = jax.jit(lambda s, t: penalty_of(cmd(squash="tanh"))(make_pass(s, t))[0])
    np.testing.assert_allclose(f(np.tanh(f_s), np.tanh(f_t)), bounded(f_s, f_t), rtol=1e-6)


def test_rsd_needs_fewer_rows_than_features():
    with pytest.raises(InputError, match="fewer rows than columns"):
        penalty_of(rsd())(make_pass(jnp.ones((4, 4)), jnp.ones((4, 4))))


@pytest.mark.parametrize("method", [rsd(weight=1.0), dare_gram()], ids=lambda m: m.name)
def test_regression_terms_compare_subspaces(method):
    x = jax.random.normal(jax.random.key(0), (4, 8))
    f = jax.jit(jax.value_and_grad(lambda s, t: penalty_of(method)(make_pass(s, t))[0]))
    value, gradient = f(x, x)
    np.testing.assert_allclose(value, 0, atol=1e-4)
    assert np.isfinite(gradient).all()
    value, gradient = f(x, x[:, ::-1])
    assert float(value) > 1e-2 and np.any(gradient)


def test_swd_draws_directions_of_its_step():
    shift = jnp.array([3.0, 4.0])
    x = jax.random.normal(jax.random.key(0), (6, 2))
    f = jax.jit(
        lambda s, t, key: penalty_of(swd(num_directions=4096), context=make_context(key=key))(make_pass(s, t))[0]
    )
    values = [float(f(x, x[::-1] + shift[None], jax.random.key(k))) for k in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    np.testing.assert_allclose(values, 25 / 2, rtol=0.05)  # E (shift · θ)² = ‖shift‖²/d
    np.testing.assert_allclose(f(x, x[::-1], jax.random.key(0)), 0, atol=1e-10)


def test_dsan_ramps_and_needs_a_shared_class():
    arrays = {k: np.float32(v) if k != "labels" else v for k, v in sample().items()}
    arrays |= {"g_t": np.float32(5 * np.eye(5)[arrays["labels"]])}
    value, metrics, gradients = gradients_of(dsan(), arrays, context=make_context(0.1))
    np.testing.assert_allclose(value, 0.5 * 0.462117 * metrics["loss/dsan"], rtol=1e-5)
    assert np.any(gradients["f_s"]) and np.any(gradients["f_t"]) and not np.any(gradients["g_t"])
    whole, _, _ = gradients_of(dsan(ramp=1.0), arrays, context=make_context(0.1))
    np.testing.assert_allclose(whole, 0.5 * metrics["loss/dsan"], rtol=1e-6)
    nothing, _, gradients = gradients_of(
        dsan(), {**arrays, "labels": np.zeros(8, np.int32), "g_t": np.float32(np.tile(5 * np.eye(5)[4], (8, 1)))}
    )
    assert float(nothing) == 0 and not np.any(gradients["f_s"])


def test_deepjdot_by_hand():
    # Two far pairs: the plan couples each source row with its neighbour, half the mass each.
    f_s = jnp.array([[0.0, 0.0], [10.0, 0.0]])
    f_t = jnp.array([[10.0, 1.0], [0.0, 2.0]])
    g_t = jnp.array([[0.0, jnp.log(3.0)], [0.0, 0.0]])
    arrays = {"f_s": f_s, "f_t": f_t, "g_t": g_t, "labels": jnp.array([0, 1])}
    method = deepjdot(feature_weight=1.0, label_weight=0.5, epsilon=0.01)
    value, metrics, gradients = gradients_of(method, arrays)
    expected = 0.5 * ((4 + 0.5 * np.log(2)) + (1 + 0.5 * np.log(4 / 3)))
    np.testing.assert_allclose([value, metrics["loss/deepjdot"]], expected, rtol=1e-5)
    np.testing.assert_allclose(gradients["f_s"], 0.5 * 2 * np.array([[0.0, -2.0], [0.0, -1.0]]), atol=1e-5)
    np.testing.assert_allclose(gradients["f_t"], 0.5 * 2 * np.array([[0.0, 1.0], [0.0, 2.0]]), atol=1e-5)
    # Cross-entropy's p − y of each coupled row, times plan and weight.
    np.testing.assert_allclose(gradients["g_t"], 0.25 * np.array([[0.25, -0.25], [-0.5, 0.5]]), atol=1e-5)
    with pytest.raises(InputError, match="epsilon"):
        deepjdot(epsilon=0.0)


def test_deepjdot_takes_the_loss_of_the_task():
    f_s, f_t = jnp.array([[0.0], [9.0]]), jnp.array([[0.0], [9.0], [9.0]])
    labels, outputs = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[1.0, 5.0], [1.0, 0.0], [0.0, 2.0]])
    method = deepjdot(feature_weight=1e3, label_weight=1.0, epsilon=0.05)
    context = make_context(task=regression(2))
    f = jax.jit(lambda s, t, g, y: penalty_of(method, context=context)(make_pass(s, t, None, g, y))[0])
    equal = f(f_s, f_t[:2], outputs[:2], labels)
    np.testing.assert_allclose(equal, 0.5 * 9 + 0.5 * 1, rtol=1e-4)
    assert np.isfinite(f(f_s, f_t, outputs, labels))


CORNERS = [
    ddc(),
    jan(),
    jan(adversarial=True),
    log_coral(),
    cmd(),
    homm(),
    swd(),
    dsan(),
    deepjdot(),
    dare_gram(),
    rsd(),
]


@pytest.mark.parametrize("method", CORNERS, ids=lambda m: m.name)
def test_corners_are_finite(method):
    ones = np.ones((4, 16), np.float32)
    certain = np.float32(1e4 * np.eye(5)[[0, 0, 1, 2]])
    f_s, f_t = (np.float32(z[:4]) for z in inputs("f_s", "f_t"))
    f = jax.jit(
        jax.value_and_grad(
            lambda x: penalty_of(method, *method.init(jax.random.key(0), make_spec()))(make_pass(**x))[0]
        )
    )
    for a, b in ((ones, ones), (0 * ones, 0 * ones), (f_s, f_s), (f_s, f_t)):
        floating = {"f_s": a, "f_t": b, "g_s": certain, "g_t": certain}
        value, gradients = f(floating)  # make_pass labels every row 0: a batch of one class
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradients.values())


def test_homm_clusters_certain_rows_around_centres_of_their_own():
    features = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [9.0, 9.0]], np.float32)
    # Rows 0 and 1 are certain of class 0, row 2 of class 1; the last is not certain of anything.
    logits = np.array([[9, 0, 0], [9, 0, 0], [0, 9, 0], [1, 1, 0]], np.float32)
    arrays = {"f_s": features, "f_t": features, "g_s": logits, "g_t": logits}
    method = homm(clustering=2.0, threshold=0.9, centre_rate=0.5)
    state = {"centres": jnp.array([[1.0, 0.0], [0.0, 0.0], [5.0, 5.0]])}

    def f(f_t):
        outputs = make_pass(**{**arrays, "f_t": f_t})
        return penalty_of(method, {}, state)(outputs)

    (value, (new, metrics)), gradient = jax.jit(jax.value_and_grad(f, has_aux=True))(jnp.asarray(features))
    # Squared distances 0, 4, 4 over four rows; equal samples have equal moments.
    np.testing.assert_allclose(metrics["loss/homm_clustering"], 2.0)
    np.testing.assert_allclose(value, 4.0, atol=1e-3)
    assert metrics["homm/kept"] == 0.75
    np.testing.assert_allclose(gradient, [[0, 0], [2, 0], [0, 2], [0, 0]], atol=1e-3)
    # Class 0: ½ · (0 + 2)/(1 + 2); class 1: ½ · 2/(1 + 1); class 2 stays.
    np.testing.assert_allclose(new["centres"], [[1 + 1 / 3, 0], [0, 0.5], [5, 5]], rtol=1e-6)
    params, own = method.init(jax.random.key(0), make_spec(width=2, classes=3))
    assert params == {} and own["centres"].shape == (3, 2) and homm().init(None, None) == ({}, {})
