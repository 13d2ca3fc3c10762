"""Predictions of a trained net, plain or adapted at test time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import choose, input_error
from dalib.core.types import Array, Metrics, Outputs, PyTree
from dalib.encoders.adapters import as_net
from dalib.methods.base import Method
from dalib.methods.test_time.interface import Apply, TestTime
from dalib.methods.view import NET_GROUPS, Forward
from dalib.train.devices.processes import local
from dalib.train.devices.sharding import batch_sharding, replicated
from dalib.train.forward import evaluate_outputs

Predict = Callable[[Any, PyTree, Any], Outputs]


def make_predict(method: Method, forward: Forward, domain: str, *, mesh: Mesh | None = None) -> Predict:
    """``(params, model state, inputs [n, ...]) -> Outputs`` in evaluation mode, with the method's own prediction.

    ``hidden`` is left out: nothing would read the feature maps, and they would be written out for every batch.
    ``domain`` is "source" or "target": its batch statistics normalise. ``mesh`` splits the rows over its devices,
    whatever their number (missing ones are made up and dropped). All processes give the same rows and all get the whole
    result, on a device of their own.
    """

    def predict(params: Any, model: PyTree, inputs: Any) -> Outputs:
        outputs = evaluate_outputs(forward, params, model, inputs, domain)
        # Some methods predict otherwise than by the net's own head.
        logits = outputs.logits if method.hooks.predict is None else method.hooks.predict(params, outputs, forward)
        return outputs._replace(logits=logits, hidden={})

    if mesh is None:
        return jax.jit(predict)
    rows = batch_sharding(mesh)
    # The parameters keep the sharding that they come with.
    split = jax.jit(predict, in_shardings=(None, None, rows), out_shardings=replicated(mesh))

    def on_all(params: Any, model: PyTree, inputs: Any) -> Outputs:
        n = len(jax.tree.leaves(inputs)[0])
        # Rows are repeated from the start until the devices divide them; the copies are cut off at the end.
        places = np.arange(-(-n // mesh.size) * mesh.size) % n

        def put(x: Any) -> jax.Array:
            x = np.asarray(x) if len(places) == n else np.asarray(x)[places]
            return jax.make_array_from_callback(x.shape, rows, lambda index: x[index])

        outputs = local(split(params, model, jax.tree.map(put, inputs)))
        return outputs if len(places) == n else jax.tree.map(lambda x: x[:n], outputs)

    return on_all


MODES = {
    "continual": "the state goes on from batch to batch",
    "episodic": "the original variables before each batch",
}


class Adapted(NamedTuple):
    """One batch of a stream: outputs before its update, metrics of the step, and outputs after it where asked for."""

    outputs: Outputs
    metrics: Metrics
    after: Outputs | None = None


def make_apply(net: Any) -> Apply:
    """``(params, batch_stats, inputs, source_weight) -> (Outputs, moments)`` of a Linen classifier, without dropout.

    Features, logits and the batch's moments in each BatchNorm are what test-time methods adapt by. Parameter groups
    that are not the net's (a method's own) are left out. A net around an encoder of another library raises an
    InputError.
    """
    mixed = as_net(net).mixed
    if mixed is None:
        raise input_error(
            "net",
            got="a net around an encoder of another library",
            expected="a Linen classifier: test-time methods mix running and batch statistics inside BatchNorm",
        )

    def apply(params: PyTree, stats: PyTree, inputs: Array, source_weight: Any) -> tuple[Outputs, PyTree]:
        return mixed({g: params[g] for g in NET_GROUPS if g in params}, stats, inputs, source_weight)

    return apply


def adapt(
    method: TestTime, variables: PyTree, batches: Iterable[Array], *, mode: str = "continual", after: bool = False
) -> Iterator[Adapted]:
    """Predict a stream of batches while adapting to it; yields an :class:`Adapted` for each.

    Args:
        method: from :func:`dalib.methods.tent` and its like, on :func:`make_apply` of the net.
        variables: ``{"params", "batch_stats"}`` of the trained net; never changed.
        batches: inputs ``[n, ...]``; each new size compiles once.
        mode: "continual", or "episodic" for a reset before each batch. To reset between streams (corruptions), call
            this once a stream.
        after: whether each batch is predicted once more after its update.
    """
    choose("mode", mode, MODES)
    # Here and not at the first batch: a net that cannot be adapted is an error of the call.
    start = method.init(variables)
    return _adapt(method, start, batches, mode == "episodic", after)


def _adapt(method: TestTime, start: PyTree, batches: Iterable[Array], episodic: bool, after: bool):
    step, predict, state = jax.jit(method.step), jax.jit(method.predict), start
    for inputs in batches:
        state, outputs, metrics = step(start if episodic else state, inputs)
        yield Adapted(outputs, metrics, predict(state, inputs) if after else None)
