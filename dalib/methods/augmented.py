"""A method whose training batches go through a random view first."""

import jax

from dalib.methods.augmentation import View
from dalib.methods.base import Context, Forward, Method, Result, States, Update
from dalib.types import Batch, Params

SEEN = 0x5EE
"""Keeps the views' randomness apart from what a method draws from the same key."""


def augmented(method: Method, view: View) -> Method:
    """The method with a fresh view of all examples in every update; evaluation, calibration and looks see the inputs.

    Inside the compiled step, so it serves single runs and populations alike.

    Args:
        method: any method; one that makes views of its own makes them of these views.
        view: ``(key, inputs [n, ...]) -> inputs [n, ...]``.
    """

    def seen(update: Update) -> Update:
        def loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
            keys = jax.random.split(jax.random.fold_in(context.key, SEEN))
            source = batch.source._replace(inputs=view(keys[0], batch.source.inputs))
            target = batch.target._replace(inputs=view(keys[1], batch.target.inputs))
            viewed = batch._replace(source=source, target=target)
            if batch.shots is not None:
                shots = view(jax.random.fold_in(keys[1], SEEN), batch.shots.inputs)
                viewed = viewed._replace(shots=batch.shots._replace(inputs=shots))
            return update.loss(params, states, viewed, forward, context)

        return update._replace(loss=loss)

    return method._replace(updates=tuple(seen(update) for update in method.updates))
