"""Binds a net to test-time methods, and loops over a stream of batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax

from dalib.checks import choose, input_error
from dalib.encoders.adapters import as_net
from dalib.methods.base import NET_GROUPS
from dalib.methods.test_time import Apply, TestTime
from dalib.types import Array, Metrics, PyTree

MODES = {
    "continual": "the state goes on from batch to batch",
    "episodic": "the original variables before each batch",
}


def make_apply(net: Any) -> Apply:
    """``(params, batch_stats, inputs, source_weight) -> logits`` of a classifier, without dropout.

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

    def apply(params: PyTree, stats: PyTree, inputs: Array, source_weight: Any) -> Array:
        logits = mixed({g: params[g] for g in NET_GROUPS if g in params}, stats, inputs, source_weight).logits
        assert logits is not None
        return logits

    return apply


def adapt(
    method: TestTime, variables: PyTree, batches: Iterable[Array], *, mode: str = "continual"
) -> Iterator[tuple[Array, Metrics]]:
    """Predicts a stream of batches while adapting to it.

    Args:
        method: from :func:`dalib.methods.tent` and its like, on :func:`make_apply` of the net.
        variables: ``{"params", "batch_stats"}`` of the trained net; never changed.
        batches: inputs ``[n, ...]``; each new size compiles once.
        mode: "continual", or "episodic" for a reset before each batch. To reset between streams (corruptions), call
            this once a stream.

    Yields:
        ``(logits [n, C], metrics)`` of each batch.

    Raises:
        InputError: for another mode, or a net that the method cannot adapt.
    """
    choose("mode", mode, MODES)
    start = method.init(variables)
    return _adapt(method, start, batches, mode == "episodic")


def _adapt(method: TestTime, start: PyTree, batches: Iterable[Array], episodic: bool):
    step, state = jax.jit(method.step), start
    for inputs in batches:
        state, logits, metrics = step(start if episodic else state, inputs)
        yield logits, metrics
