"""Test-time methods on small nets: mixtures of statistics, what adapts, resets, recovery, a shift they are made for."""

from functools import lru_cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.encoders import MLP, Classifier, LeNet
from dalib.encoders.adapters.linen import normalise_by_batch
from dalib.methods.test_time.entropy import bn_norm, sar, tent
from dalib.methods.test_time.interface import adaptable, merge, report
from dalib.train.predict import adapt, make_apply

NET = Classifier(MLP((8,), norm=True), 3)
X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


@lru_cache
def variables():
    """Variables whose statistics are not those of :data:`X`, and whose scales and biases are not 1 and 0."""
    plain = jax.jit(NET.init)(jax.random.key(0), X)
    paths = jax.tree_util.tree_leaves_with_path(plain)
    leaves = [x + 0.3 * jnp.abs(jax.random.normal(jax.random.key(i), x.shape)) for i, (_, x) in enumerate(paths)]
    return jax.tree.unflatten(jax.tree.structure(plain), leaves)


def parts():
    return variables()["params"], variables()["batch_stats"]


def test_a_mixture_of_statistics_goes_from_evaluation_to_the_batch():
    apply = jax.jit(make_apply(NET))
    evaluated = NET.apply(variables(), X).logits
    with normalise_by_batch(True):
        by_batch = NET.apply(variables(), X, mutable=["batch_stats"])[0].logits
    np.testing.assert_allclose(apply(*parts(), X, 1.0)[0].logits, evaluated, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(apply(*parts(), X, 0.0)[0].logits, by_batch, rtol=1e-5, atol=1e-5)
    # In between, by hand: one BatchNorm, so mixing its moments is all there is.
    p, s = parts()
    p, stored = jax.tree.map(np.asarray, p), jax.tree.map(np.asarray, s["encoder"]["bn1"])
    layers = p["encoder"]
    z = np.asarray(X @ layers["fc1"]["kernel"] + layers["fc1"]["bias"], np.float64)
    mean, var = 0.25 * stored["mean"] + 0.75 * z.mean(0), 0.25 * stored["var"] + 0.75 * z.var(0)
    h = np.maximum((z - mean) / np.sqrt(var + 1e-5) * layers["bn1"]["scale"] + layers["bn1"]["bias"], 0)
    expected = h @ p["head"]["fc"]["kernel"] + p["head"]["fc"]["bias"]
    outputs, moments = apply(*parts(), X, 0.25)
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs.features, h, rtol=1e-4, atol=1e-4)
    # The moments are the batch's own, whatever the mixture, in the form of the statistics.
    assert jax.tree.structure(moments) == jax.tree.structure(s)
    np.testing.assert_allclose(moments["encoder"]["bn1"]["mean"], z.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moments["encoder"]["bn1"]["var"], z.var(0), rtol=1e-4, atol=1e-5)
    state, outputs, _ = bn_norm(make_apply(NET), prior=4.0).step(
        bn_norm(make_apply(NET)).init(variables()), jnp.asarray(X)
    )
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-4, atol=1e-4)  # 4 / (4 + 12)
    assert state["batch_stats"] is s


def test_a_mixture_in_a_convolutional_net():
    net = Classifier(LeNet(channels=(2, 3), width=4, norm=True), 3)
    images = np.random.default_rng(1).normal(size=(5, 16, 16, 1)).astype(np.float32)
    v = jax.jit(net.init)(jax.random.key(0), images)

    @jax.jit
    def both(v):
        with normalise_by_batch(True):
            by_batch = net.apply(v, images, mutable=["batch_stats"])[0].logits
        return by_batch, make_apply(net)(v["params"], v["batch_stats"], images, 0.0)[0].logits

    by_batch, logits = both(v)
    np.testing.assert_allclose(logits, by_batch, rtol=1e-4, atol=1e-5)


def test_only_scales_and_biases_of_normalisation_adapt():
    params = variables()["params"]
    assert set(adaptable(params)) == {"encoder/bn1/scale", "encoder/bn1/bias"}
    assert set(adaptable(params, skip=["scale$"])) == {"encoder/bn1/bias"}
    jax.tree.map(np.testing.assert_array_equal, merge(params, adaptable(params)), params)
    method = tent(make_apply(NET), learning_rate=0.01)
    start = method.init(variables())
    new, outputs, metrics = jax.jit(method.step)(start, X)
    before = make_apply(NET)(*parts(), X, 0.0)[0].logits
    np.testing.assert_allclose(outputs.logits, before, rtol=1e-4, atol=1e-5)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new["params"], start["params"])
    assert changed["encoder"] == {"bn1": {"scale": True, "bias": True}, "fc1": {"kernel": False, "bias": False}}
    assert not any(jax.tree.leaves(changed["head"]))
    # What the new state predicts of this batch is what the next step would start from.
    _, later_outputs, later = jax.jit(method.step)(new, X)
    np.testing.assert_allclose(method.predict(new, X).logits, later_outputs.logits, rtol=1e-4, atol=1e-5)
    assert later["entropy"] < metrics["entropy"]
    assert metrics["histogram"].sum() == len(X)


class Layers(nn.Module):
    """A net with LayerNorm instead of BatchNorm."""

    @nn.compact
    def __call__(self, inputs, *, train=False):
        return Outputs(nn.LayerNorm(name="norm")(nn.Dense(6, name="fc")(inputs)), None, {})


def test_nets_without_statistics_or_scales():
    layers = Classifier(Layers(), 3)
    v = jax.jit(layers.init)(jax.random.key(0), X)
    assert set(adaptable(v["params"])) == {"encoder/norm/scale", "encoder/norm/bias"}
    method = tent(make_apply(layers))
    assert np.isfinite(jax.jit(method.step)(method.init(v), X)[1].logits).all()
    assert make_apply(layers)(v["params"], {}, X, 0.0)[1] == {}
    with pytest.raises(InputError, match="BatchNorm"):
        bn_norm(make_apply(layers)).init(v)
    bare = Classifier(MLP((8,)), 3)
    v = jax.jit(bare.init)(jax.random.key(0), X)
    for factory in (tent, sar, bn_norm):
        with pytest.raises(InputError, match="norm=True"):
            factory(make_apply(bare)).init(v)


def test_a_reset_forgets_and_modes_differ():
    method = tent(make_apply(NET), learning_rate=0.05)
    stream = [X[:6], X[6:], X[:6]]
    modes = ("continual", "episodic")
    logits = {mode: [b.outputs.logits for b in adapt(method, variables(), stream, mode=mode)] for mode in modes}
    np.testing.assert_array_equal(logits["episodic"][0], logits["episodic"][2])
    assert (np.asarray(logits["continual"][0]) != np.asarray(logits["continual"][2])).any()
    again = list(adapt(method, variables(), stream, after=True))
    jax.tree.map(np.testing.assert_array_equal, [b.outputs.logits for b in again], logits["continual"])
    assert all((b.after.logits != b.outputs.logits).any() for b in again)
    # The reset of the episodic mode comes before a batch, so its update shows in what comes after.
    (first, *_) = adapt(method, variables(), stream, mode="episodic", after=True)
    np.testing.assert_array_equal(first.after.logits, again[0].after.logits)
    with pytest.raises(InputError, match="episodic"):
        adapt(method, variables(), stream, mode="always")


def test_sar_by_hand():
    """One step on reliable rows: the gradient at the worst point of the ball, checked against its definition."""
    apply, optimizer = make_apply(NET), optax.sgd(0.1)
    method = sar(apply, optimizer=optimizer, margin=0.8, radius=0.05, recover_below=0.0)
    state = method.init(variables())
    new, _, metrics = jax.jit(method.step)(state, X)
    trained = adaptable(variables()["params"])

    def rows(leaves):
        outputs, _ = apply(merge(variables()["params"], leaves), variables()["batch_stats"], X, 0.0)
        log_p = jax.nn.log_softmax(outputs.logits)
        return -(jnp.exp(log_p) * log_p).sum(1)

    kept = np.asarray(rows(trained)) < 0.8 * np.log(3)
    assert 0 < kept.sum() < len(X)
    up = jax.grad(lambda w: rows(w)[kept].mean())(trained)
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in up.values()))
    worst = {k: trained[k] + 0.05 * up[k] / norm for k in trained}
    still = kept & (np.asarray(rows(worst)) < 0.8 * np.log(3))
    gradient = jax.grad(lambda w: rows(w)[still].mean())(worst)
    for k, leaf in adaptable(new["params"]).items():
        np.testing.assert_allclose(leaf, trained[k] - 0.1 * gradient[k], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["reliable"], kept.mean(), rtol=1e-6)
    np.testing.assert_allclose(new["average"], rows(worst)[still].mean(), rtol=1e-5)


def test_sar_skips_unreliable_batches_and_recovers():
    apply = make_apply(NET)
    nothing = sar(apply, margin=0.0)
    new, _, metrics = nothing.step(nothing.init(variables()), X)
    jax.tree.map(np.testing.assert_array_equal, new["params"], variables()["params"])
    assert metrics["reliable"] == 0 and new["average"] == -1 and not metrics["recovered"]
    always = sar(apply, margin=2.0, recover_below=10.0, learning_rate=0.1)
    moved = {**always.init(variables()), "params": jax.tree.map(lambda x: 1.5 * x, variables()["params"])}
    new, _, metrics = jax.jit(always.step)(moved, X)
    assert metrics["recovered"] and new["average"] == -1
    jax.tree.map(np.testing.assert_array_equal, adaptable(new["params"]), adaptable(variables()["params"]))
    jax.tree.map(np.testing.assert_array_equal, new["optimizer"], moved["optimizer"])


def test_the_report_of_a_collapse():
    logits = 50 * jax.nn.one_hot(jnp.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0]), 3)
    certain = Outputs(logits, logits)
    assert not report(certain)["collapsed"] and report(certain, collapse_share=0.8)["collapsed"]
    np.testing.assert_array_equal(report(certain)["histogram"], [1, 9, 0])
    part = lambda n: Outputs(logits[:n], logits[:n])  # noqa: E731
    assert report(part(9))["collapsed"] and not report(part(1))["collapsed"]


@pytest.mark.slow
def test_they_solve_a_change_of_scale_and_offset():
    centres = np.array([[2.0, 0], [-1, 2], [-1, -2]])

    def draw(seed, n):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 3, n)
        return (centres[y] + 0.6 * rng.normal(size=(n, 2))).astype(np.float32), y

    net = Classifier(MLP((16, 16), norm=True), 3)
    gains = {"bn_norm": [], "tent": [], "sar": []}
    for seed in range(3):
        v, optimizer = net.init(jax.random.key(seed), X[:, :2]), optax.adam(0.01)

        @jax.jit
        def step(v, moments, x, y, optimizer=optimizer):
            def loss(params):
                out, new = net.apply({**v, "params": params}, x, train=True, mutable=["batch_stats"])
                return optax.softmax_cross_entropy_with_integer_labels(out.logits, y).mean(), new

            gradients, new = jax.grad(loss, has_aux=True)(v["params"])
            changes, moments = optimizer.update(gradients, moments)
            return {**new, "params": optax.apply_updates(v["params"], changes)}, moments

        moments = optimizer.init(v["params"])
        for i in range(200):
            v, moments = step(v, moments, *draw(1000 * seed + i, 64))
        x, y = draw(99, 640)
        # Another scale and offset of each input, and a shear that statistics alone cannot undo.
        x = (x @ np.array([[1.0, 0.5], [0.0, 1.0]]) * np.array([0.4, 1.5]) + np.array([1.5, -2.0])).astype(np.float32)
        plain = (np.asarray(net.apply(v, x).logits).argmax(1) == y).mean()
        apply = make_apply(net)
        for method in (
            bn_norm(apply, prior=0.0),
            tent(apply, learning_rate=0.01),
            sar(apply, learning_rate=0.01, recover_below=0.0),
        ):  # noqa: E501
            logits = [b.outputs.logits for b in adapt(method, v, x.reshape(10, 64, 2))]
            gains[method.name].append((np.concatenate(logits).argmax(1) == y).mean() - plain)
    print(gains)
    assert np.mean(gains["bn_norm"]) > 0.05
    assert np.mean(gains["tent"]) > np.mean(gains["bn_norm"]) - 0.01
    assert np.mean(gains["sar"]) > 0.05
