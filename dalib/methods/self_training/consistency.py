"""Methods that ask for equal predictions on several views: FixMatch, UDA and confusion consistency."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax

from dalib.core.checks import check_positive, choose
from dalib.core.options import NonNegative, OneOf, Positive, Share, Weight, checked
from dalib.core.types import Array, Metrics, Params
from dalib.discrepancy import confident, confusion_consistency, mcc, pseudo_label_loss
from dalib.methods.base import Method, Needs, weigh
from dalib.methods.parts.augmentation import Augment, default_strong, default_weak
from dalib.methods.view import View


def teach(view: View, *, weak: Augment, strong: Augment, teacher: Params | None = None) -> tuple[Array, Array, View]:
    """Pass the target's strong view through the net and its weak view through a teacher, both in training mode. The
    running statistics keep the strong pass, then the weak one if the net teaches itself (``teacher`` None); never
    another teacher's. Returns both logits ``[m, C]``, the teacher's without gradient, and the view after the passes."""
    # Two further passes, each normalised by its own batch as in TLlib. As penalties these methods draw other numbers,
    # and leave other running statistics, than they did in older runs.
    keys = [jax.random.fold_in(view.key, 2 + i) for i in range(4)]
    inputs = view.batch.target.inputs
    student, view = view.again(strong(keys[0], inputs), "target", key=keys[3])
    taught, after = view.again(weak(keys[1], inputs), "target", key=keys[2], params=teacher)
    assert student.logits is not None and taught.logits is not None
    return student.logits, lax.stop_gradient(taught.logits), after if teacher is None else view


def sigmoid_ramp(time: Any, *, until: Any = 1.0) -> Array:
    """exp(−5 (1 − t)²) with t = progress / until, at most 1: from 0.0067 to 1 (Laine, Aila, ICLR 2017, §3.1)."""
    return jnp.exp(-5 * jnp.square(1 - jnp.clip(time.progress / until, 0, 1)))


# FixMatch: certain predictions on a weak view are labels for the strong view.


@checked
def fixmatch(
    *, weight: Weight = 1.0, threshold: Share = 0.95, weak: Augment = default_weak, strong: Augment = default_strong
) -> Method:
    """Task loss + λ · mean over all target rows of 1[max p^weak > τ] · CE(g^strong, argmax p^weak) (Sohn et al., 2020,
    NeurIPS, arXiv 2001.07685, eqs. 3 and 4). Also semi-supervised. The paper takes seven times as many unlabelled rows,
    and averaged weights (0.999) at evaluation; TLlib's form for adaptation takes τ 0.9 and as many rows of each domain.
    The method confirms its own mistakes: choose the checkpoint with a validator. Metrics: ``loss/fixmatch`` (0 when no
    row is kept), ``fixmatch/kept`` (share of the rows).

    Args:
        weight: λ; 1 in the paper.
        threshold: τ; 0.95 in the paper.
        weak: view ``(key, inputs) -> inputs`` that makes the labels; ``identity`` if the stream augments already.
        strong: view that is trained.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        logits, teacher, view = teach(view, weak=weak, strong=strong)
        value = pseudo_label_loss(logits, teacher, threshold=threshold)
        kept = confident(teacher, threshold=threshold).mean(dtype=value.dtype)
        return weigh(weight, view) * value, view, {"loss/fixmatch": value, "fixmatch/kept": kept}

    return Method("fixmatch", penalties=(penalty,), needs=Needs(batch_norm="separate", classes=True))


# UDA: the whole prediction on a weak view as the label of the strong view.


FORMS = {
    "tllib": "the strong view's logits divided by T, mean over the rows kept",
    "paper": "the weak view's logits divided by T (sharpening), mean over all rows",
}


def soft_label_loss(
    logits: Array, teacher: Array, *, threshold: Any = 0.7, temperature: Any = 0.85, form: str = "tllib"
) -> Array:
    """KL(softmax(teacher) ‖ softmax(logits)) over the rows with max softmax(teacher) ≥ τ; 0 when no row is kept.

    Args:
        logits, teacher: ``[n, C]`` on the strong and on the weak view; the teacher gets no gradient.
        threshold: τ.
        temperature: T > 0, of the student ("tllib") or of the teacher ("paper").
        form: "tllib" or "paper", which also decides what the mean is over.
    """
    choose("form", form, FORMS)
    check_positive(temperature=temperature)
    teacher = jax.lax.stop_gradient(teacher)
    kept = confident(teacher, threshold=threshold)
    log_q = jax.nn.log_softmax(logits / temperature if form == "tllib" else logits)
    log_p = jax.nn.log_softmax(teacher if form == "tllib" else teacher / temperature)
    rows = jnp.where(kept, jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1), 0)
    return rows.sum() / jnp.maximum(kept.sum(), 1) if form == "tllib" else rows.mean()


@checked
def uda(
    *,
    weight: Weight = 1.0,
    threshold: Share = 0.7,
    temperature: Positive = 0.85,
    form: Annotated[str, OneOf(FORMS)] = "tllib",
    weak: Augment = default_weak,
    strong: Augment = default_strong,
) -> Method:
    """Task loss + λ · KL(sg p^weak ‖ p^strong) over certain rows (Xie, Dai, Hovy, Luong, Le, NeurIPS 2020, arXiv
    1904.12848, §2.2–2.3). It also serves semi-supervised learning. The defaults are TLlib's: T 0.85 on the strong view,
    mean over the rows kept. The paper sharpens the weak view's prediction and divides by all rows: ``uda(form="paper",
    temperature=0.4, threshold=0.8)``. Metrics: ``loss/uda`` (0 when no row is kept), ``uda/kept`` (share of the rows).

    Args:
        weight: λ.
        threshold: τ on the weak view's largest probability, unsharpened.
        temperature: T.
        form: "tllib" or "paper".
        weak, strong: views of the labels and of the net.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        logits, teacher, view = teach(view, weak=weak, strong=strong)
        value = soft_label_loss(logits, teacher, threshold=threshold, temperature=temperature, form=form)
        kept = confident(teacher, threshold=threshold).mean(dtype=value.dtype)
        return weigh(weight, view) * value, view, {"loss/uda": value, "uda/kept": kept}

    return Method("uda", penalties=(penalty,), needs=Needs(batch_norm="separate", classes=True))


# CC-loss: two views with the same class confusion.


@checked
def cc_loss(
    *,
    weight: Weight = 1.0,
    confusion: NonNegative = 1.0,
    temperature: Positive = 2.5,
    threshold: Share = 0.95,
    epsilon: NonNegative = 0.0,
    weak: Augment = default_weak,
    strong: Augment = default_strong,
) -> Method:
    """Task loss + λ · (‖M(sg weak) − M(strong)‖²_F / C · kept/n + μ · MCC(strong)): consistency of class confusion
    matrices with MCC, as TLlib has it (Jin, Wang, Long, Wang, ECCV 2020, arXiv 1912.03699 for M). TLlib runs all views
    in one pass over the mixture. Here both are further passes, as in :func:`fixmatch`, and MCC is of the strong view,
    the one with a gradient. Defaults are TLlib's: T 2.5, τ 0.95 (DomainNet 0.7). Metrics: ``loss/cc_loss`` (the
    consistency; 0 when no row is kept), ``loss/mcc``, ``cc_loss/kept``.

    Args:
        weight: λ of both.
        confusion: μ of MCC, 0 for the consistency alone.
        temperature: T > 0 of M.
        threshold: τ of the weak view's largest probability at temperature T.
        epsilon: inside the logarithm of the certainty weights; TLlib has 1e-5.
        weak, strong: views without and with gradient.
    """

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        logits, teacher, view = teach(view, weak=weak, strong=strong)
        value = confusion_consistency(logits, teacher, temperature=temperature, threshold=threshold, epsilon=epsilon)
        confused = mcc(logits, temperature=temperature, epsilon=epsilon)
        kept = confident(teacher, threshold=threshold, temperature=temperature).mean(dtype=value.dtype)
        metrics = {"loss/cc_loss": value, "loss/mcc": confused, "cc_loss/kept": kept}
        return weigh(weight, view) * (value + confusion * confused), view, metrics

    return Method("cc_loss", penalties=(penalty,), needs=Needs(batch_norm="separate", classes=True))
