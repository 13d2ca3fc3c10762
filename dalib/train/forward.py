"""The net as pure functions of parameters and batch statistics, under one of five BatchNorm conventions.

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

from typing import Any

import jax

from dalib.checks import InputError, choose
from dalib.encoders.adapters import as_net
from dalib.methods.base import NET_GROUPS, Forward, Pass
from dalib.methods.domains import apart, together
from dalib.types import Array, Batch, Outputs, Params, PyTree

CONVENTIONS = {
    "joint": "mixture of both domains in one pass",
    "separate": "a pass per domain, one set of running statistics",
    "source": "statistics of the source only",
    "domain": "a set of statistics per domain",
    "frozen": "running averages, never updated",
}


def initial_model_state(batch_stats: PyTree, convention: str) -> PyTree:
    """Batch statistics by domain: ``{"shared": ...}``, or one entry per domain under the convention "domain"."""
    choose("batch_norm", convention, CONVENTIONS)
    if convention == "domain":
        return {"source": batch_stats, "target": batch_stats}
    return {"shared": batch_stats}


def statistics_for(model: PyTree, domain: str) -> PyTree:
    """The batch statistics meant for ``domain``: its own if there are any, else the shared ones.

    Raises:
        InputError: when there are only domain-specific statistics and none of this domain.
    """
    if domain in model:
        return model[domain]
    if "shared" in model:
        return model["shared"]
    raise InputError(
        f"domain: got {domain!r}\n  expected: one of {', '.join(sorted(model))}: this net keeps batch "
        "statistics per domain, so every evaluation must name one of them"
    )


def make_forward(net: Any, convention: str) -> Forward:
    """Binds a classifier to a BatchNorm convention.

    Args:
        net: a :class:`dalib.encoders.Net` or a :class:`dalib.encoders.Classifier`.
        convention: one of :data:`CONVENTIONS`.

    Returns:
        The functions. ``one`` also takes ``by_batch``, which overrides what the convention says about the statistics
        of this pass; dropout is apart, and off without a ``key``.
    """
    choose("batch_norm", convention, CONVENTIONS)
    net = as_net(net)

    def apply(params: Params, stats: PyTree, inputs: Array, key: Array | None, *, train: bool, batch: bool):
        """One pass; ``train`` with a key switches dropout on, ``batch`` normalises by the batch and updates."""
        own = {g: params[g] for g in NET_GROUPS if g in params}
        return net.apply(own, stats, inputs, key=key if train else None, by_batch=batch)

    def both(params: Params, stats: PyTree, batch: Batch, key: Array, *, by_batch: bool):
        source, target = batch.source.inputs, batch.target.inputs
        n = source.shape[0]
        outputs, stats = apply(params, stats, together(source, target), key, train=True, batch=by_batch)
        of_source, of_target = (jax.tree.map(lambda x, i=i: apart(x, n)[i], outputs) for i in range(2))
        return Pass(of_source, of_target, batch), stats

    def pair(params: Params, model: PyTree, batch: Batch, key: Array) -> tuple[Pass, PyTree]:
        if convention in ("joint", "frozen"):
            outputs, stats = both(params, model["shared"], batch, key, by_batch=convention == "joint")
            return outputs, {**model, "shared": stats}
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
    """One pass in evaluation mode: running averages of ``domain``, no dropout, nothing changes."""
    return forward.one(params, model, inputs, domain, None, False)[0]
