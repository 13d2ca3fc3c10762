"""Binds a net to test-time methods, and loops over a stream of batches."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax

from dalib.checks import choose, input_error
from dalib.encoders.adapters import as_net
from dalib.methods.base import NET_GROUPS
from dalib.methods.test_time import Apply, TestTime
from dalib.types import Array, Metrics, Outputs, PyTree

MODES = {
    "continual": "the state goes on from batch to batch",
    "episodic": "the original variables before each batch",
}


class Adapted(NamedTuple):
    """One batch of a stream.

    Attributes:
        outputs: before the batch's update.
        metrics: of the step.
        after: outputs after the batch's update; None unless asked for.
    """

    outputs: Outputs
    metrics: Metrics
    after: Outputs | None = None


def make_apply(net: Any) -> Apply:
    """``(params, batch_stats, inputs, source_weight) -> (Outputs, moments)`` of a classifier, without dropout.

    Features, logits and the batch's moments in each BatchNorm are what test-time methods adapt by.

    Args:
        net: a :class:`dalib.encoders.Net` or a :class:`dalib.encoders.Classifier`. Parameter groups that are not the
            net's (a method's own) are left out.

    Raises:
        InputError: for a net around an encoder of another library.
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
    """Predicts a stream of batches while adapting to it.

    Args:
        method: from :func:`dalib.methods.tent` and its like, on :func:`make_apply` of the net.
        variables: ``{"params", "batch_stats"}`` of the trained net; never changed.
        batches: inputs ``[n, ...]``; each new size compiles once.
        mode: "continual", or "episodic" for a reset before each batch. To reset between streams (corruptions), call
            this once a stream.
        after: whether each batch is predicted once more after its update.

    Yields:
        What each batch gave, see :class:`Adapted`.

    Raises:
        InputError: for another mode, or a net that the method cannot adapt.
    """
    choose("mode", mode, MODES)
    start = method.init(variables)
    return _adapt(method, start, batches, mode == "episodic", after)


def _adapt(method: TestTime, start: PyTree, batches: Iterable[Array], episodic: bool, after: bool):
    step, predict, state = jax.jit(method.step), jax.jit(method.predict), start
    for inputs in batches:
        state, outputs, metrics = step(start if episodic else state, inputs)
        yield Adapted(outputs, metrics, predict(state, inputs) if after else None)
