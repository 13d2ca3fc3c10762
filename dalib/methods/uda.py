"""UDA: the whole prediction on a weak view as the label of the strong view."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import check_positive, choose
from dalib.discrepancy import confident
from dalib.methods.augmentation import Augment, default_strong, default_weak
from dalib.methods.base import Method, Needs, View, weigh
from dalib.methods.views import teach
from dalib.types import Array, Metrics

FORMS = {
    "tllib": "the strong view's logits divided by T, mean over the rows kept",
    "paper": "the weak view's logits divided by T (sharpening), mean over all rows",
}


def soft_label_loss(
    logits: Array, teacher: Array, *, threshold: Any = 0.7, temperature: Any = 0.85, form: str = "tllib"
) -> Array:
    """KL(softmax(teacher) ‖ softmax(logits)) over the rows with max softmax(teacher) ≥ τ.

    Args:
        logits: ``[n, C]`` on the strong view.
        teacher: ``[n, C]`` on the weak view; it gets no gradient.
        threshold: τ.
        temperature: T > 0, of the student ("tllib") or of the teacher ("paper").
        form: "tllib" or "paper", which also decides what the mean is over.

    Returns:
        Scalar ≥ 0; 0 when no row is kept.

    Raises:
        InputError: for another form, or T ≤ 0.
    """
    choose("form", form, FORMS)
    check_positive(temperature=temperature)
    teacher = jax.lax.stop_gradient(teacher)
    kept = confident(teacher, threshold=threshold)
    log_q = jax.nn.log_softmax(logits / temperature if form == "tllib" else logits)
    log_p = jax.nn.log_softmax(teacher if form == "tllib" else teacher / temperature)
    rows = jnp.where(kept, jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1), 0)
    return rows.sum() / jnp.maximum(kept.sum(), 1) if form == "tllib" else rows.mean()


def uda(
    *,
    weight: Any = 1.0,
    threshold: Any = 0.7,
    temperature: Any = 0.85,
    form: str = "tllib",
    weak: Augment = default_weak,
    strong: Augment = default_strong,
) -> Method:
    """Task loss + λ · KL(sg p^weak ‖ p^strong) over certain rows (Xie, Dai, Hovy, Luong, Le, NeurIPS 2020, arXiv
    1904.12848, §2.2 and §2.3). It is also for semi-supervised learning.

    The defaults are TLlib's: T 0.85 on the strong view, mean over the rows kept. The paper sharpens the weak view's
    prediction and divides by all rows: ``uda(form="paper", temperature=0.4, threshold=0.8)``. Both views are further
    passes; BatchNorm normalises each pass by its own batch. Since it became a penalty its random numbers and running
    statistics differ from those of older runs.

    Args:
        weight: λ.
        threshold: τ on the weak view's largest probability, unsharpened.
        temperature: T.
        form: "tllib" or "paper".
        weak: view of the labels.
        strong: view that is trained.

    Metrics: ``loss/uda`` (0 when no row is kept), ``uda/kept`` (share of the rows).

    Raises:
        InputError: for another form; at the first step, for T ≤ 0.
    """
    choose("form", form, FORMS)

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        logits, teacher, view = teach(view, weak=weak, strong=strong)
        value = soft_label_loss(logits, teacher, threshold=threshold, temperature=temperature, form=form)
        kept = confident(teacher, threshold=threshold).mean(dtype=value.dtype)
        return weigh(weight, view) * value, view, {"loss/uda": value, "uda/kept": kept}

    return Method("uda", penalties=(penalty,), needs=Needs(batch_norm="separate"))
