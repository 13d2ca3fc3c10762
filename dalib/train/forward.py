"""The net as pure functions under one of five BatchNorm conventions, and statistics computed anew from data.

Published numbers hinge on the convention (Chang et al. 2019, arXiv 1906.03950, give the domain-specific one):

========== =========================================== ==========================================================
convention training-mode normalisation                 running statistics after a step
========== =========================================== ==========================================================
joint      by the mixture of both domains' batches     one set, of the mixture
separate   each domain by its own batch                one set, updated by the source and then by the target
source     source by its batch, target by the running  one set, of the source only
           averages
domain     each domain by its own batch                two sets; an evaluation must name the domain
frozen     by the running averages                     never change
========== =========================================== ==========================================================
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, choose
from dalib.core.types import Array, Batch, Outputs, Params, PyTree
from dalib.encoders.adapters import as_net
from dalib.methods.parts.domains import apart, together
from dalib.methods.view import NET_GROUPS, Forward, Pass

CONVENTIONS = {
    "joint": "mixture of both domains in one pass",
    "separate": "a pass per domain, one set of running statistics",
    "source": "statistics of the source only",
    "domain": "a set of statistics per domain",
    "frozen": "running averages, never updated",
}


def initial_model_state(batch_stats: PyTree, convention: str) -> PyTree:
    """Return batch statistics by domain: ``{"shared": ...}``, or one entry a domain under the convention "domain"."""
    choose("batch_norm", convention, CONVENTIONS)
    if convention == "domain":
        return {"source": batch_stats, "target": batch_stats}
    return {"shared": batch_stats}


def statistics_for(model: PyTree, domain: str) -> PyTree:
    """Return the batch statistics meant for ``domain``: its own, else the shared ones, else an InputError."""
    if domain in model:
        return model[domain]
    if "shared" in model:
        return model["shared"]
    raise InputError(
        f"domain: got {domain!r}\n  expected: one of {', '.join(sorted(model))}: this net keeps batch "
        "statistics per domain, so every evaluation must name one of them"
    )


def make_forward(net: Any, convention: str) -> Forward:
    """Bind a classifier (:class:`dalib.encoders.Net` or :class:`dalib.encoders.Classifier`) to a BatchNorm convention.

    ``one`` of the result also takes ``by_batch``, which overrides the convention on the statistics of this pass.
    Dropout is independent of it, and off without a ``key``.
    """
    choose("batch_norm", convention, CONVENTIONS)
    net = as_net(net)

    def apply(params: Params, stats: PyTree, inputs: Array, key: Array | None, *, train: bool, batch: bool):
        """Pass once; ``train`` with a key switches dropout on, ``batch`` normalises by the batch and updates."""
        # The net takes its own groups only; a method's are left out.
        own = {g: params[g] for g in NET_GROUPS if g in params}
        return net.apply(own, stats, inputs, key=key if train else None, by_batch=batch)

    def both(params: Params, stats: PyTree, batch: Batch, key: Array, *, by_batch: bool):
        source, target = batch.source.inputs, batch.target.inputs
        n = source.shape[0]
        outputs, stats = apply(params, stats, together(source, target), key, train=True, batch=by_batch)
        of_source, of_target = (jax.tree.map(lambda x, i=i: apart(x, n)[i], outputs) for i in range(2))
        return Pass(of_source, of_target, batch), stats

    def pair(params: Params, model: PyTree, batch: Batch, key: Array) -> tuple[Pass, PyTree]:
        # The mixture's statistics need one pass of both domains; with frozen ones it is merely faster.
        if convention in ("joint", "frozen"):
            outputs, stats = both(params, model["shared"], batch, key, by_batch=convention == "joint")
            return outputs, {**model, "shared": stats}
        # The source goes first: where statistics are shared, the target's update comes on top.
        keys = jax.random.split(key)
        source, model = one(params, model, batch.source.inputs, "source", keys[0], True)
        target, model = one(params, model, batch.target.inputs, "target", keys[1], True)
        return Pass(source, target, batch), model

    def one(
        params: Params,
        model: PyTree,
        inputs: Array,
        domain: str,
        key: Array | None,
        train: bool,
        by_batch: bool | None = None,
    ):
        # Statistics go back to where they came from: the domain's own set, or the shared one.
        slot = domain if domain in model else "shared"
        stats = statistics_for(model, domain)
        if by_batch is None:
            by_batch = train and convention != "frozen" and not (convention == "source" and domain == "target")
        outputs, stats = apply(params, stats, inputs, key, train=train, batch=by_batch)
        return outputs, {**model, slot: stats} if by_batch else model

    def head(head_params: PyTree, features: Array, key: Array | None) -> Array:
        return net.apply_head(head_params, features, key)

    return Forward(pair, one, head)


def evaluate_outputs(forward: Forward, params: Params, model: PyTree, inputs: Array, domain: str) -> Outputs:
    """Pass once in evaluation mode: running averages of ``domain``, no dropout, nothing changes."""
    return forward.one(params, model, inputs, domain, None, False)[0]


def recompute_statistics(net: Any, params: Params, stats: PyTree, batches: Iterable[Array]) -> PyTree:
    """Return mean and variance of every BatchNorm layer over all examples of ``batches``, each counted once.

    Each batch ``[n, ...]`` is normalised by its own statistics on the way, so use batches as large as memory allows;
    each new size compiles once. The moments are then pooled over batches exactly (variance of the union, not mean of
    variances). Of ``stats`` only the structure matters. A net without BatchNorm, or no batches, raises an InputError.
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
        # Sums, not means: batches of different sizes count by their examples.
        part = jax.tree.map(lambda x, n=n: n * x, moments(own, stats, inputs))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
        count += n
    if total is None:
        raise InputError("batches: got none; statistics need at least one batch of target inputs")
    return _finish(jax.tree.map(lambda x: x / count, total), stats)


@lru_cache(maxsize=8)
def _batch_moments(net: Any):
    """Return ``(params, stats, inputs) -> {"mean": E[x], "var": E[x²]}`` of each BatchNorm layer."""
    of_batch = as_net(net).statistics

    def moments(params: Params, stats: PyTree, inputs: Array) -> PyTree:
        return _map_layers(of_batch(params, stats, inputs), lambda m, v: (m, v + jnp.square(m)))

    return jax.jit(moments)


def _finish(moments: PyTree, stats: PyTree) -> PyTree:
    return _map_layers(moments, lambda m, second: (m, jnp.maximum(second - jnp.square(m), 0.0)), stats)


def _map_layers(tree: Any, function: Any, others: Any = None) -> Any:
    """Apply ``(mean, var) -> (mean, var)`` to every layer of a tree; other state comes from ``others``."""
    if not isinstance(tree, dict):
        return others
    if "mean" in tree and "var" in tree:
        mean, var = function(tree["mean"], tree["var"])
        return {"mean": mean, "var": var}
    return {name: _map_layers(sub, function, None if others is None else others[name]) for name, sub in tree.items()}
