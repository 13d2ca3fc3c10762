"""V-REx: equal risks over several source domains."""

from typing import Any

from dalib.methods.base import Method, Needs, View, term
from dalib.methods.domains import check_sources, domain_losses
from dalib.methods.warmup import weight_after
from dalib.types import Array, Metrics


def vrex(*, weight: Any = 10.0, warmup_steps: Any = 500, sources: int = 2) -> Method:
    """Domain generalisation: mean task loss + λ · variance of the domains' task losses (Krueger et al., ICML 2021,
    arXiv 2003.00688, section 3).

    The variance has divisor k, not k − 1 (two domains: a quarter of the squared difference). Sources are interleaved
    (:mod:`dalib.methods.domains`); the target is not used.

    Args:
        weight: λ (β in the paper). 10 after 500 steps of 1 is DomainBed's default; TLlib has 3 after 500 steps.
        warmup_steps: until then λ is at most 1, see :func:`~dalib.methods.warmup.weight_after`.
        sources: k, the number of source domains.

    Metrics: ``loss/vrex``, the variance; ``vrex/worst``, the largest domain loss.

    Raises:
        InputError: for fewer than 2 sources, or (when traced) a batch that does not divide by them.
    """
    check_sources(sources)

    def variance(view: View) -> tuple[Array, Metrics]:
        losses = domain_losses(view, sources)
        return losses.var(), {"vrex/worst": losses.max()}

    def later(view: View) -> Array:
        return weight_after(weight, view, steps=warmup_steps)

    return term("vrex", variance, weight=later, needs=Needs("generalisation", sources, batch_norm="source"))
