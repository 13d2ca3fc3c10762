"""The seam: where methods start, a net that a method can't use, and the groups that an update trains."""

import jax
import jax.numpy as jnp
import pytest

from dalib.core.checks import InputError
from dalib.methods import METHODS, adabn, adda, combine, dann, entmin
from dalib.methods.base import Update, trained_groups
from tests.methods.passes import make_spec


def test_where_methods_start():
    assert {name for name, make in METHODS.items() if make().needs.start == "source"} == {"adda", "shot"}
    assert combine(entmin(), adda(hidden=(2,)), batch_norm="joint").needs.start == "source"
    assert combine(entmin(), dann(hidden=(2,))).needs.start == "scratch"


def test_adabn_refuses_a_net_without_statistics_before_training():
    with pytest.raises(InputError, match="without BatchNorm"):
        adabn().init(jax.random.key(0), make_spec())
    stats = {"bn": {"mean": jnp.zeros(2), "var": jnp.ones(2)}}
    assert adabn().init(jax.random.key(0), make_spec()._replace(batch_stats=stats)) == ({}, {})


def test_groups_that_an_update_trains():
    update = Update("C", lambda *_: None, ("encoder", "bottleneck"))
    assert trained_groups(update, {"encoder": {}, "head": {}}) == ("encoder",)
    assert trained_groups(update, {"bottleneck": {}, "head": {}}) == ("bottleneck",)  # a net on given features
    with pytest.raises(InputError, match="trained by update 'C'.*'encoder'"):
        trained_groups(update, {"head": {}})
    with pytest.raises(InputError, match="did you mean 'head'"):
        trained_groups(Update("A", lambda *_: None, ("encoder", "haed")), {"encoder": {}, "head": {}})
