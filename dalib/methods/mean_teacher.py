"""Mean teacher (self-ensembling): an average of past weights teaches the net on another view."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import choose
from dalib.discrepancy import class_balance, confident, squared_consistency
from dalib.methods.augmentation import Augment, default_weak
from dalib.methods.base import NET_GROUPS, Hooks, Method, Needs, Spec, States, View, weigh
from dalib.methods.views import teach
from dalib.types import Array, Metrics, Params, PyTree


def teacher_params(params: Params, state: PyTree) -> Params:
    """``params`` with the net's groups replaced by the teacher's.

    Args:
        params: of a run of :func:`mean_teacher`.
        state: its method state; in a sum, ``state.method["mean_teacher"]``.
    """
    return {**params, **state["teacher"]}


def mean_teacher(
    *,
    weight: Any = 3.0,
    decay: Any = 0.99,
    threshold: Any = 0.968,
    balance: Any = 0.005,
    tllib_form: bool = False,
    evaluate: str = "teacher",
    ramp: Any = 1.0,
    weak: Augment = default_weak,
    strong: Augment = default_weak,
) -> Method:
    """Task loss + λ · ramp · (mean over all target rows of 1[max p_T > τ] · ‖p − sg p_T‖²/C + β · kept · class balance)
    (Tarvainen, Valpola, NIPS 2017, arXiv 1703.01780; French, Mackiewicz, Fisher, ICLR 2018, arXiv 1706.05208, §3).
    It is also for semi-supervised learning.

    The teacher's weights are ``decay · teacher + (1 − decay) · student`` after each step, from the student's initial
    ones. It sees its own view, in training mode (by the batch, with dropout), and its pass leaves the running
    statistics alone: there is one set, the student's, and an evaluation of the teacher uses it.

    The defaults are those of French et al. and their code: λ 3, τ 0.968 in place of a ramp, squares averaged over the C
    classes, β 0.005 on the balance summed over them, the teacher evaluated. TLlib has τ 0.8, β 0.01, squares summed and
    the balance averaged (``tllib_form``), and evaluates the student. With its low threshold, and views that hardly
    differ, the teacher holds the net to its first predictions. BatchNorm normalises each pass by its own batch, in
    both. The consistency does not sharpen: take views as different as the classes bear. Since it became a penalty its
    random numbers and running statistics differ from those of older runs.

    Args:
        weight: λ.
        decay: of the average, 0.99 or 0.999.
        threshold: τ on the teacher's largest probability; 0 keeps all rows (Tarvainen, Valpola).
        balance: β, of BCE(p̄, 1/C) over the classes, times the share of rows kept.
        tllib_form: squares summed over the classes and the balance averaged: the factors C and 1/C.
        evaluate: "teacher" or "student": the weights that predict at an evaluation.
        ramp: factor of λ, a number or a function of the view, e.g. :func:`dalib.methods.views.sigmoid_ramp`.
        weak: the teacher's view.
        strong: the student's view; the papers draw both from one distribution.

    Metrics: ``loss/mean_teacher`` (the consistency; 0 when no row is kept), ``mean_teacher/balance``,
    ``mean_teacher/kept``.

    Raises:
        InputError: for another ``evaluate``.
    """
    choose("evaluate", evaluate, {"teacher": 0, "student": 0})

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        return {}, {"teacher": {g: spec.params[g] for g in NET_GROUPS if g in spec.params}}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        teacher = jax.lax.stop_gradient(view.state["teacher"])
        logits, taught, view = teach(view, weak=weak, strong=strong, teacher=teacher)
        mask = confident(taught, threshold=threshold)
        # A row not kept is compared with itself: no difference, no gradient, and the mean stays over all rows.
        value = squared_consistency(logits, jnp.where(mask[:, None], taught, jax.lax.stop_gradient(logits)))
        kept, even, classes = mask.mean(dtype=value.dtype), class_balance(logits), logits.shape[1]
        value, even = (value, even) if tllib_form else (value / classes, classes * even)
        factor = weigh(weight, view) * weigh(ramp, view)
        metrics = {"loss/mean_teacher": value, "mean_teacher/balance": even, "mean_teacher/kept": kept}
        return factor * (value + balance * kept * even), view, metrics

    def after_step(view: View) -> States:
        teacher = view.state["teacher"]
        average = jax.tree.map(
            lambda old, new: jnp.asarray(decay * old + (1 - decay) * new, old.dtype),
            teacher,
            {g: view.params[g] for g in teacher},
        )
        return view.keep({**view.state, "teacher": average}).states

    def of_teacher(params: Params, states: States) -> tuple[Params, States]:
        return teacher_params(params, states.method), states

    return Method(
        "mean_teacher",
        init=init,
        penalties=(penalty,),
        needs=Needs(batch_norm="separate"),
        hooks=Hooks(after_step=after_step, evaluate=of_teacher if evaluate == "teacher" else None),
    )
