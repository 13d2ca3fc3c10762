"""Gradients of a large batch out of small parts of it, so that only one part's activations are in memory at a time.

Two forms, of one argument:

- :func:`averaged`: the mean of the parts' gradients. That is the batch's gradient only where losses are means over
  examples, which a method declares (``Needs.per_example``). MMD, CORAL and all else that looks at the distribution of
  a batch would be another objective, on parts of n/k rows.
- :func:`cached`: exact for these too ("GradCache", Gao, Zhang, Han, Callan, RepL4NLP 2021, arXiv 2101.06983, §3.2), at
  the cost of one more forward pass. The method may look at the net only through one common pass.

Neither admits BatchNorm by the batch's statistics: a part's statistics are not the batch's.

Part i of k is rows i, i + k, i + 2k …, so that rows split over devices stay where they are. Dropout of each part has a
key of its own, ``fold_in(key, i)``, the same in both passes of :func:`cached`: another draw than that of the undivided
step, of the same distribution. Both forms return ``((value, (states, metrics)), gradients)``, as
``jax.value_and_grad(..., has_aux=True)``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dalib.core.checks import InputError, input_error
from dalib.core.types import Array, Batch, Outputs, Params, PyTree
from dalib.methods.base import Method
from dalib.methods.view import NET_GROUPS, Forward, Pass

Objective = Callable[[Params, Batch, Array], tuple[Array, tuple[Any, Any]]]
"""``(trained, batch, key) -> (value, (states, metrics))``."""
ObjectiveOf = Callable[[Callable[[Params], Forward]], Objective]
"""``forward_of -> objective``; ``forward_of(params)`` gives the :class:`Forward` that these parameters go with."""

FULL = "Needs.per_example: its losses are means over the examples of each domain"


def check_parts(method: Method, parts: int, *, cached: bool) -> None:
    """Refuse a number below 1, and a method with losses that must be means over examples and are not."""
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise input_error("accumulate", got=repr(parts), expected="a number of parts ≥ 1")
    if parts > 1 and not cached and not method.needs.per_example:
        raise input_error(
            "accumulate",
            got=f"{parts} with method {method.name!r}, whose losses are not all means over examples",
            expected=f"a method that declares so ({FULL})",
            todo="take cached=True, in experiments --gradient-cache (two passes), which is exact for it as well",
        )


def check_statistics(model: PyTree, batch_norm: str) -> None:
    """Refuse a net that would normalise by the batch, before the step is traced.

    ``model`` holds the net's batch statistics, or their shapes; it is empty without BatchNorm.
    """
    if jax.tree.leaves(model) and batch_norm != "frozen":
        raise _unsteady()


def _unsteady() -> InputError:
    return input_error(
        "accumulate",
        got="a net with BatchNorm that normalises by the batch",
        expected="a net without BatchNorm, or the convention batch_norm='frozen'",
        todo="a part's statistics are not the batch's: freeze them, or train with smaller whole batches",
    )


def averaged(
    objective_of: ObjectiveOf, forward: Forward, trained: Params, states: Any, batch: Batch, key: Array, k: int
):
    """Value, states, metrics and gradients as means over ``k`` parts; the states stay as they are."""
    # Parts may not change the statistics: the order of parts would be part of the result.
    steady = _steady(forward)
    gradient = jax.value_and_grad(objective_of(lambda params: steady), has_aux=True)

    def part(i: Array, rows: Batch) -> Any:
        (value, (_, metrics)), gradients = gradient(trained, rows, jax.random.fold_in(key, i))
        return value, metrics, gradients

    value, metrics, gradients = _summed(part, k, split_rows(batch, k))
    mean = lambda tree: jax.tree.map(lambda x: x / k, tree)  # noqa: E731
    return (mean(value), (states, mean(metrics))), mean(gradients)


def cached(
    objective_of: ObjectiveOf,
    forward: Forward,
    trained: Params,
    params: Params,
    states: Any,
    batch: Batch,
    key: Array,
    k: int,
    *,
    what: str,
):
    """Value, states, metrics and gradients of the whole batch, by two passes over ``k`` parts.

    ``what`` names method and update in messages.
    """
    steady = _steady(forward)
    given, batch = batch, _seen(objective_of, forward, trained, batch, key)
    rows, numbers = split_rows(batch, k), jnp.arange(k)

    def outputs_of(own: Params, i: Array, rows: Batch) -> tuple[Outputs, Outputs]:
        outputs, _ = steady.pair(params | trained | own, states.model, rows, jax.random.fold_in(key, i))
        # Intermediate activations are what must not be kept.
        return outputs.source._replace(hidden={}), outputs.target._replace(hidden={})

    # First pass: of each part keep features and logits alone.
    _, parts = lax.scan(lambda _, at: (None, outputs_of({}, *at)), None, (numbers, rows))
    full = jax.tree.map(join_rows, parts)

    # The whole objective, differentiated with respect to the outputs of the full batch.
    def whole(trained: Params, full: tuple[Outputs, Outputs]):
        return objective_of(lambda params: _from_cache(forward, params, full, what))(trained, given, key)

    result, (direct, seen) = jax.value_and_grad(whole, argnums=(0, 1), has_aux=True)(trained, full)
    own = {g: x for g, x in trained.items() if g in NET_GROUPS}
    if not own:
        return result, direct

    # Second pass: each part goes through the net again and pulls its share of that gradient back.
    def pulled_back(i: Array, at: tuple[Batch, Any]) -> Params:
        _, pull = jax.vjp(lambda own: outputs_of(own, i, at[0]), own)
        return pull(at[1])[0]

    through = _summed(pulled_back, k, (rows, jax.tree.map(lambda x: part_rows(x, k), seen)))
    return result, {g: jax.tree.map(jnp.add, x, through[g]) if g in own else x for g, x in direct.items()}


def split_rows(batch: Batch, k: int) -> Batch:
    """Reshape every array of a batch from ``[n, ...]`` to ``[k, n/k, ...]``; ``k`` must divide every side."""
    for side, examples in batch._asdict().items():
        if examples is None:
            continue
        n = len(examples.inputs)
        if n % k:
            raise input_error(
                "accumulate", got=f"{k} parts of {n} {side} examples", expected="a divisor of that number"
            )
    return jax.tree.map(lambda x: part_rows(x, k), batch)


def part_rows(x: Array, k: int) -> Array:
    """Reshape ``[n, ...]`` to ``[k, n/k, ...]``; part i has rows i, i + k, ..."""
    return jnp.moveaxis(x.reshape(x.shape[0] // k, k, *x.shape[1:]), 1, 0)


def join_rows(x: Array) -> Array:
    """Undo :func:`part_rows`."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def refusing(forward: Forward, what: str) -> Forward:
    """Return a forward with a free head that refuses every pass through the net."""

    def refuse(*arguments: Any, **more: Any) -> Any:
        raise InputError(
            f"accumulate: {what} makes a pass through the net of its own, besides the common pass of source and target"
            "\n  expected: with cached=True, a method that looks at the net only through the outputs of that pass"
            "\n  what to do: train this method without accumulation"
        )

    return Forward(refuse, refuse, forward.head)


class _FirstPass(Exception):
    """Carries the batch of an objective's first common pass."""


def _seen(objective_of: ObjectiveOf, forward: Forward, trained: Params, batch: Batch, key: Array) -> Batch:
    """Return the batch that the objective passes through the net first: random views of ``batch`` where it makes some.

    The objective runs up to that pass and no further. Its draws depend on ``key`` alone, so it makes the same views
    again when it runs whole.
    """

    def stop(own: Params, model: PyTree, rows: Batch, key: Array) -> Any:
        raise _FirstPass(rows)

    try:
        objective_of(lambda params: Forward(stop, forward.one, forward.head))(trained, batch, key)
    except _FirstPass as seen:
        rows: Batch = seen.args[0]
        return rows
    return batch


def _from_cache(forward: Forward, params: Params, full: tuple[Outputs, Outputs], what: str) -> Forward:
    """Return a forward that has the first common pass already and refuses any other."""
    refused = refusing(forward, what)
    taken: list[bool] = []

    def pair(own: Params, model: PyTree, rows: Batch, key: Array) -> tuple[Pass, PyTree]:
        net_is_other = any(own.get(g) is not params.get(g) for g in NET_GROUPS)
        # Other parameters of the net, or a second pass, are not in the cache.
        if taken or net_is_other:
            return refused.pair()  # type: ignore[call-arg]
        taken.append(True)
        return Pass(*full, rows), model

    return Forward(pair, refused.one, forward.head)


def _steady(forward: Forward) -> Forward:
    """Return the same forward, which refuses passes that change the batch statistics."""

    def checked(call: Callable[..., tuple[Any, PyTree]]) -> Callable[..., tuple[Any, PyTree]]:
        def steady(params: Params, model: PyTree, *arguments: Any, **more: Any) -> tuple[Any, PyTree]:
            outputs, after = call(params, model, *arguments, **more)
            if any(a is not b for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(after), strict=True)):
                raise _unsteady()
            return outputs, after

        return steady

    return Forward(checked(forward.pair), checked(forward.one), forward.head)


def _summed(part: Callable[[Array, Any], PyTree], k: int, rows: Any) -> PyTree:
    """Sum ``part(i, rows of part i)`` over the parts, one after the other."""
    first = jax.tree.map(lambda x: x[0], rows)
    # The sum starts from the shapes of one part: nothing is computed twice.
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(part, jnp.int32(0), first))

    def add(total: PyTree, at: tuple[Array, Any]) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, part(*at)), None

    return lax.scan(add, zeros, (jnp.arange(k), rows))[0]
