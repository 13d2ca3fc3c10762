"""Domain generalisation by penalties across sources: IRM, V-REx, GroupDRO and CORAL.

Sources are interleaved (:mod:`dalib.methods.parts.domains`) and must divide the batch. The target is not used.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.options import NonNegative, OneOf, Several, Weight, checked
from dalib.core.types import Array, Metrics, Params, PyTree
from dalib.discrepancy import coral
from dalib.methods.base import Method, Needs, Update, term, weigh
from dalib.methods.parts.domains import domain_losses, split_domains
from dalib.methods.view import Layer, Spec, View


def weight_after(weight: Any, view: View, *, steps: Any, before: float = 1.0) -> Array:
    """The weight, but at most ``before`` in the first ``steps`` steps (0 for none). It is DomainBed's switch for
    invariance penalties: weight 1, then λ. DomainBed also starts Adam anew there, as the gradient's scale jumps;
    dalib's optimiser runs on."""
    value = jnp.asarray(weigh(weight, view))
    return jnp.where(view.step < steps, jnp.minimum(value, before), value)


# IRM: invariant risk minimisation over several source domains.


def scale_gradients(logits: Array, labels: Array, task_loss: Callable[[Array, Array], Array]) -> Array:
    """Derivative ``[n]`` of each row's loss of ``w · logits`` with respect to w, at w = 1; logits ``[n, C]``. For the
    cross-entropy it is ``Σ_k p_k g_k − g_y``; forward mode serves any ``task_loss``."""
    return jax.jvp(lambda z: task_loss(z, labels), (logits,), (logits,))[1]


def squared(gradients: Array) -> Array:
    """Square of the mean: IRMv1 as defined; on a small batch it is too large by the mean's variance."""
    return jnp.square(gradients.mean())


def split(gradients: Array) -> Array:
    """Product of the means over even and odd rows: unbiased, may be negative; a domain needs 2 rows."""
    if gradients.shape[0] < 2:
        raise input_error(
            "batch", got=f"{gradients.shape[0]} rows of a source domain", expected="at least 2 for form='split'"
        )
    return gradients[::2].mean() * gradients[1::2].mean()


FORMS = {"square": squared, "split": split}


@checked
def irm(
    *,
    weight: Weight = 100.0,
    warmup_steps: NonNegative = 500,
    form: Annotated[str, OneOf(FORMS)] = "square",
    sources: Several = 2,
) -> Method:
    """Domain generalisation: mean task loss + λ · mean over domains of the squared gradient with respect to a scale of
    the logits (IRMv1; Arjovsky, Bottou, Gulrajani, Lopez-Paz, 2019, arXiv 1907.02893, section 3). Metrics:
    ``loss/irm``, the mean over domains before weighting.

    Args:
        weight: λ. 100 after 500 steps of 1 is DomainBed's default; TLlib has 1. Published ones span five magnitudes.
        warmup_steps: until then λ is at most 1.
        form: "square", the definition, as in the authors' Coloured MNIST code; "split" as in the paper's appendix,
            DomainBed and TLlib: unbiased for minibatches, depends on the order of rows.
        sources: k, the number of source domains.
    """
    penalise = FORMS[form]

    def invariance(view: View) -> Array:
        gradients = scale_gradients(view.source.logits, view.labels, view.task_loss)
        return jnp.stack([penalise(part) for part in split_domains(gradients, sources)]).mean()

    def later(view: View) -> Array:
        return weight_after(weight, view, steps=warmup_steps)

    return term("irm", invariance, weight=later, needs=Needs("generalisation", sources, batch_norm="source"))


@checked
def vrex(*, weight: Weight = 10.0, warmup_steps: NonNegative = 500, sources: Several = 2) -> Method:
    """Generalisation: mean task loss + λ · variance of the domains' task losses (Krueger et al., ICML 2021, arXiv
    2003.00688, §3). The variance has divisor k, not k − 1 (two domains: a quarter of the squared difference). Metrics:
    ``loss/vrex``, the variance; ``vrex/worst``, the largest domain loss.

    Args:
        weight: λ (β in the paper). 10 after 500 steps of 1 is DomainBed's default; TLlib has 3 after 500 steps.
        warmup_steps: until then λ is at most 1.
        sources: k, the number of source domains.
    """

    def variance(view: View) -> tuple[Array, Metrics]:
        losses = domain_losses(view, sources)
        return losses.var(), {"vrex/worst": losses.max()}

    def later(view: View) -> Array:
        return weight_after(weight, view, steps=warmup_steps)

    return term("vrex", variance, weight=later, needs=Needs("generalisation", sources, batch_norm="source"))


@checked
def groupdro(*, rate: NonNegative = 0.01, sources: Several = 2) -> Method:
    """Domain generalisation: task loss ``Σ_k q_k ℓ_k`` with ``q_k ← q_k e^{η ℓ_k} / Σ`` before every step (Sagawa, Koh,
    Hashimoto, Liang, ICLR 2020, arXiv 1911.08731, algorithm 1). Metrics: ``loss/task`` (weighted), ``accuracy/source``,
    ``groupdro/worst``, ``groupdro/largest_weight`` (1/k to 1).

    Args:
        rate: η; 0.01 in the paper, DomainBed and TLlib. 0 is the mean over domains.
        sources: k, the number of source domains.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key, spec
        return {}, {"log_weights": -jnp.log(jnp.full(sources, sources, jnp.float32))}

    def loss(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        losses = domain_losses(view, sources)
        old = view.state["log_weights"]
        # In logarithms and normalised at every step, so that no run is too long for it.
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


@checked
def coral_dg(
    *, weight: Weight = 1.0, layer: Layer = "features", tllib_form: bool = True, sources: Several = 2
) -> Method:
    """Domain generalisation: task loss + λ · mean over pairs of source domains of their CORAL distance (the distance:
    Sun, Saenko, ECCV-W 2016, arXiv 1607.01719; between sources: Gulrajani, Lopez-Paz, ICLR 2021, arXiv 2007.01434).

    Args:
        weight: λ; 1 in DomainBed and TLlib, for their form of the distance on features.
        layer: "features" (DomainBed, TLlib) or "logits".
        tllib_form: ``mean((Δμ)²) + mean((ΔC)²)``, as proposed here; False takes Deep CORAL's ``‖ΔC‖²_F / 4d²``.
        sources: k; each needs 2 rows of a batch for a covariance.
    """

    def between_pairs(view: View) -> Array:
        parts = split_domains(getattr(view.source, layer), sources)
        return jnp.stack([coral(a, b, tllib_form=tllib_form) for a, b in combinations(parts, 2)]).mean()

    return term("coral_dg", between_pairs, weight=weight, needs=Needs("generalisation", sources, batch_norm="source"))
