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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax

from dalib.checks import InputError, choose
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


@contextmanager
def normalise_by_batch(by_batch: bool) -> Iterator[None]:
    """Inside this context every BatchNorm uses batch statistics (and updates the running ones), or the running ones.

    The net's own ``train`` flag then only decides about dropout: frozen statistics beside dropout, or fresh statistics
    without it, need the two apart. Works on any Linen net, at trace time.
    """

    def choose_statistics(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            # A net may have fixed the choice in its constructor; Linen takes it from one place only.
            object.__setattr__(context.module, "use_running_average", None)
            kwargs = {**kwargs, "use_running_average": not by_batch}
        return call(*args, **kwargs)

    with nn.intercept_methods(choose_statistics):
        yield


def make_forward(net: Any, convention: str) -> Forward:
    """Binds a classifier to a BatchNorm convention.

    Args:
        net: a :class:`dalib.encoders.Classifier`, or anything with its ``init``/``apply`` and ``head_module``.
        convention: one of :data:`CONVENTIONS`.
    """
    choose("batch_norm", convention, CONVENTIONS)

    def apply(params: Params, stats: PyTree, inputs: Array, key: Array | None, *, train: bool, batch: bool):
        """One pass; ``train`` switches dropout on, ``batch`` normalises by the batch and updates the statistics."""
        variables: dict[str, Any] = {"params": {g: params[g] for g in NET_GROUPS if g in params}}
        if stats:
            variables["batch_stats"] = stats
        rngs = {"dropout": key} if train and key is not None else None
        with normalise_by_batch(batch):
            if not (batch and stats):
                return net.apply(variables, inputs, train=train, rngs=rngs), stats
            outputs, changed = net.apply(variables, inputs, train=train, rngs=rngs, mutable=["batch_stats"])
            return outputs, changed["batch_stats"]

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

    def one(params: Params, model: PyTree, inputs: Array, domain: str, key: Array | None, train: bool):
        slot = domain if domain in model else "shared"
        stats = statistics_for(model, domain)
        by_batch = train and convention != "frozen" and not (convention == "source" and domain == "target")
        outputs, stats = apply(params, stats, inputs, key, train=train, batch=by_batch)
        return outputs, {**model, slot: stats} if by_batch else model

    def head(head_params: PyTree, features: Array, key: Array | None) -> Array:
        rngs = None if key is None else {"dropout": key}
        return net.head_module().apply({"params": head_params}, features, train=key is not None, rngs=rngs)

    return Forward(pair, one, head)


def evaluate_outputs(forward: Forward, params: Params, model: PyTree, inputs: Array, domain: str) -> Outputs:
    """One pass in evaluation mode: running averages of ``domain``, no dropout, nothing changes."""
    return forward.one(params, model, inputs, domain, None, False)[0]
