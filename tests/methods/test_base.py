"""The seam: what a supervised pass reports, where methods start, and a net that a method can't use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.checks import InputError
from dalib.methods import METHODS, adabn, adda, combine, dann, entmin
from dalib.methods.task_loss import cross_entropy, smoothed_cross_entropy, source_quality
from tests.methods.passes import make_spec


def test_classes_have_an_accuracy_and_numbers_an_error():
    outputs = jnp.array([[1.0, 3.0], [2.0, 0.0]])
    assert source_quality(outputs, jnp.array([1, 1])) == {"accuracy/source": 0.5}
    (error,) = source_quality(outputs, jnp.array([[1.0, 1.0], [1.0, 1.0]])).items()
    assert error == ("error/source", 1.0)
    np.testing.assert_allclose(source_quality(outputs[:, :1], jnp.array([0.0, 4.0]))["error/source"], 1.5)
    with pytest.raises(InputError, match="labels: got float32.2. beside outputs .2, 2."):
        source_quality(outputs, jnp.array([0.0, 1.0]))


def test_label_smoothing_is_cross_entropy_against_spread_labels():
    logits, labels = jnp.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), jnp.array([2, 1])
    spread = 0.7 * jnp.eye(3)[labels] + 0.3 / 3
    expected = -(spread * jax.nn.log_softmax(logits)).sum(1)
    np.testing.assert_allclose(smoothed_cross_entropy(0.3)(logits, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(smoothed_cross_entropy(0.0)(logits, labels), cross_entropy(logits, labels), rtol=1e-6)
    assert jnp.isnan(smoothed_cross_entropy(0.3)(logits, jnp.array([3, 1]))[0])
    with pytest.raises(InputError, match="smoothing"):
        smoothed_cross_entropy(1.0)


def test_where_methods_start():
    assert {name for name, make in METHODS.items() if make().starts_from == "source"} == {"adda", "shot"}
    assert combine(entmin(), adda(hidden=(2,))).starts_from == "source"
    assert combine(entmin(), dann(hidden=(2,))).starts_from == "scratch"


def test_adabn_refuses_a_net_without_statistics_before_training():
    with pytest.raises(InputError, match="without BatchNorm"):
        adabn().init(jax.random.key(0), make_spec())
    stats = {"bn": {"mean": jnp.zeros(2), "var": jnp.ones(2)}}
    assert adabn().init(jax.random.key(0), make_spec()._replace(batch_stats=stats)) == ({}, {})


def test_groups_that_an_update_trains():
    from dalib.methods.base import Update, trained_groups

    update = Update("C", lambda *_: None, ("encoder", "bottleneck"))
    assert trained_groups(update, {"encoder": {}, "head": {}}) == ("encoder",)
    assert trained_groups(update, {"bottleneck": {}, "head": {}}) == ("bottleneck",)  # a net on given features
    with pytest.raises(InputError, match="trained by update 'C'.*'encoder'"):
        trained_groups(update, {"head": {}})
    with pytest.raises(InputError, match="did you mean 'head'"):
        trained_groups(Update("A", lambda *_: None, ("encoder", "haed")), {"encoder": {}, "head": {}})
