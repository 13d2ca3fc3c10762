"""The seam of test-time methods: a net adapts to a stream of test batches, one batch at a time, without labels.

They are no :class:`dalib.methods.Method`: there is no source, no training run and no schedule. ``init`` makes the state
from a trained net's variables; ``step`` predicts a batch and adapts. Both are pure and can be jitted. Calling ``init``
again with the original variables resets everything. Never resetting is the continual mode, a reset before each batch
the episodic one; :func:`dalib.train.predict.adapt` runs either.

The caller normalises: :func:`dalib.train.predict.make_apply` gives ``apply``, in which every BatchNorm uses
``source_weight`` times the stored statistics plus ``1 − source_weight`` times those of the batch.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.core.checks import InputError
from dalib.core.types import Array, Metrics, Outputs, PyTree
from dalib.discrepancy import mean_entropy
from dalib.methods.base import Needs

Apply = Callable[[PyTree, PyTree, Array, Any], tuple[Outputs, PyTree]]
"""``(params, batch_stats, inputs [n, ...], source_weight []) -> (Outputs, moments)``.

The moments are the mean and (biased) variance of this batch in each BatchNorm, a tree of the form of ``batch_stats``.
"""


class TestTime(NamedTuple):
    """A test-time method: three pure functions.

    Attributes:
        name: as in the table of test-time methods.
        init: ``variables {"params", "batch_stats"} -> state``.
        step: ``(state, inputs [n, ...]) -> (state, Outputs, metrics)``; the outputs are those before the update. The
            metrics are :func:`report`'s and the method's own scalars.
        predict: ``(state, inputs) -> Outputs`` without adapting: by ``step``'s state, those after the update.
        needs: of a run; only its setting says something here.
    """

    name: str
    init: Callable[[PyTree], PyTree]
    step: Callable[[PyTree, Array], tuple[PyTree, Outputs, Metrics]]
    predict: Callable[[PyTree, Array], Outputs]
    needs: Needs = Needs(setting="test time")


def report(outputs: Outputs, *, collapse_share: float = 0.9) -> Metrics:
    """Metrics of every step: ``entropy`` (mean, nats), ``histogram`` (``[C]`` int32 of predictions), ``collapsed``.
    ``collapsed`` (``[]`` boolean): one class takes more than ``collapse_share`` of a batch of two or more. It cannot
    tell a collapse from a stream sorted by class; entropy minimisation by batch statistics fails on both."""
    logits = outputs.logits
    assert logits is not None
    n, classes = logits.shape
    histogram = jnp.bincount(logits.argmax(1), length=classes).astype(jnp.int32)
    collapsed = (histogram.max() > collapse_share * n) & (n > 1)
    return {"entropy": mean_entropy(logits), "histogram": histogram, "collapsed": collapsed}


def adaptable(params: PyTree, *, skip: Sequence[str] = ()) -> dict[str, Array]:
    """Scale and bias of every normalisation layer (Batch, Layer, Group), by their path ``encoder/bn1/scale``. ``skip``
    holds regular expressions searched in the path. Raises an InputError when nothing is left to adapt."""
    found: dict[str, Array] = {}

    def visit(tree: Any, path: str) -> None:
        # A normalisation layer has a scale and no kernel; a linear layer's bias is not taken.
        if "scale" in tree and "kernel" not in tree:
            found.update({f"{path}{name}": tree[name] for name in ("scale", "bias") if name in tree})
        for name, sub in tree.items():
            if isinstance(sub, dict):
                visit(sub, f"{path}{name}/")

    visit(params, "")
    # Flat paths, so that patterns and gradients name parameters the same way in every net.
    kept = {path: leaf for path, leaf in found.items() if not any(re.search(s, path) for s in skip)}
    if not kept:
        raise InputError(
            f"params: got no scale or bias of a normalisation layer to adapt ({len(found)} were skipped)\n"
            "  expected: a net with BatchNorm, LayerNorm or GroupNorm that has a scale\n"
            "  what to do: use an encoder with normalisation (for LeNet and MLP: norm=True), or skip less"
        )
    return kept


def merge(params: PyTree, leaves: dict[str, Array], path: str = "") -> PyTree:
    """``params`` with the leaves of :func:`adaptable` put back."""
    return {
        name: merge(sub, leaves, f"{path}{name}/") if isinstance(sub, dict) else leaves.get(f"{path}{name}", sub)
        for name, sub in params.items()
    }


def check_statistics(variables: PyTree) -> None:
    """Raises an InputError for a net that keeps no BatchNorm statistics."""
    if not jax.tree.leaves(variables.get("batch_stats", {})):
        raise InputError(
            "variables: got no batch_stats, so there are no statistics to adapt\n"
            "  expected: a net with BatchNorm\n"
            "  what to do: use an encoder with BatchNorm (for LeNet and MLP: norm=True)"
        )
