"""The pass that consistency methods share: source and the strong view together, a teacher on the weak view."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dalib.methods.augmentation import View
from dalib.methods.base import Context, Forward, Result, States, supervised_loss
from dalib.types import Array, Batch, Params


def teach(
    params: Params,
    teacher: Params,
    states: States,
    batch: Batch,
    forward: Forward,
    context: Context,
    *,
    weak: View,
    strong: View,
) -> tuple[Result, Array, Array]:
    """The supervised loss on source and strong view, and the teacher's logits on the weak view of the same examples.

    The source goes in as the stream gives it. Both passes over the target are in training mode with their own dropout;
    the running statistics see the weak view last if the teacher is the net itself, and never another teacher's pass.

    Args:
        params: the net that learns.
        teacher: parameters of the teacher; ``params`` itself for a net that teaches itself.
        states: before the step.
        batch: of both domains.
        forward: the net.
        context: its key is folded here.
        weak: view that the teacher sees.
        strong: view that the net sees.

    Returns:
        The supervised :class:`Result`, whose ``outputs`` hold the strong view, the student's logits on it ``[m, C]``
        and the teacher's ``[m, C]`` behind stop_gradient.
    """
    keys = [jax.random.fold_in(context.key, 2 + i) for i in range(3)]
    inputs = batch.target.inputs
    seen = batch._replace(target=batch.target._replace(inputs=strong(keys[0], inputs)))
    result = supervised_loss(params, states, seen, forward, context)
    taught, model = forward.one(teacher, result.states.model, weak(keys[1], inputs), "target", keys[2], True)
    assert result.outputs is not None and taught.logits is not None
    student = result.outputs.target.logits
    assert student is not None
    if teacher is params:
        result = result._replace(states=result.states._replace(model=model))
    return result, student, lax.stop_gradient(taught.logits)


def add_term(result: Result, value: Array, weight: Array, metrics: dict[str, Array]) -> Result:
    """``result`` with ``weight · value`` added to its loss and more metrics."""
    return result._replace(value=result.value + weight * value, metrics={**result.metrics, **metrics})


def sigmoid_ramp(progress: Array, *, until: Any = 1.0) -> Array:
    """exp(−5 (1 − t)²) with t = progress / until, at most 1: from 0.0067 to 1 (Laine, Aila, ICLR 2017, §3.1)."""
    return jnp.exp(-5 * jnp.square(1 - jnp.clip(progress / until, 0, 1)))
