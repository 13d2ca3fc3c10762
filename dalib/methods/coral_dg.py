"""CORAL between source domains, for domain generalisation."""

from itertools import combinations
from typing import Any

import jax.numpy as jnp

from dalib.checks import choose
from dalib.discrepancy import coral
from dalib.methods.base import Method, Needs, View, term
from dalib.methods.domains import check_sources, split_domains
from dalib.types import Array


def coral_dg(*, weight: Any = 1.0, layer: str = "features", tllib_form: bool = True, sources: int = 2) -> Method:
    """Domain generalisation: task loss + λ · mean over pairs of source domains of their CORAL distance (the distance:
    Sun, Saenko, ECCV-W 2016, arXiv 1607.01719; between sources: Gulrajani, Lopez-Paz, ICLR 2021, arXiv 2007.01434).

    Sources are interleaved (:mod:`dalib.methods.domains`); the target is not used.

    Args:
        weight: λ; 1 in DomainBed and TLlib, for their form of the distance on features.
        layer: "features" (DomainBed, TLlib) or "logits".
        tllib_form: DomainBed's and TLlib's distance, ``mean((Δμ)²) + mean((ΔC)²)``, which is the one that was proposed
            for domain generalisation; False takes Deep CORAL's ``‖ΔC‖²_F / 4d²``.
        sources: k, the number of source domains.

    Raises:
        InputError: for another layer, fewer than 2 sources, or (when traced) a batch that does not divide by them or
            leaves a domain a single row, which has no covariance.
    """
    choose("layer", layer, {"logits": 0, "features": 0})
    check_sources(sources)

    def between_pairs(view: View) -> Array:
        parts = split_domains(getattr(view.source, layer), sources)
        return jnp.stack([coral(a, b, tllib_form=tllib_form) for a, b in combinations(parts, 2)]).mean()

    return term("coral_dg", between_pairs, weight=weight, needs=Needs("generalisation", sources, batch_norm="source"))
