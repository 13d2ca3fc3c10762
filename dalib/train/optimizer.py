"""The optimiser, with one optax transformation a parameter group, and schedules of the learning rate.

The state is kept per group and not per update. A method with several updates (MCD, WDGRL) so steps each group with one
momentum, whichever update trains it. The learning rate is a function of the run's step and progress, not of an
optimiser's own count: an update that is repeated within a step does not run through the schedule faster.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dalib.core.checks import InputError, input_error
from dalib.core.options import NonNegative, Number, OneOf, Patterns, Positive, Rate, checked
from dalib.core.types import Array, Params, PyTree, Time

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


class Optimizer(NamedTuple):
    """A pair of pure functions and the learning rate of multiplier 1, ``time -> []``, for the record.

    ``init`` is ``params -> state``, a dict by group; ``update`` is
    ``(group, gradients, state of the group, parameters of the group, time) -> (parameters, state)``.
    """

    init: Callable[[Params], dict[str, PyTree]]
    update: Callable[[str, PyTree, PyTree, PyTree, Time], tuple[PyTree, PyTree]]
    rate: Callable[[Time], Array]


def _sgd(momentum: float, nesterov: bool, weight_decay: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.trace(momentum, nesterov) if momentum else optax.identity(),
    )


def _adam(momentum: float, nesterov: bool, weight_decay: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_adam(b1=momentum, nesterov=nesterov),
    )


def _adamw(momentum: float, nesterov: bool, weight_decay: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_adam(b1=momentum, nesterov=nesterov),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
    )


KINDS = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}


@checked
def make_optimizer(
    *,
    learning_rate: Positive,
    kind: Annotated[str, OneOf(KINDS)] = "sgd",
    momentum: Rate = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    schedule: Schedule = constant,
    multipliers: Mapping[str, float] | None = None,
    frozen: Patterns = (),
) -> Optimizer:
    """Build the optimiser of all groups.

    Args:
        learning_rate: base rate, a number or a traced scalar.
        kind: "sgd" (weight decay as L2 gradient, before momentum), "adam" (the same) or "adamw" (decoupled decay).
        momentum: of SGD, or Adam's β₁.
        nesterov: Nesterov's form of it.
        weight_decay: on every trained parameter, biases and normalisation included (as TLlib does).
        schedule: factor of the rate, a function of :class:`dalib.core.types.Time`.
        multipliers: factor > 0 by group name, e.g. ``{"encoder": 0.1}``; groups not named have 1.
        frozen: regular expressions searched in ``group/path/of/parameter``; what matches never changes (no decay, no
            moments). An expression that matches nothing is an error when the state is made.
    """
    # One transformation without a learning rate; groups differ in the factor alone.
    base = KINDS[kind](momentum, nesterov, weight_decay)
    factors = dict(multipliers or {})
    for group, factor in factors.items():
        if not Number(0, open_low=True).holds(factor):
            raise input_error(
                f"multiplier of {group!r}",
                got=repr(factor),
                expected="a number > 0",
                todo=f"freeze it: frozen=['^{group}/']",
            )
    patterns = [re.compile(p) for p in frozen]

    def labels(group: str, params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "frozen" if any(p.search(_name(group, path)) for p in patterns) else "trained", params
        )

    def transform(group: str) -> optax.GradientTransformation:
        if not patterns:
            return base
        # Frozen parameters have no moments: they would cost memory, and decay would move them.
        return optax.partition({"trained": base, "frozen": optax.set_to_zero()}, lambda params: labels(group, params))

    def init(params: Params) -> dict[str, PyTree]:
        names = parameter_names(params)
        # A misspelt pattern would train what was meant to be frozen, unnoticed.
        for p in patterns:
            if not any(p.search(name) for name in names):
                raise InputError(f"frozen: {p.pattern!r} matches no parameter; there are for example {names[:4]}")
        for group in factors:
            # Recipes name a bottleneck that a net may not have.
            if group not in params and group not in ("bottleneck",):
                raise InputError(f"multipliers: no parameter group {group!r}; there are {', '.join(params)}")
        return {group: transform(group).init(params[group]) for group in params}

    def rate(time: Time) -> Array:
        return learning_rate * schedule(Time(time.step, jnp.asarray(time.progress, jnp.float32)))

    def update(group: str, gradients: PyTree, state: PyTree, params: PyTree, time: Time):
        # The rate multiplies here and not in optax: it depends on the run's time, which optax does not know.
        direction, state = transform(group).update(gradients, state, params)
        size = -rate(time) * factors.get(group, 1.0)
        return optax.apply_updates(params, jax.tree.map(lambda d: size * d, direction)), state

    return Optimizer(init, update, rate)


def parameter_names(params: Params) -> list[str]:
    """Return ``group/path/of/parameter`` of every parameter, the names that ``frozen`` is searched in."""
    return [_name(group, path) for group in params for path, _ in jax.tree_util.tree_leaves_with_path(params[group])]


def _name(group: str, path: Any) -> str:
    return "/".join([group, *(str(getattr(p, "key", getattr(p, "idx", p))) for p in path)])
