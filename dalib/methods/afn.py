"""AFN: features of larger norm, in small steps."""

from typing import Any

import jax.numpy as jnp

from dalib import discrepancy
from dalib.methods.base import Context, Forward, Method, Pass, weigh
from dalib.types import Params, PyTree


def afn(*, weight: Any = 0.05, step: Any = 1.0, entropy: Any = 0.0) -> Method:
    """Task loss + λ · Σ over both domains of mean (‖f‖ − sg(‖f‖ + Δ))² + γ · mean H(p_t) (Xu, Li, Yang, Lin, ICCV 2019,
    arXiv 1811.07456, eqs. 6 and 7). Closed set, partial.

    The value of the norm term is 2Δ² always; only its gradient means anything, so look at the norms in the metrics.
    BatchNorm: each domain by its own batch, as in the authors' code and TLlib. They also use a bottleneck 1000 wide
    whose dropout keeps the norm; that belongs to the net.

    Args:
        weight: λ.
        step: Δ, 1 in the paper (VisDA 0.3).
        entropy: γ of an entropy term on the target, 0 for none; 0.1 is used on Office-31.

    Metrics: ``loss/afn`` (2Δ²), ``afn/norm_source`` and ``afn/norm_target`` (mean ‖f‖), ``afn/entropy``. A row of zeros
    gets no gradient.
    """

    def penalty(params: Params, state: PyTree, outputs: Pass, forward: Forward, context: Context):
        del params, forward
        source, target = outputs.source.features, outputs.target.features
        assert outputs.target.logits is not None
        value = discrepancy.afn(source, step=step) + discrepancy.afn(target, step=step)
        uncertainty = discrepancy.mean_entropy(outputs.target.logits)
        metrics = {
            "loss/afn": value,
            "afn/norm_source": jnp.linalg.norm(source, axis=1).mean(),
            "afn/norm_target": jnp.linalg.norm(target, axis=1).mean(),
            "afn/entropy": uncertainty,
        }
        return weigh(weight, context) * value + weigh(entropy, context) * uncertainty, state, metrics

    return Method("afn", penalty=penalty, batch_norm="separate", per_example=True)
