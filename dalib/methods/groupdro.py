"""GroupDRO: the source domain with the largest loss counts most."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.methods.base import Method, Needs, Spec, Update, View
from dalib.methods.domains import check_sources, domain_losses
from dalib.types import Array, Metrics, Params, PyTree


def groupdro(*, rate: Any = 0.01, sources: int = 2) -> Method:
    """Domain generalisation: task loss ``Σ_k q_k ℓ_k`` with ``q_k ← q_k e^{η ℓ_k} / Σ`` before every step (Sagawa, Koh,
    Hashimoto, Liang, ICLR 2020, arXiv 1911.08731, algorithm 1).

    The method's state holds ``ln q``, normalised at every step, so that no run is too long for it. Sources are
    interleaved (:mod:`dalib.methods.domains`); the target is not used.

    Args:
        rate: η; 0.01 in the paper, DomainBed and TLlib. 0 is the mean over domains.
        sources: k, the number of source domains.

    Metrics: ``loss/task`` (weighted), ``accuracy/source``, ``groupdro/worst`` (largest domain loss),
    ``groupdro/largest_weight`` (1/k to 1).

    Raises:
        InputError: for fewer than 2 sources, or (when traced) a batch that does not divide by them.
    """
    check_sources(sources)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key, spec
        return {}, {"log_weights": -jnp.log(jnp.full(sources, sources, jnp.float32))}

    def loss(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        losses = domain_losses(view, sources)
        old = view.state["log_weights"]
        new = jax.nn.log_softmax(old + (rate * jax.lax.stop_gradient(losses)).astype(old.dtype))
        value = (jnp.exp(new) * losses).sum()
        metrics = {
            "loss/task": value,
            **view.task.quality(view.source, view.labels),
            "groupdro/worst": losses.max(),
            "groupdro/largest_weight": jnp.exp(new).max(),
        }
        return value, view.keep({"log_weights": new}), metrics

    needs = Needs("generalisation", sources, batch_norm="source")
    return Method("groupdro", init=init, updates=(Update("supervised", loss),), needs=needs)
