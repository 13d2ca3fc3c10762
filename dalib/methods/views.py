"""Passes that consistency methods share: the net on a strong view, a teacher on a weak one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dalib.methods.augmentation import Augment
from dalib.methods.base import View
from dalib.types import Array, Params


def teach(view: View, *, weak: Augment, strong: Augment, teacher: Params | None = None) -> tuple[Array, Array, View]:
    """Passes the strong view of the target through the net, and its weak view through a teacher.

    Both passes are in training mode with their own dropout. The running statistics keep the strong pass, and then the
    weak pass if the net teaches itself; they never see another teacher's pass.

    Args:
        view: of a penalty; its key is folded here.
        weak: what the teacher sees.
        strong: what the net sees.
        teacher: parameters of the teacher; None for a net that teaches itself.

    Returns:
        The net's logits on the strong view ``[m, C]``, the teacher's on the weak view ``[m, C]`` without gradient, and
        the view after both passes.
    """
    keys = [jax.random.fold_in(view.key, 2 + i) for i in range(4)]
    inputs = view.batch.target.inputs
    student, view = view.again(strong(keys[0], inputs), "target", key=keys[3])
    taught, after = view.again(weak(keys[1], inputs), "target", key=keys[2], params=teacher)
    assert student.logits is not None and taught.logits is not None
    return student.logits, lax.stop_gradient(taught.logits), after if teacher is None else view


def sigmoid_ramp(time: Any, *, until: Any = 1.0) -> Array:
    """exp(−5 (1 − t)²) with t = progress / until, at most 1: from 0.0067 to 1 (Laine, Aila, ICLR 2017, §3.1).

    Args:
        time: anything with ``progress``, such as a view.
        until: the progress at which the ramp reaches 1.
    """
    return jnp.exp(-5 * jnp.square(1 - jnp.clip(time.progress / until, 0, 1)))
