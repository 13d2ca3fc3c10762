"""A method whose training batches go through a random view first."""

import jax

from dalib.methods.augmentation import View
from dalib.methods.base import Context, Forward, Method, Result, States, Update
from dalib.types import Batch, Params, Source, Target

SEEN = 0x5EE
"""Keeps the views' randomness apart from what a method draws from the same key."""


def augmented(method: Method, view: View) -> Method:
    """The method with a fresh view of both domains in every update; evaluation, calibration and looks see the inputs.

    Inside the compiled step, so it serves single runs and populations alike.

    Args:
        method: any method; one that makes views of its own makes them of these views.
        view: ``(key, inputs [n, ...]) -> inputs [n, ...]``.
    """

    def seen(update: Update) -> Update:
        def loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
            keys = jax.random.split(jax.random.fold_in(context.key, SEEN))
            source = Source(view(keys[0], batch.source.inputs), batch.source.labels)
            viewed = Batch(source, Target(view(keys[1], batch.target.inputs)))
            return update.loss(params, states, viewed, forward, context)

        return update._replace(loss=loss)

    return method._replace(updates=tuple(seen(update) for update in method.updates))
