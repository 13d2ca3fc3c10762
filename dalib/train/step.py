"""One training step and one evaluation pass under ``jax.jit``."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from dalib.methods.base import Context, Forward, Method, States, apply_loss, cross_entropy, trained_groups
from dalib.train.forward import evaluate_outputs
from dalib.train.optimizer import Optimizer
from dalib.train.sharding import batch_sharding, replicated
from dalib.train.state import TrainState
from dalib.types import Array, Batch, Metrics, Outputs, PyTree

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def training_step(
    method: Method,
    forward: Forward,
    optimizer: Optimizer,
    *,
    total_steps: int,
    num_classes: int,
    task_loss: Callable[[Array, Array], Array] = cross_entropy,
) -> Step:
    """The step as a pure function, to be jitted, scanned or vmapped by the caller.

    Every update of the method is one gradient over the groups that it trains; later updates of the same step see the
    parameters and states that earlier ones left. Losses are written on the logical global batch, so they mean the same
    on any number of devices.

    The default task loss is NaN where a label is outside [0, C), which ``dalib.train.run`` reports as an error at that
    step; the readers of :mod:`dalib.data` refuse such labels before.

    Returns:
        ``(state, batch) -> (state, metrics)``; metrics are scalars, among them ``loss/total`` and ``gradient_norm`` of
        each update and ``learning_rate``.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        progress = state.step.astype(jnp.float32) / total_steps
        context = Context(state.step, progress, jax.random.fold_in(state.key, state.step), num_classes, task_loss)
        params, moments = state.params, state.optimizer
        states = States(state.model, state.method)
        metrics: Metrics = {"learning_rate": optimizer.rate(progress)}
        draw = 0
        for update in method.updates:
            groups = trained_groups(update, params)
            prefix = f"{update.name}/" if len(method.updates) > 1 else ""
            for _ in range(update.repeats):
                own = context._replace(key=jax.random.fold_in(context.key, draw))
                draw += 1

                def objective(trained, params=params, states=states, own=own, update=update):
                    result = apply_loss(method, update, params | trained, states, batch, forward, own)
                    return result.value, (result.states, result.metrics)

                trained = {g: params[g] for g in groups}
                (value, (states, more)), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
                more = {**more, "loss/total": value, "gradient_norm": optax.tree.norm(gradients)}
                metrics |= {prefix + name: metric for name, metric in more.items()}
                params, moments = dict(params), dict(moments)
                for g in groups:
                    params[g], moments[g] = optimizer.update(g, gradients[g], moments[g], params[g], progress)
        if method.finish is not None:
            key = jax.random.fold_in(context.key, draw)
            states = method.finish(params, states, batch, forward, context._replace(key=key))
        new = dataclasses.replace(
            state, step=state.step + 1, params=params, optimizer=moments, model=states.model, method=states.method
        )
        return new, metrics

    return step


def make_step(
    method: Method, forward: Forward, optimizer: Optimizer, *, mesh: Mesh | None = None, **settings: Any
) -> Step:
    """:func:`training_step` under ``jit``: state donated and replicated, batch split over the mesh's ``data`` axis."""
    step = training_step(method, forward, optimizer, **settings)
    if mesh is None:
        return jax.jit(step, donate_argnums=0)
    everywhere = replicated(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, batch_sharding(mesh)),
        out_shardings=(everywhere, everywhere),
    )


def make_predict(method: Method, forward: Forward, domain: str) -> Callable[[Any, PyTree, Array], Outputs]:
    """``(params, model state, inputs) -> Outputs`` in evaluation mode, jitted, with the method's own prediction.

    Args:
        domain: "source" or "target": whose batch statistics normalise.
    """

    def predict(params, model: PyTree, inputs: Array) -> Outputs:
        outputs = evaluate_outputs(forward, params, model, inputs, domain)
        if method.predict is None:
            return outputs
        return outputs._replace(logits=method.predict(params, outputs, forward))

    return jax.jit(predict)
