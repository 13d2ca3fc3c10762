"""IRM: invariant risk minimisation over several source domains."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import choose, input_error
from dalib.methods.base import Method, Needs, View, term
from dalib.methods.domains import check_sources, split_domains
from dalib.methods.warmup import weight_after
from dalib.types import Array


def scale_gradients(logits: Array, labels: Array, task_loss: Callable[[Array, Array], Array]) -> Array:
    """Derivative of each row's loss of ``w · logits`` with respect to w, at w = 1.

    For the cross-entropy it is ``Σ_k p_k g_k − g_y``; by forward mode it serves any task loss.

    Args:
        logits: ``[n, C]``.
        labels: ``[n]``.
        task_loss: ``(logits, labels) -> [n]``.

    Returns:
        ``[n]``.
    """
    return jax.jvp(lambda z: task_loss(z, labels), (logits,), (logits,))[1]


def squared(gradients: Array) -> Array:
    """Square of the mean: IRMv1 as defined; on a small batch it is too large by the mean's variance."""
    return jnp.square(gradients.mean())


def split(gradients: Array) -> Array:
    """Product of the means over even and odd rows: unbiased, and may be negative.

    Raises:
        InputError: for a domain of fewer than 2 rows.
    """
    if gradients.shape[0] < 2:
        raise input_error(
            "batch", got=f"{gradients.shape[0]} rows of a source domain", expected="at least 2 for form='split'"
        )
    return gradients[::2].mean() * gradients[1::2].mean()


FORMS = {"square": squared, "split": split}


def irm(*, weight: Any = 100.0, warmup_steps: Any = 500, form: str = "square", sources: int = 2) -> Method:
    """Domain generalisation: mean task loss + λ · mean over domains of the squared gradient with respect to a scale of
    the logits (IRMv1; Arjovsky, Bottou, Gulrajani, Lopez-Paz, 2019, arXiv 1907.02893, section 3).

    Sources are interleaved (:mod:`dalib.methods.domains`); the target is not used.

    Args:
        weight: λ. 100 after 500 steps of 1 is DomainBed's default; TLlib has 1. Use a weight of its own for each data
            set: the published ones span five orders of magnitude.
        warmup_steps: until then λ is at most 1, see :func:`~dalib.methods.warmup.weight_after`.
        form: "square", the definition, as in the authors' Coloured MNIST code; "split" as in the paper's appendix,
            DomainBed and TLlib: unbiased for minibatches, depends on the order of rows.
        sources: k, the number of source domains.

    Metrics: ``loss/irm``, the mean over domains before weighting.

    Raises:
        InputError: for another form, fewer than 2 sources, or (when traced) a batch that does not divide by them.
    """
    penalise = choose("form", form, FORMS)
    check_sources(sources)

    def invariance(view: View) -> Array:
        gradients = scale_gradients(view.source.logits, view.labels, view.task_loss)
        return jnp.stack([penalise(part) for part in split_domains(gradients, sources)]).mean()

    def later(view: View) -> Array:
        return weight_after(weight, view, steps=warmup_steps)

    return term("irm", invariance, weight=later, needs=Needs("generalisation", sources, batch_norm="source"))
