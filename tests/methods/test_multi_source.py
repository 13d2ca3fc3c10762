"""M3SDA, MFSAN and MME: several labelled domains interleaved in one batch."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs, Source
from dalib.discrepancy import mean_entropy
from dalib.methods.label_sets.semi_supervised import mme
from dalib.methods.label_sets.several_sources import m3sda, mfsan, moment_distance
from dalib.methods.parts.nets import apply_heads, init_heads, mixture, with_first
from dalib.methods.view import States
from dalib.train import make_forward
from tests.contract.cases import batch, classifier, setup
from tests.golden import inputs
from tests.methods.passes import FORWARD, HEAD, gradients_of, loss_of, make_context, make_pass, make_spec, penalty_of

LABELS = inputs("y_s")[0].astype(np.int32)


def sample(**more):
    names = ("f_s", "f_t", "g_s", "g_t")
    arrays = {n: jnp.asarray(x, jnp.float32) for n, x in zip(names, inputs(*names), strict=True)}
    return {**arrays, "labels": LABELS, **more}


def update(method, params, index=0, *, state=None, progress=1.0, **more):
    """One update's loss on the golden arrays."""
    outputs = make_pass(**sample(**more))
    forward = FORWARD._replace(pair=lambda params, model, batch, key: (outputs, model))
    context = make_context(progress)
    return loss_of(method.updates[index], params, States({}, state or {}), outputs.batch, forward, context)


def parameters(method):
    own, _ = method.init(jax.random.key(0), make_spec())
    return {"head": make_spec().init_head(jax.random.key(1)), **own}


def linear(p, x):
    return np.asarray(x) @ np.asarray(p["kernel"]) + np.asarray(p["bias"])


def cross_entropy(logits, labels):
    return (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]).mean()


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_heads_in_a_stack_are_the_heads_one_by_one():
    spec = make_spec()
    first, others = spec.init_head(jax.random.key(1)), init_heads(jax.random.key(0), spec, 2)
    heads = with_first(first, others)
    each = [jax.tree.map(lambda a, i=i: a[i], heads) for i in range(3)]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), each[0], first))
    assert not np.allclose(each[1]["kernel"], each[2]["kernel"])
    x = sample()["f_t"]
    shared = apply_heads(FORWARD, heads, x, jax.random.key(3))
    own = apply_heads(FORWARD, heads, jnp.stack([x, 2 * x, 3 * x]), None)
    for i in range(3):
        np.testing.assert_allclose(shared[i], linear(each[i], x), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(own[i], linear(each[i], (i + 1) * x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.nn.softmax(mixture(shared)), softmax(np.asarray(shared)).mean(0), rtol=1e-4)
    assert np.isfinite(mixture(jnp.array([[[1e4, -1e4]], [[1e4, -1e4]]]))).all()


def test_moment_distance_by_hand():
    a, b, t = (np.array(x, np.float32) for x in ([[1, 0], [3, 0]], [[0, 4], [0, 4]], [[2, 0], [2, 0]]))
    # Means (2, 0), (0, 4), (2, 0); raw second moments (5, 0), (0, 16), (4, 0); variances (2, 0), 0, 0.
    first = (0 + 20**0.5) / 2 + 20**0.5
    second = (1 + (16 + 256) ** 0.5) / 2 + (25 + 256) ** 0.5
    np.testing.assert_allclose(moment_distance([a, b], t), first + second, rtol=1e-6)
    dassl = ((0 + 20**0.5 + 20**0.5) / 3 + (2 + 0 + 2) / 3) / 2
    np.testing.assert_allclose(moment_distance([a, b], t, dassl_form=True), dassl, rtol=1e-6)
    np.testing.assert_allclose(moment_distance([a], t), 0 + 1, rtol=1e-6)


@pytest.mark.parametrize("dassl_form", [False, True])
def test_moment_distance_of_equal_domains_has_a_gradient(dassl_form):
    x = jnp.ones((4, 3))
    f = jax.jit(jax.value_and_grad(lambda s: moment_distance([s, x], x, dassl_form=dassl_form)))
    value, gradient = f(x)
    assert value == 0 and not np.any(gradient)


def m3sda_by_hand(params):
    """Task loss of all four heads, and their discrepancy on the target; heads are first, first, second, second."""
    heads = [params["head"]] + [jax.tree.map(lambda a, i=i: a[i], params["heads"]) for i in range(3)]
    f_s, f_t = (np.asarray(sample()[name]) for name in ("f_s", "f_t"))
    task = sum(cross_entropy(linear(heads[2 * j + i], f_s[i::2]), LABELS[i::2]) for i in (0, 1) for j in (0, 1)) / 2
    p = [softmax(linear(h, f_t)) for h in heads]
    return task, 0.5 * (np.abs(p[0] - p[2]).mean() + np.abs(p[1] - p[3]).mean()), sum(p) / 4


def test_m3sda_updates_against_plain_loops():
    method = m3sda(weight=0.7, discrepancy=2.0, repeats=3)
    params = parameters(method)
    task, gap, mean = m3sda_by_hand(params)
    moments = moment_distance([sample()["f_s"][::2], sample()["f_s"][1::2]], sample()["f_t"])
    a, b, c = (update(method, params, i) for i in range(3))
    np.testing.assert_allclose(a.metrics["loss/task"], task, rtol=1e-4)
    np.testing.assert_allclose(a.value, task + 0.7 * moments, rtol=1e-4)
    np.testing.assert_allclose(b.value, task - 2 * gap, rtol=1e-4)
    np.testing.assert_allclose(c.value, 2 * gap, rtol=1e-4)
    assert a.outputs is not None and [u.repeats for u in method.updates] == [1, 1, 3]
    logits = method.hooks.predict(params, Outputs(sample()["f_t"], sample()["g_t"]), FORWARD)
    np.testing.assert_allclose(np.exp(logits), mean, rtol=1e-4)


def test_m3sda_trains_groups_in_turn():
    method = m3sda(repeats=1)
    state, _ = setup(method, "tokens")
    expected = [{"encoder", "head", "heads"}, {"head", "heads"}, {"encoder"}]
    for one, groups in zip(method.updates, expected, strict=True):
        _, step = setup(method._replace(updates=(one,)), "tokens")
        new, _ = jax.jit(step)(state, batch("tokens"))
        for group in state.params:
            pairs = zip(jax.tree.leaves(state.params[group]), jax.tree.leaves(new.params[group]), strict=True)
            assert any(bool((a != b).any()) for a, b in pairs) == (group in groups), (one.name, group)


def test_a_sources_heads_learn_from_its_rows_alone():
    method = m3sda()
    params = parameters(method)

    @jax.jit
    @jax.grad
    def task(params, f_s):
        return update(method, params, f_s=f_s).metrics["loss/task"]

    base, moved = (task(params, sample()["f_s"].at[1::2].multiply(k)) for k in (1.0, -2.0))
    # Source 0 has the net's head and the second of the method's own (first heads of 0, 1, then second heads of 0, 1).
    np.testing.assert_allclose(base["head"]["kernel"], moved["head"]["kernel"], rtol=1e-5)
    same = [
        np.allclose(a, b, rtol=1e-5) for a, b in zip(base["heads"]["kernel"], moved["heads"]["kernel"], strict=True)
    ]
    assert same == [False, True, False]


def test_mfsan_against_plain_loops():
    method = mfsan(weight=0.5, disagreement=3.0, ramp=lambda view: 0.25 * view.progress)
    params = parameters(method)
    heads = with_first(params["head"], params["heads"])
    f_s, f_t = (np.asarray(sample()[name]) for name in ("f_s", "f_t"))
    task, target = [], []
    for i in range(2):
        layer = jax.tree.map(lambda a, i=i: a[i], params["projections"]["Dense_0"])
        own = jax.tree.map(lambda a, i=i: a[i], heads)
        task.append(cross_entropy(linear(own, np.maximum(linear(layer, f_s[i::2]), 0)), LABELS[i::2]))
        target.append(softmax(linear(own, np.maximum(linear(layer, f_t), 0))))
    result = update(method, params, progress=1.0)
    m = result.metrics
    np.testing.assert_allclose(m["loss/task"], np.mean(task), rtol=1e-4)
    np.testing.assert_allclose(m["loss/disagreement"], np.abs(target[0] - target[1]).mean(), rtol=1e-4)
    assert m["loss/mfsan"] > 0
    expected = m["loss/task"] + 0.25 * 0.5 * (m["loss/mfsan"] + 3 * m["loss/disagreement"])
    np.testing.assert_allclose(result.value, expected, rtol=1e-5)
    logits = method.hooks.predict(params, Outputs(sample()["f_t"], sample()["g_t"]), FORWARD)
    np.testing.assert_allclose(np.exp(logits), sum(target) / 2, rtol=1e-4)


def test_mfsan_of_four_sources_averages_over_all_pairs():
    method = mfsan(sources=4)
    params = parameters(method)
    heads = with_first(params["head"], params["heads"])
    f_t, p = np.asarray(sample()["f_t"]), []
    for i in range(4):
        layer = jax.tree.map(lambda a, i=i: a[i], params["projections"]["Dense_0"])
        p.append(softmax(linear(jax.tree.map(lambda a, i=i: a[i], heads), np.maximum(linear(layer, f_t), 0))))
    pairs = [np.abs(a - b).mean() for a, b in combinations(p, 2)]
    np.testing.assert_allclose(update(method, params).metrics["loss/disagreement"], np.mean(pairs), rtol=1e-4)


def test_mme_head_ascends_and_encoder_descends_the_targets_entropy():
    params = {"head": make_spec().init_head(jax.random.key(0))}
    value, metrics, gradients = gradients_of(mme(weight=0.3), sample(), params=params, state={})

    @jax.jit
    def entropy(head, features):
        return mean_entropy(HEAD.apply({"params": head}, features))

    of_head, of_features = jax.jit(jax.grad(entropy, argnums=(0, 1)))(params["head"], sample()["f_t"])
    got = jax.jit(jax.grad(lambda p: penalty_of(mme(weight=0.3), p, {})(make_pass(**sample()))[0]))(params)["head"]
    np.testing.assert_allclose(metrics["loss/mme"], entropy(params["head"], sample()["f_t"]), rtol=1e-5)
    np.testing.assert_allclose(value, -0.3 * metrics["loss/mme"], rtol=1e-5)
    # Both are minimised: the head's gradient is that of −λH, the encoder's that of +λH.
    np.testing.assert_allclose(got["kernel"], -0.3 * of_head["kernel"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradients["f_t"], 0.3 * of_features, rtol=1e-4, atol=1e-6)
    assert not np.any(gradients["f_s"]) and not np.any(gradients["g_s"])
    shots = (np.asarray(sample()["g_s"]).argmax(-1) == LABELS)[1::2].mean()
    np.testing.assert_allclose(metrics["mme/accuracy_shots"], shots, rtol=1e-6)


def test_mme_alternating_takes_two_updates():
    method = mme(alternate=True)
    assert [u.name for u in method.updates] == ["labelled", "entropy"] and not method.penalties
    params = {"head": make_spec().init_head(jax.random.key(0))}
    together = penalty_of(mme(), params, {})(make_pass(**sample()))[0]
    np.testing.assert_allclose(update(method, params, 1).value, together, rtol=1e-6)
    state, step = setup(method, "tokens")
    new, metrics = jax.jit(step)(state, batch("tokens"))
    assert "labelled/loss/task" in metrics and "entropy/loss/mme" in metrics
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(new.params))


def with_shots(n: int = 2):
    b = batch("tokens")
    return b._replace(shots=Source(b.target.inputs[:n], np.arange(n).astype(np.int32)))


@pytest.mark.parametrize("alternate", [False, True])
def test_mme_takes_shots_from_a_stream_of_their_own(alternate):
    state, step = setup(mme(sources=1, alternate=alternate), "tokens")
    b, plain = with_shots(), batch("tokens")
    prefix = "labelled/" if alternate else ""
    _, got = jax.jit(step)(state, b)
    _, without = jax.jit(step)(state, plain)
    apply = make_forward(classifier("tokens"), "joint").one
    outputs, _ = apply(state.params, state.model, b.shots.inputs, "target", None, False)
    on_shots = cross_entropy(np.asarray(outputs.logits), b.shots.labels)
    # Half of each, however many rows there are; the net has no dropout.
    expected = 0.5 * (without[f"{prefix}loss/task"] + on_shots)
    np.testing.assert_allclose(got[f"{prefix}loss/task"], expected, rtol=1e-5)
    right = (np.asarray(outputs.logits).argmax(-1) == b.shots.labels).mean()
    np.testing.assert_allclose(got[f"{prefix}mme/accuracy_shots"], right)
    assert not any("accuracy_shots" in name for name in without)


def test_refused():
    for make, sources in ((mfsan, 1), (m3sda, 0), (mme, 0), (mfsan, "2")):
        with pytest.raises(InputError, match="sources"):
            make(sources=sources)
    with pytest.raises(InputError, match="multiple of 3"):
        update(m3sda(sources=3), parameters(m3sda(sources=3)))
