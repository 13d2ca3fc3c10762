"""The compiled pieces of a run, built once for all seeds and tasks of one configuration."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax

from dalib.encoders import BOTTLENECKS, Classifier, make_encoder
from dalib.methods import METHODS, Method
from dalib.methods.base import smoothed_cross_entropy
from dalib.train import (
    SCHEDULES,
    Population,
    TrainState,
    init_state,
    make_forward,
    make_mesh,
    make_optimizer,
    make_population,
    make_predict,
    make_step,
    training_step,
)
from dalib.train.schedules import inverse
from dalib.types import PyTree
from experiments.config import INVERSE, Experiment


class Program(NamedTuple):
    """The compiled pieces of a run; ``step`` takes one run a step further, ``population`` many runs many steps.

    ``population(count)`` splits ``count`` runs over this process's devices.
    """

    net: Classifier
    method: Method
    init: Callable[..., TrainState]
    step: Callable[..., Any]
    population: Callable[[int], Population]
    predict_source: Callable[..., Any]
    predict_target: Callable[..., Any]


def make_program(experiment: Experiment, classes: int) -> Program:
    """Builds (or finds again) the net, method and jitted functions of an experiment; the seed plays no part."""
    anonymous = {"seed": 0, "source": "", "target": "", "benchmark": "", "role": "method", "protocol": ()}
    return _program(Experiment(**{**vars(experiment), **anonymous}), classes)


@lru_cache(maxsize=32)
def _program(experiment: Experiment, classes: int) -> Program:
    recipe = experiment.recipe
    bottleneck = BOTTLENECKS[experiment.bottleneck](**dict(experiment.bottleneck_options))
    encoder = make_encoder(experiment.encoder, **dict(experiment.encoder_options))
    net = Classifier(encoder, classes, bottleneck, experiment.head)
    method = METHODS[experiment.method](**dict(experiment.method_options))
    if recipe.schedule == INVERSE:
        schedule = inverse(gamma=recipe.gamma, total_steps=experiment.steps)
    else:
        schedule = SCHEDULES[recipe.schedule]
    optimizer = make_optimizer(
        kind=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        schedule=schedule,
        multipliers={"encoder": recipe.encoder_multiplier},
        frozen=recipe.frozen,
    )
    forward = make_forward(net, experiment.batch_norm)
    settings: dict[str, Any] = {"total_steps": experiment.steps, "num_classes": classes}
    if recipe.label_smoothing:
        settings["task_loss"] = smoothed_cross_entropy(recipe.label_smoothing)
    pure = training_step(method, forward, optimizer, **settings)

    @lru_cache
    def population(devices: int) -> Population:
        mesh = make_mesh(jax.local_devices()[:devices]) if devices > 1 else None
        return make_population(lambda hyper: pure, mesh=mesh)

    def init(
        key: jax.Array, sample: jax.Array, variables: PyTree | None = None, encoder: PyTree | None = None
    ) -> TrainState:
        start: dict[str, Any] = {"variables": variables, "encoder": encoder}
        return init_state(key, net, method, optimizer, sample, batch_norm=experiment.batch_norm, **start)

    return Program(
        net,
        method,
        jax.jit(init),
        make_step(method, forward, optimizer, **settings),
        lambda count: population(min(count, jax.local_device_count())),
        make_predict(method, forward, "source"),
        make_predict(method, forward, "target"),
    )
