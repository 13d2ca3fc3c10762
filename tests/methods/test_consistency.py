"""Two views and a teacher: golden values through the whole update, what is trained, averages, aligned labels, VAT.

The net of these tests is a bias added to logits that are the inputs: its gradient is the sum of the golden gradients
over rows, and a view selects which of the golden logits a pass sees.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dalib.core.checks import InputError
from dalib.core.types import Batch, Outputs, Source, Target, Time
from dalib.discrepancy import class_balance
from dalib.methods import Forward, Pass, States, combine, dann, evaluated
from dalib.methods.parts.augmentation import identity
from dalib.methods.self_training.consistency import cc_loss, fixmatch, sigmoid_ramp, soft_label_loss, uda
from dalib.methods.self_training.smoothness import adversarial_perturbation, virtual_adversarial_loss
from dalib.methods.self_training.teacher import adamatch, adamatch_warmup, mean_teacher, teacher_params
from tests.golden import golden, inputs
from tests.methods.passes import joined, loss_of, make_context, make_view


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def one(params, model, x, domain, key, train):
    del domain, key, train
    return Outputs(x, x + params["head"][None]), model


def pair(params, model, batch, key):
    # The plain target holds two views side by side; what the common pass makes of them, no term of these reads.
    passes = [one(params, model, x[:, :5], "", key, True)[0] for x in (batch.source.inputs, batch.target.inputs)]
    return Pass(*passes, batch), model


FORWARD = Forward(pair, one, None)


def first(key, x):
    """The view that sees a_t."""
    del key
    return x[:, :5]


def second(key, x):
    """The view that sees g_t."""
    del key
    return x[:, 5:]


def batch():
    g_s, y_s, a_t, g_t = inputs("g_s", "y_s", "a_t", "g_t")
    return Batch(Source(jnp.asarray(g_s), jnp.asarray(y_s, jnp.int32)), Target(jnp.concatenate([a_t, g_t], 1)))


def run(method, *, state=None, params=None, b=None, **context):
    """The method's term alone (its loss minus the task loss), its gradient for the bias, its metrics and new states."""
    params = {"head": jnp.zeros(5)} if params is None else params
    states, b = States({}, {} if state is None else state), b or batch()

    def loss(params):
        result = joined(method, method.updates[0], params, states, b, FORWARD, make_context(**context))
        return result.value - result.metrics["loss/task"], (result.metrics, result.states)

    (value, aux), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, gradient["head"], *aux


VIEWS = {"weak": second, "strong": first}  # as the golden cases: the student is a_t, the teacher g_t


@pytest.mark.parametrize(
    "method, case",
    [
        (fixmatch(threshold=0.7, **VIEWS), "pseudo_label.thr0.7"),
        (cc_loss(threshold=0.4, epsilon=1e-5, confusion=0.0, **VIEWS), "cc_loss.T2.5.thr0.4"),
    ],
)
def test_golden(method, case):
    value, gradient, metrics, _ = run(method)
    expected = golden(case)
    np.testing.assert_allclose(value, expected.value, rtol=1e-10)
    np.testing.assert_allclose(metrics[f"loss/{method.name}"], expected.value, rtol=1e-10)
    reference = expected.gradients["a_t"].sum(0)
    np.testing.assert_allclose(gradient, reference, atol=1e-10)
    if case.startswith("cc_loss"):
        assert metrics["cc_loss/kept"] == golden("cc_loss.mask_ratio").value


def test_golden_mean_teacher():
    state = {"teacher": {"head": jnp.zeros(5)}}
    method = mean_teacher(weight=1.0, threshold=0.0, balance=0.0, tllib_form=True, weak=first, strong=second)
    value, gradient, metrics, _ = run(method, state=state)
    expected = golden("pi_model.l2")
    np.testing.assert_allclose(value, expected.value, rtol=1e-10)
    np.testing.assert_allclose(gradient, expected.gradients["g_t"].sum(0), atol=1e-10)
    np.testing.assert_allclose(metrics["mean_teacher/balance"], golden("self_ensemble.class_balance").value, rtol=1e-10)
    np.testing.assert_allclose(sigmoid_ramp(Time(0, 0.3)), golden("pi_model.sigmoid_warm_up.3of10").value, rtol=1e-10)
    assert sigmoid_ramp(Time(0, 0.5), until=0.25) == 1
    ramped, *_ = run(
        mean_teacher(threshold=0.0, balance=0.0, tllib_form=True, ramp=sigmoid_ramp, weak=first, strong=second),
        state=state,
        progress=0.3,
    )
    np.testing.assert_allclose(ramped, 3 * expected.value * golden("pi_model.sigmoid_warm_up.3of10").value, rtol=1e-6)


def test_mean_teacher_keeps_certain_rows_of_the_teacher():
    a_t, g_t = (scipy.special.softmax(z, axis=1) for z in inputs("a_t", "g_t"))
    kept = a_t.max(1) >= 0.5
    assert 0 < kept.sum() < 8
    state = {"teacher": {"head": jnp.zeros(5)}}
    settings = {"threshold": 0.5, "weak": first, "strong": second, "balance": 0.2, "weight": 2.0}
    value, _, metrics, states = run(mean_teacher(**settings), state=state)
    consistency = (kept * ((g_t - a_t) ** 2).mean(1)).mean()
    np.testing.assert_allclose(metrics["loss/mean_teacher"], consistency, rtol=1e-10)
    # The paper's form sums the balance over the five classes.
    balance = 0.2 * kept.mean() * 5 * float(class_balance(jnp.asarray(inputs("g_t")[0])))
    np.testing.assert_allclose(value, 2 * (consistency + balance), rtol=1e-10)
    assert states.method["teacher"]["head"].tolist() == [0.0] * 5
    with pytest.raises(InputError, match="did you mean 'teacher'"):
        mean_teacher(evaluate="teachers")


def test_the_teacher_is_an_average_of_the_student():
    method = mean_teacher(decay=0.9)
    states = States({}, {"teacher": {"head": jnp.zeros(5)}})
    params = {"head": jnp.ones(5), "other": jnp.ones(2)}
    for _ in range(2):
        states = method.hooks.after_step(make_view(batch(), params, states, FORWARD))
    np.testing.assert_allclose(states.method["teacher"]["head"], 0.19, rtol=1e-12)
    taught = teacher_params(params, states.method)
    assert taught["head"][0] < 0.2 and taught["other"] is params["other"]


def test_an_evaluation_takes_the_teacher_alone_and_in_a_sum():
    params, state = {"head": jnp.ones(5)}, {"teacher": {"head": jnp.zeros(5)}}
    seen, states = evaluated(mean_teacher(), params, States({}, state))
    assert seen["head"].tolist() == [0.0] * 5 and states == States({}, state)
    assert evaluated(mean_teacher(evaluate="student"), params, states)[0] is params
    both = combine(mean_teacher(), dann(hidden=(4,)), batch_norm="separate")
    params["dann/discriminator"] = jnp.ones(3)
    seen, _ = evaluated(both, params, States({}, {"mean_teacher": state, "dann": {}}))
    assert seen["head"].tolist() == [0.0] * 5 and seen["dann/discriminator"] is params["dann/discriminator"]
    with pytest.raises(InputError, match="their own evaluate"):
        combine(mean_teacher(), mean_teacher()._replace(name="second"))


def test_soft_labels_by_hand():
    a_t, g_t = inputs("a_t", "g_t")
    p, kept = scipy.special.softmax(g_t, axis=1), scipy.special.softmax(g_t, axis=1).max(1) >= 0.4
    assert 0 < kept.sum() < 8
    q = scipy.special.softmax(a_t / 0.85, axis=1)
    value, gradient, metrics, _ = run(uda(threshold=0.4, **VIEWS))
    np.testing.assert_allclose(value, (p * np.log(p / q)).sum(1)[kept].mean(), rtol=1e-10)
    np.testing.assert_allclose(gradient, ((q - p) / 0.85)[kept].mean(0), atol=1e-10)
    sharp, q = scipy.special.softmax(g_t / 0.4, axis=1), scipy.special.softmax(a_t, axis=1)
    value, *_ = run(uda(threshold=0.4, temperature=0.4, form="paper", **VIEWS))
    np.testing.assert_allclose(value, (kept * (sharp * np.log(sharp / q)).sum(1)).mean(), rtol=1e-10)
    assert soft_label_loss(jnp.asarray(a_t), jnp.asarray(g_t), threshold=1.1) == 0
    with pytest.raises(InputError, match="form"):
        uda(form="both")


def test_nothing_is_kept_above_every_confidence():
    for method in (fixmatch(threshold=1.0, **VIEWS), cc_loss(threshold=1.0, confusion=0.0, **VIEWS)):
        value, gradient, metrics, _ = run(method)
        assert value == 0 and metrics[f"{method.name}/kept"] == 0 and not gradient.any()


def test_adamatch_by_hand():
    g_s, y_s, g_t, a_t = inputs("g_s", "y_s", "g_t", "a_t")
    method = adamatch(target_weight=0.7, window=4, source_decay=0.9, weak=identity, strong=lambda key, x: x[:, ::-1])
    state = {"source": jnp.full(5, 0.2), "target": jnp.full((4, 5), 0.2)}
    b = Batch(Source(jnp.asarray(g_s), jnp.asarray(y_s, jnp.int32)), Target(jnp.asarray(g_t)))
    value, _, metrics, states = run(method, state=state, b=b, step=jnp.array(6))
    p_s, p_t = scipy.special.softmax(g_s, axis=1), scipy.special.softmax(g_t, axis=1)
    source = 0.9 * 0.2 + 0.1 * p_s.mean(0)
    target = np.full((4, 5), 0.2)
    target[2] = p_t.mean(0)
    q = p_t * (source + 1e-6) / (target.mean(0) + 1e-6)
    q /= q.sum(1, keepdims=True)
    threshold = 0.9 * p_s.max(1).mean()
    kept = q.max(1) >= threshold
    assert 0 < kept.sum() < 8
    log_strong = scipy.special.log_softmax(g_t[:, ::-1], axis=1)
    loss = -(kept * log_strong[np.arange(8), q.argmax(1)]).mean()
    np.testing.assert_allclose(metrics["loss/adamatch"], loss, rtol=1e-6)
    np.testing.assert_allclose(value, 0.7 * loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["adamatch/threshold"], threshold, rtol=1e-6)
    np.testing.assert_allclose(states.method["source"], source, rtol=1e-6)
    np.testing.assert_allclose(states.method["target"], target, rtol=1e-6)
    task = -np.mean([scipy.special.log_softmax(z, axis=1)[np.arange(8), y_s] for z in (g_s, g_s[:, ::-1])])
    np.testing.assert_allclose(metrics["loss/task"], task, rtol=1e-6)


def test_adamatch_mixes_the_logits_of_two_passes_and_warms_up():
    ramp = [float(adamatch_warmup(make_context(progress=p))) for p in (0.0, 0.25, 0.5, 1.0)]
    np.testing.assert_allclose(ramp, [0, 0.5, 1, 1], atol=1e-6)
    mixed = FORWARD._replace(one=lambda params, model, x, *_: (Outputs(x, x + 1000.0 * jnp.eye(5)[:1]), model))
    method = adamatch(target_weight=0.0, weak=identity, strong=identity)
    state = {"source": jnp.full(5, 0.2), "target": jnp.full((128, 5), 0.2)}
    b = Batch(Source(jnp.zeros((8, 5)) + jnp.arange(8)[:, None], jnp.zeros(8, jnp.int32)), Target(jnp.zeros((3, 5))))

    @jax.jit
    def loss(labels):
        seen = b._replace(source=b.source._replace(labels=labels))
        return loss_of(method.updates[0], {"head": jnp.zeros(5)}, States({}, state), seen, mixed).value

    # Class 0 has u · 1000 more than the others: its log-probability is about 0, that of another class −u · 1000.
    assert float(loss(jnp.zeros(8, jnp.int32))) < 1e-3
    assert 0.3 < float(loss(jnp.ones(8, jnp.int32))) / 1000 < 0.7


def test_the_perturbation_is_the_worst_direction():
    w = np.random.default_rng(0).normal(size=(6, 3))
    x, start = np.random.default_rng(1).normal(size=(2, 4, 6))
    logits_of = lambda z: z @ jnp.asarray(w)  # noqa: E731
    # With two classes only one direction matters, and one iteration finds it.
    two = adversarial_perturbation(lambda z: logits_of(z)[:, :2], jnp.asarray(x), jnp.asarray(start), radius=0.5)
    line = (w[:, 0] - w[:, 1]) / np.linalg.norm(w[:, 0] - w[:, 1])
    np.testing.assert_allclose(np.abs(np.asarray(two) @ line), 0.5, rtol=1e-10)
    # With more, many iterations reach the leading eigenvector of Jᵀ (diag p − p pᵀ) J.
    many = jax.jit(lambda x, start: adversarial_perturbation(logits_of, x, start, radius=1.0, iterations=30))
    found = many(x, start)
    p = scipy.special.softmax(x @ w, axis=1)
    for row, direction in zip(p, np.asarray(found), strict=True):
        leading = np.linalg.eigh(w @ (np.diag(row) - np.outer(row, row)) @ w.T)[1][:, -1]
        np.testing.assert_allclose(abs(direction @ leading), 1, rtol=1e-4)
    # One iteration is the gradient at a tiny distance, which is how the authors compute it.
    log_p = jax.nn.log_softmax(logits_of(x))

    def change(r):
        return jnp.sum(jnp.exp(log_p) * (log_p - jax.nn.log_softmax(logits_of(x + r))))

    unit = start / np.linalg.norm(start, axis=1, keepdims=True)
    near = np.asarray(jax.grad(change)(1e-5 * unit))
    once = adversarial_perturbation(logits_of, jnp.asarray(x), jnp.asarray(start), radius=1.0)
    np.testing.assert_allclose(once, near / np.linalg.norm(near, axis=1, keepdims=True), atol=1e-4)


def test_smoothness_of_constant_predictions_is_0_and_finite():
    x, start = np.random.default_rng(1).normal(size=(2, 4, 6))
    loss = jax.jit(
        jax.value_and_grad(
            lambda w: virtual_adversarial_loss(lambda z: z @ w, jnp.asarray(x), jnp.asarray(start), radius=3.5)
        )
    )
    value, gradient = loss(jnp.zeros((6, 3)))
    assert value == 0 and np.isfinite(gradient).all()
    value, gradient = loss(jnp.full((6, 3), 1e3).at[:, 0].set(-1e3))
    assert np.isfinite(value) and np.isfinite(gradient).all()
