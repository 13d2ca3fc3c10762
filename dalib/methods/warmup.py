"""Weights that wait until the net fits the sources."""

from typing import Any

import jax.numpy as jnp

from dalib.methods.base import View, weigh
from dalib.types import Array


def weight_after(weight: Any, view: View, *, steps: Any, before: float = 1.0) -> Array:
    """The weight, but at most ``before`` in the first ``steps`` steps.

    DomainBed's switch for invariance penalties: weight 1, then λ. It also starts Adam anew at the switch, as the
    gradient's scale jumps there; dalib's optimiser runs on.

    Args:
        weight: λ; a number, a traced scalar, or a function of the view.
        view: of the loss.
        steps: length of the warm-up; 0 for none.
        before: largest weight during it.
    """
    value = jnp.asarray(weigh(weight, view))
    return jnp.where(view.step < steps, jnp.minimum(value, before), value)
