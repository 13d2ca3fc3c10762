"""Predictions of all members of a population in one program: ``vmap`` over members, ``scan`` over batches."""

from collections.abc import Callable

import jax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from dalib.methods.base import Forward, Method, States, evaluation_params
from dalib.train.forward import evaluate_outputs
from dalib.train.state import TrainState
from dalib.types import Array

PredictMembers = Callable[[TrainState, Array, Array], Array]


def make_predict_members(method: Method, forward: Forward, domain: str, *, mesh: Mesh | None = None) -> PredictMembers:
    """``(states of all members, inputs [N, ...], rows [members, batches, b]) -> logits [members, batches, b, C]``.

    In evaluation mode, with the parameters that the method evaluates and the method's own prediction: what
    :func:`dalib.train.make_predict` gives for each member by itself, up to rounding.

    Args:
        method: whose predictions they are; one without ``calibrate``, whose statistics depend on the data.
        forward: the net, on a CPU with ``dalib.encoders.population_form(net)``.
        domain: "source" or "target": whose batch statistics normalise.
        mesh: as in :func:`dalib.train.make_population`.
    """

    def member(state: TrainState, inputs: Array, rows: Array) -> Array:
        params = evaluation_params(method, state.params, States(state.model, state.method))

        def batch(carry: None, at: Array) -> tuple[None, Array]:
            outputs = evaluate_outputs(forward, params, state.model, inputs[at], domain)
            logits = outputs.logits if method.predict is None else method.predict(params, outputs, forward)
            assert logits is not None
            return carry, logits

        return lax.scan(batch, None, rows)[1]

    def predict(states: TrainState, inputs: Array, rows: Array) -> Array:
        return jax.vmap(member, in_axes=(0, None, 0))(states, inputs, rows)

    if mesh is None:
        return jax.jit(predict)
    members, everywhere = PartitionSpec("data"), PartitionSpec()
    split = jax.shard_map(
        predict, mesh=mesh, in_specs=(members, everywhere, members), out_specs=members, check_vma=False
    )
    return jax.jit(split)
