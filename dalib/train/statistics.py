"""Batch statistics recomputed over a whole data set, for AdaBN and for averaged weights."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.checks import InputError
from dalib.encoders.adapters import as_net
from dalib.methods.base import NET_GROUPS
from dalib.types import Array, Params, PyTree


def recompute_statistics(net: Any, params: Params, stats: PyTree, batches: Iterable[Array]) -> PyTree:
    """Mean and variance of every BatchNorm layer over all examples of ``batches``, each counted once.

    Each batch is normalised by its own statistics on the way, so use batches as large as memory allows; the moments
    are then pooled over batches exactly (variance of the union, not mean of variances).

    Args:
        net: a :class:`dalib.encoders.Net` or a :class:`dalib.encoders.Classifier`.
        params: its parameters by group.
        stats: its batch statistics now; only their structure matters.
        batches: arrays ``[n, ...]``; sizes may differ (each new size compiles once).

    Raises:
        InputError: for a net without BatchNorm, or no batches.
    """
    if not jax.tree.leaves(stats):
        raise InputError(
            "net: it has no BatchNorm layer, so there are no statistics to adapt\n"
            "  what to do: use an encoder with BatchNorm (DTN, ResNet, LeNet with norm=True) or another method"
        )
    moments = _batch_moments(net)
    own = {g: params[g] for g in NET_GROUPS if g in params}
    total, count = None, 0
    for inputs in batches:
        n = int(np.shape(inputs)[0])
        part = jax.tree.map(lambda x, n=n: n * x, moments(own, stats, inputs))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
        count += n
    if total is None:
        raise InputError("batches: got none; statistics need at least one batch of target inputs")
    return _finish(jax.tree.map(lambda x: x / count, total), stats)


@lru_cache(maxsize=8)
def _batch_moments(net: Any):
    """``(params, stats, inputs) -> `` first and second moments per BatchNorm layer, as {"mean", "var": E[x²]}."""
    of_batch = as_net(net).statistics

    def moments(params: Params, stats: PyTree, inputs: Array) -> PyTree:
        return _map_layers(of_batch(params, stats, inputs), lambda m, v: (m, v + jnp.square(m)))

    return jax.jit(moments)


def _finish(moments: PyTree, stats: PyTree) -> PyTree:
    return _map_layers(moments, lambda m, second: (m, jnp.maximum(second - jnp.square(m), 0.0)), stats)


def _map_layers(tree: Any, function: Any, others: Any = None) -> Any:
    """Applies ``(mean, var) -> (mean, var)`` to every layer of a tree; other state comes from ``others``."""
    if not isinstance(tree, dict):
        return others
    if "mean" in tree and "var" in tree:
        mean, var = function(tree["mean"], tree["var"])
        return {"mean": mean, "var": var}
    return {name: _map_layers(sub, function, None if others is None else others[name]) for name, sub in tree.items()}
