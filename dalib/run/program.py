"""Program of an experiment: classifier, method, step and views, with the rules for unknown classes."""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import InputError, choose, input_error
from dalib.core.platform import platform
from dalib.core.plugins import distribution_of
from dalib.core.types import PyTree
from dalib.encoders import Classifier, Net, as_encoder, as_net, make_classifier, population_form
from dalib.encoders.registry import make_bottleneck, make_head
from dalib.evaluate.scores import open_set_scores
from dalib.methods import Forward, Method, with_rejection
from dalib.methods.parts.augmentation import SIZED, VIEWS, Augment, in_turn
from dalib.methods.transformers import augmented
from dalib.run.config import INVERSE, OPEN, Experiment
from dalib.run.registry import METHODS, check_encoder, check_method, make_encoder, origins
from dalib.tasks import classification, regression
from dalib.train import (
    SCHEDULES,
    Optimizer,
    Population,
    TrainState,
    init_state,
    make_forward,
    make_mesh,
    make_optimizer,
    make_population,
    make_predict,
    make_predict_members,
    make_step,
    training_step,
)
from dalib.train.devices.processes import run_mesh
from dalib.train.optimizer import inverse
from dalib.train.population.whole_run import PredictMembers
from dalib.train.step import split_init, split_step
from dalib.transfer.adapters import adapted

# Additions of a run to its method: views of images, and an unknown class where the target has its own classes.


def outputs_of(experiment: Experiment, classes: int, method: Method) -> int:
    """Count a net's outputs for ``classes`` source classes: one more for a method that learns the unknown class."""
    return classes + (0 if experiment.role == "oracle" else method.needs.extra_outputs)


def prepared(method: Method, experiment: Experiment) -> Method:
    """Add the experiment's views of training images to the method, and an unknown class where the relation has one.

    Open-set and universal methods predict C + 1 columns by themselves; any other one answers "unknown" below the
    probability ``experiment.rejection``.
    """
    if experiment.augment:
        views = [_view(name, experiment.crop) for name in experiment.augment.split("+")]
        method = augmented(method, in_turn(views))
    if experiment.relation in OPEN and not method.needs.rejects:
        return with_rejection(method, threshold=experiment.rejection)
    return method


def _view(name: str, size: int) -> Augment:
    view = choose("augment", name, VIEWS)
    return partial(view, size=size) if name in SIZED and size else view


def target_metrics(confusion: np.ndarray, experiment: Experiment) -> dict[str, float]:
    """Compute open-set scores, in fractions; none for other relations, or without unknowns."""
    if experiment.relation not in OPEN:
        return {}
    try:
        scores = open_set_scores(confusion)
    except InputError:
        return {}
    return {"os": scores.os, "os_star": scores.os_star, "unknown": scores.unknown, "h_score": scores.hos}


# The compiled pieces of a run, built once for all seeds and tasks of one configuration.


class Given:
    """A method and a net handed in as objects, in the place of an experiment's names; None leaves it to the name.

    Two are equal when they hold the same objects, so that runs with the same ones share a compiled program.

    Attributes:
        method: the method.
        net: an encoder of any library (:func:`dalib.encoders.as_encoder`), which gets the experiment's bottleneck and
            head, or a whole :class:`Classifier` or :class:`Net`.
    """

    def __init__(self, method: Method | None = None, net: Any = None) -> None:
        self.method = None if method is None else check_method("method", method)
        self.net = net if net is None or isinstance(net, Net) else check_encoder("net", net)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and self.method is other.method and self.net is other.net

    def __hash__(self) -> int:
        return hash((id(self.method), id(self.net)))

    def origins(self, experiment: Experiment) -> dict[str, Any]:
        """Return the record's facts of parts that are not dalib's own, by "method" and "encoder"."""
        objects = {"method": self.method, "encoder": self.net}
        named = {"method": experiment.method, "encoder": experiment.encoder}
        found: dict[str, Any] = origins(**{kind: name for kind, name in named.items() if objects[kind] is None})
        for kind, given in objects.items():
            if given is not None:
                module, name = type(given).__module__, type(given).__qualname__
                found[kind] = {"object": f"{module}:{name}", "distribution": distribution_of(module)}
        return found


NAMED = Given()
"""No objects handed in; names decide."""


class Parts(NamedTuple):
    """Parts of a step, not yet compiled.

    Attributes:
        net: the classifier.
        method: with the experiment's options.
        forward: the net under the experiment's BatchNorm convention.
        optimizer: of all groups.
        settings: further arguments of :func:`dalib.train.training_step`.
        init: ``(key, sample, variables=None, encoder=None, *, target_size=0) -> state``, see
            :func:`dalib.train.init_state`. The target's size is no part of the program, which runs of several tasks
            share; it only shapes the state.
    """

    net: Net
    method: Method
    forward: Forward
    optimizer: Optimizer
    settings: dict[str, Any]
    init: Callable[..., TrainState]


class Program(NamedTuple):
    """The compiled pieces of a run.

    Attributes:
        net: the classifier.
        method: with the experiment's options.
        init: as in :class:`Parts`; the state is on one device.
        step: advances one run by a step, on all devices of ``mesh``.
        population: ``count -> Population``, which advances many runs by many steps; ``count`` runs are split over the
            devices of this process.
        predict_source, predict_target: ``(params, model, inputs) -> Outputs``, on all devices of ``mesh``.
        predict_members: ``(domain, count) -> PredictMembers`` for a population of ``count`` runs.
        mesh: of all devices of all processes; None for a single device.
    """

    net: Net
    method: Method
    init: Callable[..., TrainState]
    step: Callable[..., Any]
    population: Callable[[int], Population]
    predict_source: Callable[..., Any]
    predict_target: Callable[..., Any]
    predict_members: Callable[[str, int], PredictMembers]
    mesh: Mesh | None = None


def make_program(experiment: Experiment, classes: int, given: Given = NAMED) -> Program:
    """Build (or find again) the net, method and jitted functions of an experiment, whatever its seed.

    They are for the present devices (:func:`~dalib.train.devices.processes.run_mesh`), which are no part of the
    experiment. Neither is ``DALIB_FSDP=1``: it splits parameters and optimiser state (:mod:`dalib.train.step`).
    """
    anonymous = {"seed": 0, "source": "", "target": "", "benchmark": "", "role": "method", "protocol": (), "keep": 0}
    return _program(Experiment(**{**vars(experiment), **anonymous}), classes, run_mesh(), wants_split(), given)


def make_parts(experiment: Experiment, classes: int, given: Given = NAMED) -> Parts:
    """Make the net, method, optimiser and first state of an experiment; nothing is compiled and no device is needed."""
    recipe = experiment.recipe
    # Objects outrank names; the net must have a column for every class that the method predicts.
    method = given.method or METHODS[experiment.method](**dict(experiment.method_options))
    classes = outputs_of(experiment, classes, method)
    net = _net(experiment, classes, given.net)
    method = prepared(method, experiment)
    if recipe.schedule == INVERSE:
        schedule = inverse(gamma=recipe.gamma, total_steps=experiment.steps)
    else:
        schedule = SCHEDULES[recipe.schedule]
    # The optimiser: one rate for all but the encoder, with the schedule over the whole run.
    identity = dict(experiment.encoder_options).get("widths") == ()
    optimizer = make_optimizer(
        kind=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        schedule=schedule,
        # An encoder that hands features through unchanged has no parameters, and so no rate.
        multipliers={} if identity else {"encoder": recipe.encoder_multiplier},
        frozen=experiment.frozen,
    )
    # The net under the run's BatchNorm convention, and the loss of the kind of labels.
    forward = make_forward(net, experiment.batch_norm)
    if experiment.kind == "regression":
        task = regression(classes)
    else:
        task = classification(classes, smoothing=recipe.label_smoothing)
    settings: dict[str, Any] = {"total_steps": experiment.steps, "task": task}
    if experiment.accumulate > 1:
        settings |= {"accumulate": experiment.accumulate, "cached": experiment.gradient_cache}

    def init(
        key: jax.Array,
        sample: jax.Array,
        variables: PyTree | None = None,
        encoder: PyTree | None = None,
        *,
        target_size: int = 0,
    ) -> TrainState:
        # A net from outside is traced before it trains: wrong logits would only fail deep inside a loss.
        if given.net is not None:
            _check_logits(net, jax.eval_shape(net.init, key, sample), sample, classes)
        start: dict[str, Any] = {"variables": variables, "encoder": encoder, "target_size": target_size}
        return init_state(key, net, method, optimizer, sample, batch_norm=experiment.batch_norm, **start)

    return Parts(net, method, forward, optimizer, settings, init)


def _net(experiment: Experiment, classes: int, encoder: Any) -> Net:
    """Make the classifier of an experiment, around an encoder that was handed in where there is one."""
    if isinstance(encoder, Classifier | Net):
        return as_net(encoder)
    if encoder is None:
        encoder = make_encoder(experiment.encoder, **dict(experiment.encoder_options))
    if adapter := experiment.make_adapter():
        encoder = adapted(as_encoder(encoder), adapter)
    bottleneck = make_bottleneck(experiment.bottleneck, **dict(experiment.bottleneck_options))
    head = make_head(experiment.head, classes, **dict(experiment.head_options))
    return make_classifier(encoder, classes, bottleneck, head, experiment.crop, experiment.kind == "regression")


def _check_logits(net: Net, variables: PyTree, sample: jax.Array, classes: int) -> None:
    """Raise an InputError unless the logits of a whole net are ``[n, classes]``."""
    outputs = jax.eval_shape(lambda v, x: net.apply(v["params"], v.get("batch_stats", {}), x)[0], variables, sample)
    if outputs.logits is None or outputs.logits.shape != (len(sample), classes):
        got = "no logits" if outputs.logits is None else f"logits of shape {outputs.logits.shape}"
        raise input_error("net", got=got, expected=f"[{len(sample)}, {classes}], a column for each class of the data")


def wants_split(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether ``DALIB_FSDP`` asks for a state that is split over the devices.

    Raises:
        InputError: for another value than 0 or 1.
    """
    return choose("DALIB_FSDP", environment.get("DALIB_FSDP") or "0", {"0": False, "1": True})


@lru_cache(maxsize=32)
def _program(experiment: Experiment, classes: int, mesh: Mesh | None, split: bool, given: Given) -> Program:
    net, method, forward, optimizer, settings, init = make_parts(experiment, classes, given)
    # Populations stay within a process: each of several would take other members.
    own = [] if mesh is None else list(mesh.local_devices)
    # Under vmap over members a CPU needs another form of convolution.
    together = population_form(net) if platform() == "cpu" else net
    forward_together = make_forward(together, experiment.batch_norm)
    member = training_step(method, forward_together, optimizer, **settings)

    # One program for each number of devices, compiled when a population of that size comes up.
    def mesh_of(devices: int) -> Mesh | None:
        return make_mesh(own[:devices]) if devices > 1 else None

    @lru_cache
    def population(devices: int) -> Population:
        return make_population(lambda hyper: member, mesh=mesh_of(devices))

    @lru_cache
    def predict_members(domain: str, devices: int) -> PredictMembers:
        return make_predict_members(method, forward_together, domain, mesh=mesh_of(devices))

    # A split state must be born split, or one device would have to hold all of it first.
    first: Callable[..., TrainState] = jax.jit(init, static_argnames="target_size")
    step = make_step(method, forward, optimizer, mesh=mesh, **settings)
    if mesh is not None and split:
        first, step = split_init(init, mesh), split_step(method, forward, optimizer, mesh=mesh, **settings)
    return Program(
        net,
        method,
        first,
        step,
        lambda count: population(min(count, len(own))),
        make_predict(method, forward, "source", mesh=mesh),
        make_predict(method, forward, "target", mesh=mesh),
        lambda domain, count: predict_members(domain, min(count, len(own))),
        mesh,
    )
