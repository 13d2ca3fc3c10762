"""Terms of the target's predictions and norms: entropy, mutual information, MCC, BNM, AFN and pseudo-labels."""

from typing import Annotated

import jax.numpy as jnp

from dalib import discrepancy
from dalib.core.options import NonNegative, OneOf, Positive, Share, Weight, checked
from dalib.core.types import Array, Metrics
from dalib.discrepancy import confident, mean_entropy, mutual_information, pseudo_label_loss
from dalib.methods.base import Method, Needs, term, weigh
from dalib.methods.view import View


@checked
def entmin(*, weight: Weight = 0.1, epsilon: NonNegative = 0.0) -> Method:
    """Task loss + λ · mean H(p_t) (Grandvalet, Bengio, NIPS 2004, eq. 6). It also serves semi-supervised learning.
    Alone it may put all target examples into one class: watch for ``loss/entmin`` near 0 with a falling validation
    score. Add it to an alignment method with λ from 0.01 to 0.1, or take :func:`dalib.methods.im`. Metrics:
    ``loss/entmin`` in nats, from 0 (one-hot, with finite gradients) to ln C (uniform).

    Args:
        weight: λ.
        epsilon: added inside the logarithm; TLlib has 1e-5 there, the paper nothing.
    """

    needs = Needs(per_example=True, classes=True)
    return term("entmin", lambda v: mean_entropy(v.target.logits, epsilon=epsilon), weight=weight, needs=needs)


# Information maximisation: predictions that are certain one by one and spread evenly over the classes.


@checked
def im(*, weight: Weight = 1.0, diversity: NonNegative = 1.0) -> Method:
    """Task loss + λ · (mean H(p_t) − δ · H(p̄_t)) (Krause, Perona, Gomes, NIPS 2010, eq. 3; Shi, Sha, ICML 2012). A
    part of SHOT too. It presumes target classes of about equal frequency; p̄ is the mean over the global batch. Metrics
    in nats: ``loss/im`` (±ln C at most for δ = 1), ``im/entropy`` = mean H(p), ``im/diversity`` = H(p̄).

    Args:
        weight: λ.
        diversity: δ; 1 in the papers, 0 for partial adaptation, where classes lack.
    """

    def information(view: View) -> tuple[Array, Metrics]:
        entropy = mean_entropy(view.target.logits)
        spread = mutual_information(view.target.logits) + entropy
        return entropy - diversity * spread, {"im/entropy": entropy, "im/diversity": spread}

    return term("im", information, weight=weight, needs=Needs(classes=True))


# MCC: minimum class confusion on the target.


@checked
def mcc(*, weight: Weight = 1.0, temperature: Positive = 2.5, epsilon: NonNegative = 0.0) -> Method:
    """Task loss + λ · MCC(g_t) (Jin, Wang, Long, Wang, ECCV 2020, arXiv 1912.03699, eqs. 3 to 8), for closed, partial
    and several-source adaptation. The weight ``1 + e^{−H(p)}`` of a row has no gradient. Metrics: ``loss/mcc``, from 0
    to (C − 1)/C. A class without any mass counts as wholly confused, 1/C: the limit.

    Args:
        weight: λ; 10 for DomainNet.
        temperature: T of ``p = softmax(g_t / T)``; the paper and TLlib have 2.5 (VisDA 3, DomainNet 2).
        epsilon: added inside the logarithm of the weights' entropy; TLlib has 1e-5, the paper nothing.
    """

    def confusion(view: View) -> Array:
        return discrepancy.mcc(view.target.logits, temperature=temperature, epsilon=epsilon)

    return term("mcc", confusion, weight=weight, needs=Needs(classes=True))


# BNM: batch nuclear-norm maximisation on the target's predictions.


SCALES = {
    "rows": "the paper's ‖P‖_* / n",
    "mean": "the mean singular value ‖P‖_* / min(n, C), as DeepDA computes it",
}


@checked
def bnm(*, weight: Weight = 1.0, fast: bool = False, scale: Annotated[str, OneOf(SCALES)] = "rows") -> Method:
    """Task loss − λ · ‖softmax(g_t)‖_* / n (Cui, Wang, Zhuo, Li, Huang, Tian, CVPR 2020, arXiv 2003.12237, eq. 11),
    also for open sets and few labels.

    A large nuclear norm means certain and diverse predictions. Its gradient U Vᵀ is finite also at singular values of
    0. Metrics: ``loss/bnm``, negative, at least −√(min(n, C) / n) with "rows".

    Args:
        weight: λ.
        fast: FBNM, the sum of the min(n, C) largest column norms over n: no SVD (Cui et al. 2021, arXiv 2107.06154).
        scale: "rows" for the paper's 1/n; "mean" for the mean singular value (DeepDA), n / min(n, C) times as large.
    """

    def norm(view: View) -> Array:
        logits = view.target.logits
        value = (discrepancy.fbnm if fast else discrepancy.bnm)(logits)
        return value if scale == "rows" else value * (logits.shape[0] / min(logits.shape))

    return term("bnm", norm, weight=weight, needs=Needs(classes=True))


@checked
def afn(*, weight: Weight = 0.05, step: NonNegative = 1.0, entropy: NonNegative = 0.0) -> Method:
    """Task loss + λ · Σ over both domains of mean (‖f‖ − sg(‖f‖ + Δ))² + γ · mean H(p_t) (Xu, Li, Yang, Lin, ICCV 2019,
    arXiv 1811.07456, eqs. 6 and 7), for closed and partial sets. The norm term is always 2Δ²; only its gradient means
    anything, so look at the norms. A row of zeros gets none. Each domain is normalised by its own batch, as in the
    authors' code and TLlib. Their bottleneck, 1000 wide with a dropout that keeps the norm, belongs to the net.
    Metrics: ``loss/afn`` (2Δ²), ``afn/norm_source``, ``afn/norm_target``, ``afn/entropy``.

    Args:
        weight: λ.
        step: Δ, 1 in the paper (VisDA 0.3).
        entropy: γ of an entropy term on the target, 0 for none; 0.1 is used on Office-31.
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

    return Method("afn", penalties=(penalty,), needs=Needs(batch_norm="separate", per_example=True, classes=True))


@checked
def pseudo_label(*, weight: Weight = 1.0, threshold: Share = 0.95) -> Method:
    """Task loss + λ · mean over all target rows of 1[max p > τ] · CE(g_t, argmax p), labels held fixed (Lee, ICML
    Workshops 2013, eqs. 14 and 15, for semi-supervised learning). The mean over all rows makes the term fade in.
    Metrics: ``loss/pseudo_label``, ``pseudo_label/kept`` (share).

    Args:
        weight: λ.
        threshold: τ; TLlib's. Lee keeps all rows and ramps λ up: ``threshold=0, weight=lambda view: 3 *
            jnp.clip((view.step - 100) / 500, 0, 1)``.
    """

    def loss(view: View) -> tuple[Array, Metrics]:
        logits = view.target.logits
        value = pseudo_label_loss(logits, logits, threshold=threshold)
        return value, {"pseudo_label/kept": confident(logits, threshold=threshold).mean(dtype=value.dtype)}

    return term("pseudo_label", loss, weight=weight, needs=Needs(per_example=True, classes=True))
