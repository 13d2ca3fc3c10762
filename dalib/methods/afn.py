"""AFN: features of larger norm, in small steps."""

from typing import Any

import jax.numpy as jnp

from dalib import discrepancy
from dalib.methods.base import Method, Needs, View, weigh
from dalib.types import Array, Metrics


def afn(*, weight: Any = 0.05, step: Any = 1.0, entropy: Any = 0.0) -> Method:
    """Task loss + λ · Σ over both domains of mean (‖f‖ − sg(‖f‖ + Δ))² + γ · mean H(p_t) (Xu, Li, Yang, Lin, ICCV 2019,
    arXiv 1811.07456, eqs. 6 and 7). The paper uses it for closed and partial sets.

    The value of the norm term is always 2Δ²; only its gradient means anything, so look at the norms in the metrics.
    BatchNorm: each domain by its own batch, as in the authors' code and TLlib. They also use a bottleneck 1000 wide
    with a dropout that keeps the norm; that belongs to the net.

    Args:
        weight: λ.
        step: Δ, 1 in the paper (VisDA 0.3).
        entropy: γ of an entropy term on the target, 0 for none; 0.1 is used on Office-31.

    Metrics: ``loss/afn`` (2Δ²), ``afn/norm_source`` and ``afn/norm_target`` (mean ‖f‖), ``afn/entropy``. A row of zeros
    gets no gradient.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        source, target = view.source.features, view.target.features
        value = discrepancy.afn(source, step=step) + discrepancy.afn(target, step=step)
        uncertainty = discrepancy.mean_entropy(view.target.logits)
        metrics = {
            "loss/afn": value,
            "afn/norm_source": jnp.linalg.norm(source, axis=1).mean(),
            "afn/norm_target": jnp.linalg.norm(target, axis=1).mean(),
            "afn/entropy": uncertainty,
        }
        return weigh(weight, view) * value + weigh(entropy, view) * uncertainty, view, metrics

    return Method("afn", penalties=(penalty,), needs=Needs(batch_norm="separate", per_example=True))
