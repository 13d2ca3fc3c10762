"""Whole runs in one program (draw, train and evaluate in one ``scan``), and predictions of all members.

A whole run is the population without its files: nothing comes back to the host before the end, so nothing can be
logged, saved or resumed on the way. :func:`dalib.train.run_members` breaks the same program where a record's line or a
checkpoint is due. Sweeps of seeds, weights and learning rates that are short enough to be repeated take this::

    def of_member(key, learning_rate, weight):
        method = dann(weight=weight)
        optimizer = make_optimizer(learning_rate=learning_rate)
        step = training_step(method, forward, optimizer, total_steps=500, task=classification(10))
        state = init_state(key, net, method, optimizer, sample, batch_norm="joint")
        rows = draw_rows(key, *sizes, batch_size=32, steps=500)
        evaluate = lambda state: correct(forward, state.params, state.model)
        return whole_run(step, state, pool, rows, evaluate=evaluate, every=100)

    states, metrics, scores = jax.jit(jax.vmap(of_member))(keys, learning_rates, weights)

On a CPU give such members a net with ``dalib.encoders.population_form(net)``: convolutions with kernels that ``vmap``
has batched are slow there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from dalib.core.checks import input_error
from dalib.core.types import Array, Metrics, PyTree
from dalib.methods.base import Method, evaluated
from dalib.methods.view import Forward, States
from dalib.train.forward import evaluate_outputs
from dalib.train.population.members import Pool, Rows, draw
from dalib.train.state import TrainState
from dalib.train.step import Step


def whole_run(
    step: Step,
    state: TrainState,
    pool: Pool,
    rows: Rows,
    *,
    evaluate: Callable[[TrainState], PyTree] = lambda state: (),
    every: int = 0,
) -> tuple[TrainState, Metrics, PyTree]:
    """Train one member through all of ``rows``.

    ``rows`` are ``[steps, n]``, ``[steps, m]`` and, where there are shots, ``[steps, s]``: of
    :func:`dalib.data.stream_rows` (then the batches are those of the loop), or of :func:`draw_rows`. ``evaluate`` is a
    JAX function ``state -> pytree`` of arrays, called each ``every`` steps, a divisor of their number; 0 evaluates at
    the end alone.

    Returns:
        The last state, the metrics ``[steps]``, and the results of ``evaluate``, with an axis of evaluations in front.
    """
    steps = rows.source.shape[0]
    every = every or steps
    if every < 1 or steps % every:
        raise input_error("every", got=every, expected=f"a divisor of the {steps} steps, or 0")

    def body(state: TrainState, at: Rows) -> tuple[TrainState, Metrics]:
        return step(state, draw(pool, at))

    def stretch(state: TrainState, at: Rows) -> tuple[TrainState, tuple[Metrics, PyTree]]:
        state, metrics = lax.scan(body, state, at)
        return state, (metrics, evaluate(state))

    # A scan of scans: the outer one evaluates, and all shapes stay known to the compiler.
    parts = jax.tree.map(lambda x: x.reshape(steps // every, every, *x.shape[1:]), rows)
    state, (metrics, found) = lax.scan(stretch, state, parts)
    return state, jax.tree.map(lambda x: x.reshape(steps, *x.shape[2:]), metrics), found


def draw_rows(key: Array, n: int, m: int, *, batch_size: int, steps: int) -> Rows:
    """Draw rows on the device: source and target each in an endless order of its own, reshuffled every epoch.

    As :func:`dalib.data.stream_rows` goes through the domains, but from JAX's random numbers, so that a run needs
    nothing of the host's; the batches are other ones. The pool holds the source's ``n`` examples first, then the
    target's ``m``. Neither may be smaller than ``batch_size``.
    """
    if not 1 <= batch_size <= min(n, m):
        raise input_error("batch_size", got=batch_size, expected=f"1 to {min(n, m)}, the smaller domain")

    def order(key: Array, size: int, offset: int) -> Array:
        # Whole epochs, cut at the last step: every example comes equally often, as in the loop.
        epochs = -(-steps * batch_size // size)
        orders = jax.vmap(lambda k: jax.random.permutation(k, size))(jax.random.split(key, epochs))
        return (orders.reshape(-1)[: steps * batch_size] + offset).astype(jnp.int32).reshape(steps, batch_size)

    keys: Any = jax.random.split(jax.random.fold_in(key, ORDER))
    return Rows(order(keys[0], n, 0), order(keys[1], m, n))


ORDER = 2**31 - 2
"""Folded into the key of :func:`draw_rows`, so that it differs from those of the steps."""


PredictMembers = Callable[[TrainState, Array, Array], Array]


def make_predict_members(method: Method, forward: Forward, domain: str, *, mesh: Mesh | None = None) -> PredictMembers:
    """``(states of all members, inputs [N, ...], rows [members, batches, b]) -> logits [members, batches, b, C]``.

    In evaluation mode, with the parameters that the method evaluates and the method's own prediction: for each member
    the result of :func:`dalib.train.make_predict`, up to rounding. A method with ``calibrate`` does not fit: its
    statistics depend on the data. On a CPU ``forward`` is of ``dalib.encoders.population_form(net)``. ``domain`` is
    "source" or "target": its batch statistics normalise. ``mesh`` is as in :func:`dalib.train.make_population`.
    """

    def member(state: TrainState, inputs: Array, rows: Array) -> Array:
        params, states = evaluated(method, state.params, States(state.model, state.method))

        # A scan over batches: activations of one batch of all members are in memory at a time.
        def batch(carry: None, at: Array) -> tuple[None, Array]:
            outputs = evaluate_outputs(forward, params, states.model, inputs[at], domain)
            own = method.hooks.predict
            logits = outputs.logits if own is None else own(params, outputs, forward)
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
