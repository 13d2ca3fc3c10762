"""Assembly is total: every difference between a checkpoint and a net is told, all in one error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.pretrained import TRANSFORMS, Ignored, Rule, RuleTable, assemble

LIKE = {
    "params": {
        "conv": {"kernel": jax.ShapeDtypeStruct((3, 2, 5, 4), jnp.float32)},
        "query": {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)},
        "key": {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)},
        "value": {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)},
        "head": {"bias": jax.ShapeDtypeStruct((3,), jnp.float32)},
    },
    "batch_stats": {"bn": {"mean": jax.ShapeDtypeStruct((4,), jnp.float32)}},
}
TABLE = RuleTable(
    "toy",
    1,
    (
        Rule(r"(conv)\.weight", r"params/\1/kernel", "conv"),
        Rule(
            r"attention\.in_proj", tuple(f"params/{part}/kernel" for part in ("query", "key", "value")),
            "split_qkv_linear",
        ),
        Rule(r"fc\.bias", "params/head/bias"),
        Rule(r"bn\.running_mean", "batch_stats/bn/mean"),
    ),
    (Ignored(r"bn\.num_batches_tracked", "a counter"),),
)  # fmt: skip


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 5, 3, 2)).astype(np.float32),
        "attention.in_proj": rng.normal(size=(6, 2)).astype(np.float32),
        "fc.bias": np.arange(3, dtype=np.float32),
        "bn.running_mean": np.arange(4, dtype=np.float16),
        "bn.num_batches_tracked": np.array(3),
    }


def fails(arrays, *parts, table=TABLE, like=LIKE, **options):
    with pytest.raises(InputError) as error:
        assemble(arrays, table, like, **options)
    for part in parts:
        assert part in str(error.value), error.value
    return str(error.value)


def test_every_array_lands_where_its_rule_says(arrays):
    found = assemble(arrays, TABLE, LIKE)
    assert jax.tree.structure(found) == jax.tree.structure(LIKE)
    assert found["params"]["conv"]["kernel"][2, 1, 4, 3] == arrays["conv.weight"][3, 4, 2, 1]
    np.testing.assert_array_equal(found["params"]["key"]["kernel"], arrays["attention.in_proj"][2:4].T)
    assert found["batch_stats"]["bn"]["mean"].dtype == np.float32  # half precision widens without loss
    assert np.shares_memory(found["params"]["conv"]["kernel"], arrays["conv.weight"])


def test_all_differences_in_one_error(arrays):
    arrays["conv.weight"] = arrays["conv.weight"].transpose(1, 0, 2, 3)
    arrays["fc.bias"] = np.arange(3)
    arrays["surplus"] = np.zeros(2)
    del arrays["bn.running_mean"]
    text = fails(
        arrays,
        "params/conv/kernel: [3, 2, 5, 4] in the net, [3, 2, 4, 5] from conv.weight",
        "params/head/bias: float32 in the net, int64 from fc.bias",
        "surplus [2] of the checkpoint: not known to the rule table",
        "batch_stats/bn/mean [4] of the net: nothing in the checkpoint fills it",
        "'toy' (version 1)",
    )
    assert text.count("\n  ") == 5  # the four, and what to do


def test_no_array_twice_and_no_variable_twice(arrays):
    again = TABLE._replace(rules=(*TABLE.rules, Rule(r"fc\.(\w+)", r"params/head/\1")))
    fails(arrays, "fc.bias [3] of the checkpoint: matched more than once", table=again)
    arrays["fc2.bias"] = arrays["fc.bias"]
    twice = TABLE._replace(rules=(*TABLE.rules, Rule(r"fc2\.bias", "params/head/bias")))
    fails(arrays, "params/head/bias of the net: filled twice, from fc.bias and fc2.bias", table=twice)
    ignored = TABLE._replace(ignored=(*TABLE.ignored, Ignored(r"fc2?\..*", "no use")))
    fails(arrays, "fc.bias [3] of the checkpoint: matched more than once", table=ignored)


def test_a_net_without_the_published_head(arrays):
    like = {**LIKE, "params": {k: v for k, v in LIKE["params"].items() if k != "head"}}
    fails(arrays, "fc.bias [3] of the checkpoint: goes to params/head/bias, which the net does not have", like=like)
    found = assemble(arrays, TABLE, like, without=("params/head/",))
    assert "head" not in found["params"]


def test_arrays_that_a_transform_cannot_take(arrays):
    arrays["attention.in_proj"] = np.zeros((5, 2), np.float32)
    fails(arrays, "attention.in_proj [5, 2] of the checkpoint: cannot be put through 'split_qkv_linear'")


def test_preparation_sees_all_arrays(arrays):
    wrapped = {f"module.{name}": x for name, x in arrays.items()}
    table = TABLE._replace(prepare=lambda given: {name.removeprefix("module."): x for name, x in given.items()})
    jax.tree.map(np.testing.assert_array_equal, assemble(wrapped, table, LIKE), assemble(arrays, TABLE, LIKE))


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.net.", "_orig_mod.module.", "a.b.c.d."])
def test_what_wrappers_put_before_the_names(arrays, prefix):
    wrapped = {prefix + name: x for name, x in arrays.items()}
    jax.tree.map(np.testing.assert_array_equal, assemble(wrapped, TABLE, LIKE), assemble(arrays, TABLE, LIKE))


def test_wrappers_inside_the_names(arrays):
    wrapped = {name.replace(".", "._orig_mod.module."): x for name, x in arrays.items()}
    jax.tree.map(np.testing.assert_array_equal, assemble(wrapped, TABLE, LIKE), assemble(arrays, TABLE, LIKE))


def test_names_that_the_prefix_does_not_explain_are_listed(arrays):
    wrapped = {f"model.{name}": x for name, x in arrays.items()} | {"loss.weight": np.ones(2)}
    text = fails(wrapped, "loss.weight [2] of the checkpoint: not known to the rule table")
    assert text.count("\n") == 2
    text = fails({f"other.{i}": np.ones(1) for i in range(300)}, "all names begin with other.", "… and 29")
    assert text.count("\n") < 24 and "nothing in the checkpoint fills it" in text
    assert len(fails({"n" * 10**6: np.ones(1)})) < 2000


def test_float64_is_rounded_and_counted(arrays, caplog):
    wide = {name: x.astype(np.float64) for name, x in arrays.items()}
    jax.tree.map(np.testing.assert_array_equal, assemble(wide, TABLE, LIKE), assemble(arrays, TABLE, LIKE))
    assert "6 arrays of float64 are rounded to float32" in caplog.text
    wide["fc.bias"][1] = 1e39
    fails(wide, "params/head/bias: 1 of 3 values are not finite, from fc.bias")


def test_values_that_are_not_finite_are_refused(arrays):
    for bad in (np.nan, np.inf, -np.inf):
        fails({**arrays, "fc.bias": np.full(3, bad, np.float32)}, "params/head/bias: 3 of 3 values are not finite")
    fails({name: np.full_like(x, np.nan) if x.dtype.kind == "f" else x for name, x in arrays.items()}, "not finite")


def test_convolutions_of_any_rank():
    for rank in (1, 2, 3):
        x = np.zeros((7, 5, *range(2, 2 + rank)))
        assert TRANSFORMS["conv"](x).shape == (*range(2, 2 + rank), 5, 7)
