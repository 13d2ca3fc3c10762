"""Learning-rate schedules: factors that start at 1, as functions of the step i and of progress p in [0, 1]."""

from collections.abc import Callable

import jax.numpy as jnp

from dalib.types import Array, Time

Schedule = Callable[[Time], Array]


def constant(time: Time) -> Array:
    """1 throughout."""
    return jnp.ones_like(time.progress)


def dann(time: Time) -> Array:
    """(1 + 10p)^(−0.75) (Ganin et al., JMLR 2016, §5.2); ends at 0.166."""
    return (1 + 10 * time.progress) ** -0.75


def cosine(time: Time) -> Array:
    """½(1 + cos πp); ends at 0."""
    return 0.5 * (1 + jnp.cos(jnp.pi * time.progress))


def inverse(*, gamma: float, power: float = 0.75, total_steps: int) -> Schedule:
    """(1 + γi)^(−power) of the iteration i = p · total_steps, as TLlib writes it (γ 1e-3 or 3e-4).

    It equals :func:`dann` when γ · total_steps = 10.
    """

    def schedule(time: Time) -> Array:
        # From progress and not from the step: the same bits as in runs made before schedules saw the step.
        return (1 + gamma * total_steps * time.progress) ** -power

    return schedule


SCHEDULES: dict[str, Schedule] = {"constant": constant, "dann": dann, "cosine": cosine}
