"""IRM, V-REx, GroupDRO, CORAL between sources, MixStyle: no target, sources interleaved."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Outputs, Source, Target
from dalib.discrepancy import coral
from dalib.methods.generalisation.mixstyle import mix_styles, mixing, mixstyle, partners, style
from dalib.methods.generalisation.penalties import (
    coral_dg,
    groupdro,
    irm,
    scale_gradients,
    split,
    squared,
    vrex,
    weight_after,
)
from dalib.methods.parts.domains import domain_losses, split_domains, stack_domains
from dalib.methods.view import Forward, Pass, States
from tests.golden import golden, inputs
from tests.methods.passes import gradients_of, loss_of, make_context, make_pass, make_view, relative_error

CE = optax.softmax_cross_entropy_with_integer_labels
LABELS = inputs("y_s")[0].astype(np.int32)


def sample(**more):
    names = ("f_s", "f_t", "g_s")
    arrays = {n: jnp.asarray(x, jnp.float32) for n, x in zip(names, inputs(*names), strict=True)}
    return {**arrays, "labels": LABELS, **more}


def view_of(logits):
    """The view of a common pass with these source logits."""
    outputs = make_pass(**sample(g_s=logits))
    return make_view(outputs.batch).show(outputs.source, outputs.target)


def by_hand():
    """Each row's loss, ``[8]``, and its derivative in the scale, ``Σ p g − g_y``, in float64."""
    g = inputs("g_s")[0]
    p = np.exp(g) / np.exp(g).sum(1, keepdims=True)
    own = g[np.arange(8), LABELS]
    return np.log(np.exp(g).sum(1)) - own, (p * g).sum(1) - own


def test_rows_by_domain():
    x = {"a": np.arange(6), "b": np.arange(12).reshape(6, 2)}
    np.testing.assert_array_equal(split_domains(x, 3)[1]["a"], [1, 4])
    stacked = stack_domains(x, 3)
    np.testing.assert_array_equal(stacked["a"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(stacked["b"][2], [[4, 5], [10, 11]])
    losses = domain_losses(view_of(sample()["g_s"]), 2)
    rows, _ = by_hand()
    np.testing.assert_allclose(losses, [rows[::2].mean(), rows[1::2].mean()], rtol=1e-5)
    with pytest.raises(InputError, match="multiple of 4"):
        split_domains(np.arange(6), 4)


@pytest.mark.parametrize(("form", "case"), [(squared, "irm.square"), (split, "irm.split")])
def test_irm_golden(form, case):
    with jax.enable_x64(True):

        @jax.jit
        @jax.value_and_grad
        def penalty(g):
            return form(scale_gradients(g, jnp.asarray(LABELS), CE))

        value, gradient = penalty(jnp.asarray(inputs("g_s")[0]))
        assert relative_error(value, golden(case).value) < 1e-10
        assert relative_error(gradient, golden(case).gradients["g_s"]) < 1e-10


@pytest.mark.parametrize("form", ["square", "split"])
def test_irm_takes_each_domain_apart(form):
    value, metrics, gradients = gradients_of(irm(weight=3.0, warmup_steps=0, form=form), sample(), params={}, state={})
    _, d = by_hand()
    parts = [d[::2], d[1::2]]
    expected = [p.mean() ** 2 if form == "square" else p[::2].mean() * p[1::2].mean() for p in parts]
    np.testing.assert_allclose(metrics["loss/irm"], np.mean(expected), rtol=1e-4)
    np.testing.assert_allclose(value, 3 * metrics["loss/irm"], rtol=1e-6)
    assert np.any(gradients["g_s"]) and not np.any(gradients["f_s"]) and not np.any(gradients["f_t"])


def test_irm_of_certain_and_of_constant_logits_is_finite():
    for g in (jnp.full((8, 5), 7.0), 1e4 * jnp.eye(8, 5), jnp.zeros((8, 5))):
        value, _, gradients = gradients_of(irm(), sample(g_s=g), params={}, state={})
        assert np.isfinite(value) and np.isfinite(gradients["g_s"]).all()


def test_weights_wait():
    at = lambda step, weight: float(weight_after(weight, make_context(step=jnp.array(step)), steps=500))  # noqa: E731
    assert (at(0, 100.0), at(499, 100.0), at(500, 100.0)) == (1, 1, 100)
    assert (at(0, 0.25), at(500, 0.25), at(0, lambda c: 7.0)) == (0.25, 0.25, 1)


def test_vrex_is_the_population_variance():
    rows, _ = by_hand()
    three = np.array([rows[:6][i::3].mean() for i in range(3)])
    short = {k: v[:6] for k, v in sample().items()}
    value, metrics, gradients = gradients_of(vrex(weight=2.0, warmup_steps=0, sources=3), short, params={}, state={})
    np.testing.assert_allclose(metrics["loss/vrex"], three.var(), rtol=1e-4)
    np.testing.assert_allclose(metrics["vrex/worst"], three.max(), rtol=1e-5)
    np.testing.assert_allclose(value, 2 * three.var(), rtol=1e-4)
    assert np.any(gradients["g_s"])
    two = gradients_of(vrex(weight=1.0), sample(), params={}, state={})[0]
    np.testing.assert_allclose(two, (rows[::2].mean() - rows[1::2].mean()) ** 2 / 4, rtol=1e-4)


def seen(outputs):
    return Forward(pair=lambda params, model, batch, key: (outputs, model), one=None, head=None)


def dro(method, state, logits=None):
    outputs = make_pass(**sample() if logits is None else sample(g_s=logits))
    return loss_of(method.updates[0], {}, States({}, state), outputs.batch, seen(outputs))


def test_groupdro_weighs_by_the_exponential_of_past_losses():
    method = groupdro(rate=0.5)
    _, state = method.init(jax.random.key(0), None)
    np.testing.assert_allclose(np.exp(state["log_weights"]), [0.5, 0.5], rtol=1e-6)
    rows, _ = by_hand()
    losses = np.array([rows[::2].mean(), rows[1::2].mean()])
    first = dro(method, state)
    second = dro(method, first.states.method)
    for result, times in ((first, 1), (second, 2)):
        q = np.exp(0.5 * times * losses)
        q /= q.sum()
        np.testing.assert_allclose(np.exp(result.states.method["log_weights"]), q, rtol=1e-5)
        np.testing.assert_allclose(result.value, (q * losses).sum(), rtol=1e-5)
    assert result.metrics["groupdro/worst"] == pytest.approx(losses.max(), rel=1e-5)


def test_groupdro_weights_have_no_gradient_and_never_overflow():
    method = groupdro(rate=5.0)
    state = {"log_weights": jnp.log(jnp.array([0.9, 0.1]))}
    gradient = jax.jit(jax.grad(lambda g: dro(method, state, g).value))(sample()["g_s"])
    q = jnp.exp(dro(method, state).states.method["log_weights"])
    fixed = jax.jit(jax.grad(lambda g: (q * domain_losses(view_of(g), 2)).sum()))(sample()["g_s"])
    np.testing.assert_allclose(gradient, fixed, rtol=1e-4, atol=1e-7)
    logits = jnp.where(jnp.arange(8)[:, None] % 2 == 0, -1e4, 0.0) * jax.nn.one_hot(LABELS, 5)

    @jax.jit
    def run(state):
        return jax.lax.scan(lambda s, _: (dro(method, s, logits).states.method, None), state, None, length=20_000)[0]

    weights = np.exp(run(state)["log_weights"])
    assert np.isfinite(weights).all() and weights.sum() == pytest.approx(1) and weights[0] == pytest.approx(1)


def test_coral_dg_is_the_mean_over_pairs():
    f = sample()["f_s"][:6]
    short = {k: v[:6] for k, v in sample().items()}
    parts = [f[i::3] for i in range(3)]
    for tllib_form in (True, False):
        method = coral_dg(weight=2.0, tllib_form=tllib_form, sources=3)
        value, metrics, gradients = gradients_of(method, short, params={}, state={})
        pairs = [coral(parts[i], parts[j], tllib_form=tllib_form) for i, j in ((0, 1), (0, 2), (1, 2))]
        np.testing.assert_allclose(metrics["loss/coral_dg"], np.mean(pairs), rtol=1e-5)
        np.testing.assert_allclose(value, 2 * np.mean(pairs), rtol=1e-5)
        assert np.any(gradients["f_s"]) and not np.any(gradients["f_t"])
    with pytest.raises(InputError, match="at least 2 rows"):
        gradients_of(coral_dg(sources=8), sample(), params={}, state={})


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_partners_are_a_permutation_into_other_domains(sources):
    draw = jax.jit(lambda key: partners(key, 12, sources))
    drawn = [np.asarray(draw(jax.random.key(i))) for i in range(8)]
    for rows in drawn:
        np.testing.assert_array_equal(np.sort(rows), np.arange(12))
        if sources > 1:
            assert (rows % sources != np.arange(12) % sources).all()
    assert len({tuple(rows) for rows in drawn}) > 1
    with pytest.raises(InputError, match="multiple of 5"):
        partners(jax.random.key(0), 12, 5)


def test_mixed_styles_lie_between_own_and_partner_and_content_stays():
    x = jax.random.normal(jax.random.key(0), (4, 5, 5, 3)) * jnp.arange(1.0, 5)[:, None, None, None] + 2
    mixed = jax.jit(lambda x: mix_styles(jax.random.key(1), x, probability=1.0, alpha=0.5))(x)
    mean, deviation = style(x)
    new_mean, new_deviation = style(mixed)
    assert not np.allclose(mixed, x)
    content, kept = (x - mean) / deviation, (mixed - new_mean) / new_deviation
    np.testing.assert_allclose(content, kept, atol=1e-4)
    low, high = np.asarray(deviation).min(0), np.asarray(deviation).max(0)
    assert (new_deviation >= low[None] - 1e-4).all() and (new_deviation <= high[None] + 1e-4).all()
    never = jax.jit(lambda x: mix_styles(jax.random.key(1), x, probability=0.0))(x)
    np.testing.assert_array_equal(never, x)


def test_statistics_of_a_style_have_no_gradient_and_constants_are_finite():
    key = jax.random.key(1)
    x = jax.random.normal(jax.random.key(0), (4, 3, 2))
    gradient = jax.jit(jax.grad(lambda x: mix_styles(key, x, probability=1.0).sum()))(x)
    # Behind stop_gradient the derivative of every entry is σ_mix / σ of its row and channel alone: constant over a row.
    np.testing.assert_allclose(gradient, gradient[:, :1].repeat(3, 1), rtol=1e-5)
    assert (gradient > 0).all()
    flat = jax.jit(jax.value_and_grad(lambda x: mix_styles(key, x, probability=1.0).sum()))(jnp.ones((4, 6)))
    assert np.isfinite(flat[0]) and np.isfinite(flat[1]).all()


class Two(nn.Module):
    """Two layers with the names of an encoder's."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="conv2")(nn.Dense(4, name="conv1")(x))


def test_mixing_changes_the_input_of_the_named_module_only():
    net, x = Two(), jnp.ones((2, 5))
    params = net.init(jax.random.key(0), x)
    calls = []

    def double(i, y):
        calls.append((i, y.shape))
        return 2 * y

    with mixing(double, [("conv2",)]):
        mixed = net.apply(params, x)
    assert calls == [(0, (2, 4))]
    bias = params["params"]["conv2"]["bias"][None]
    np.testing.assert_allclose(mixed - bias, 2 * (net.apply(params, x) - bias), rtol=1e-5)


def test_mixstyle_mixes_the_source_alone_and_names_its_places():
    touched = []

    def one(params, model, inputs, domain, key, train):
        class Probe(nn.Module):
            def __call__(self, x):
                return x

        class Net(nn.Module):
            def setup(self):
                self.bottleneck = Probe()

            def __call__(self, x):
                return self.bottleneck(x)

        out = Net().apply({}, inputs)
        touched.append((domain, bool((out != inputs).any())))
        return Outputs(out, out), model

    method = mixstyle(probability=1.0)
    x = jax.random.normal(jax.random.key(0), (8, 5)) * jnp.arange(1.0, 9)[:, None]
    batch = Batch(Source(x, LABELS), Target(x))
    context = make_context(0.0, key=jax.random.key(2))
    params = {"encoder": {"fc1": 0}, "bottleneck": 0}
    result = loss_of(method.updates[0], params, States({}, {}), batch, Forward(None, one, None), context)
    assert touched == [("source", True), ("target", False)] and isinstance(result.outputs, Pass)
    with pytest.raises(InputError, match="layer9"):
        loss_of(
            mixstyle(before=["layer9"]).updates[0], params, States({}, {}), batch, Forward(None, one, None), context
        )


def test_refused():
    for make in (irm, vrex, groupdro, coral_dg):
        for sources in (1, 2.0, True):
            with pytest.raises(InputError, match="sources"):
                make(sources=sources)
    with pytest.raises(InputError, match="square"):
        irm(form="squared")
    with pytest.raises(InputError, match="at least 2"):
        gradients_of(irm(form="split", sources=8), sample(), params={}, state={})
    with pytest.raises(InputError, match="layer"):
        coral_dg(layer="hidden")
    with pytest.raises(InputError, match="alpha"):
        mixstyle(alpha=0.0)
