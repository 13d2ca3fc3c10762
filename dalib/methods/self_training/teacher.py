"""Methods that learn from targets of a slower model or of aligned predictions: mean teacher and AdaMatch."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from dalib.core.options import Count, NonNegative, Share, Weight, checked
from dalib.core.types import Array, Metrics, Params, PyTree, Source, Target
from dalib.discrepancy import class_balance, confident, squared_consistency
from dalib.methods.base import Hooks, Method, Needs, Update, weigh
from dalib.methods.parts.augmentation import Augment, default_strong, default_weak, draw_rows, row_keys
from dalib.methods.self_training.consistency import teach
from dalib.methods.view import NET_GROUPS, Spec, States, View


def teacher_params(params: Params, state: PyTree) -> Params:
    """``params`` with the net's groups replaced by the teacher's in ``state``, :func:`mean_teacher`'s own state. In a
    sum that is ``state.method["mean_teacher"]``."""
    return {**params, **state["teacher"]}


@checked
def mean_teacher(
    *,
    weight: Weight = 3.0,
    decay: Share = 0.99,
    threshold: Share = 0.968,
    balance: NonNegative = 0.005,
    tllib_form: bool = False,
    evaluate: Literal["teacher", "student"] = "teacher",
    ramp: Weight = 1.0,
    weak: Augment = default_weak,
    strong: Augment = default_weak,
) -> Method:
    """Task loss + λ · ramp · (mean over all target rows of 1[max p_T > τ] · ‖p − sg p_T‖²/C + β · kept · class balance)
    (Tarvainen, Valpola, NIPS 2017, arXiv 1703.01780; French, Mackiewicz, Fisher, ICLR 2018, arXiv 1706.05208, §3).

    It also serves semi-supervised learning. The teacher's weights are ``decay · teacher + (1 − decay) · student`` after
    each step, from the student's initial ones. The defaults are those of French et al. and their code. TLlib has τ 0.8,
    β 0.01, ``tllib_form``, and evaluates the student; its low threshold, with views that hardly differ, holds the net
    to its first predictions. Take views as different as the classes bear: the consistency does not sharpen. Metrics:
    ``loss/mean_teacher`` (the consistency), ``mean_teacher/balance``, ``mean_teacher/kept``.

    Args:
        weight: λ.
        decay: of the average, 0.99 or 0.999.
        threshold: τ on the teacher's largest probability, in place of a ramp; 0 keeps all rows (Tarvainen, Valpola).
        balance: β, of BCE(p̄, 1/C) summed over the classes, times the share of rows kept.
        tllib_form: squares summed over the classes and the balance averaged: the factors C and 1/C.
        evaluate: "teacher" or "student": the weights that predict at an evaluation.
        ramp: factor of λ, a number or a function of the view such as ``sigmoid_ramp`` of
            :mod:`~dalib.methods.self_training.consistency`.
        weak, strong: the teacher's and the student's view; the papers draw both from one distribution.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        return {}, {"teacher": {g: spec.params[g] for g in NET_GROUPS if g in spec.params}}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        teacher = jax.lax.stop_gradient(view.state["teacher"])
        # The teacher passes in training mode, by its batch and with dropout. There is one set of running statistics,
        # the student's; an evaluation of the teacher uses it. As a penalty, the method draws other numbers than it did
        # in older runs.
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

    # Only the net's groups are replaced: the states, batch statistics included, are the student's.
    def of_teacher(params: Params, states: States) -> tuple[Params, States]:
        return teacher_params(params, states.method), states

    return Method(
        "mean_teacher",
        init=init,
        penalties=(penalty,),
        needs=Needs(batch_norm="separate", classes=True),
        hooks=Hooks(after_step=after_step, evaluate=of_teacher if evaluate == "teacher" else None),
    )


# AdaMatch: pseudo-labels aligned with the source's class frequencies, above a threshold relative to the source.


EPSILON = 1e-6


def adamatch_warmup(time: Any) -> Array:
    """μ = ½ − ½ cos(min(π, 2π · progress)): from 0 to 1 at half of the run (Berthelot et al. 2022, §3.4)."""
    return 0.5 - 0.5 * jnp.cos(jnp.minimum(jnp.pi, 2 * jnp.pi * time.progress))


@checked
def adamatch(
    *,
    target_weight: Weight = adamatch_warmup,
    confidence: Share = 0.9,
    source_decay: Share = 0.999,
    window: Count = 128,
    weak: Augment = default_weak,
    strong: Augment = default_strong,
) -> Method:
    """Source CE on weak and strong view (their mean) + μ · mean over all target rows of 1[max q > c_τ] · CE(g^strong,
    argmax q) (Berthelot, Roelofs, Sohn, Carlini, Kurakin, ICLR 2022, arXiv 2106.04732, §3). Also semi-supervised, and
    for several sources.

    There is no ``weight``: the source in two views is not the plain task loss even without the target term. The paper
    also takes three target rows for a source row, SGD at 0.03 with cosine decay and averaged weights at evaluation.
    Metrics: ``loss/task``, ``loss/adamatch`` (before μ; 0 when no row is kept), ``adamatch/kept``,
    ``adamatch/threshold`` (c_τ), ``adamatch/weight`` (μ).

    Args:
        target_weight: μ, a number or a function of the view; the default rises to 1 at half of the run.
        confidence: c of the relative threshold ``c_τ = c · mean of max p^weak_s``.
        source_decay: of E[p_s], an exponential average.
        window: batches in the mean E[p_t].
        weak, strong: views of both domains.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        even = jnp.full((spec.num_classes,), 1 / spec.num_classes, jnp.float32)
        return {}, {"source": even, "target": jnp.tile(even[None], (window, 1))}

    def both_views(key: Array, inputs: Array) -> Array:
        """Weak and strong views in turn, ``[2n, ...]``: each example's views stay on its device."""
        keys = jax.random.split(key)
        pair = jnp.stack([weak(keys[0], inputs), strong(keys[1], inputs)], 1)
        return pair.reshape(-1, *inputs.shape[1:])

    def loss(view: View) -> tuple[Array, View, Metrics]:
        batch, state = view.batch, view.state
        keys = [jax.random.fold_in(view.key, 2 + i) for i in range(4)]
        source = Source(both_views(keys[0], batch.source.inputs), *_twice(batch.source[1:]))
        target = Target(both_views(keys[1], batch.target.inputs), *_twice(batch.target[1:]))
        # The source alone is normalised by its own batch; the running statistics come from the joint pass only.
        alone, _ = view.again(source.inputs, "source", key=keys[2])
        view = view.pair(batch._replace(source=source, target=target))
        on_source, on_target = view.source.logits, view.target.logits
        assert on_source is not None and on_target is not None and alone.logits is not None

        # Interpolated logits: between a pass under the source's own statistics and one under both domains'.
        # u · g(source alone) + (1 − u) · g(joint pass), with u uniform for each logit.
        u = _uniform_logits(keys[3], batch.source.inputs, on_source.shape[1])
        on_source = on_source + u.astype(on_source.dtype) * (alone.logits - on_source)
        mixed = view.source._replace(logits=on_source)
        task = view.task.loss(mixed, source.labels).mean()

        # Pseudo-labels of the weak views, their class frequencies moved to the source's.
        p_source = jax.nn.softmax(jax.lax.stop_gradient(on_source[::2]))
        p_target = jax.nn.softmax(jax.lax.stop_gradient(on_target[::2]))
        # q ∝ p_t · (E[p_s] + 1e-6) / (E[p_t] + 1e-6); both means start at 1/C and include this batch.
        mean_source = source_decay * state["source"] + (1 - source_decay) * p_source.mean(0)
        means_target = state["target"].at[view.step % window].set(p_target.mean(0))
        q = p_target * ((EPSILON + mean_source) / (EPSILON + means_target.mean(0)))[None]
        q = q / q.sum(1, keepdims=True)
        # They teach the strong views, where they are as sure as the source is on average.
        least = confidence * p_source.max(1).mean()
        mask = q.max(1) >= least
        log_p = jax.nn.log_softmax(on_target[1::2])
        chosen = jnp.take_along_axis(log_p, q.argmax(1)[:, None], 1)[:, 0]
        value = -jnp.where(mask, chosen, 0).mean()

        mu = weigh(target_weight, view)
        metrics = {
            "loss/task": task,
            "loss/adamatch": value,
            **view.task.quality(mixed, source.labels),
            "adamatch/kept": mask.mean(dtype=value.dtype),
            "adamatch/threshold": least,
            "adamatch/weight": jnp.asarray(mu, value.dtype),
        }
        new = {"source": mean_source.astype(state["source"].dtype), "target": means_target}
        return task + mu * value, view.keep(new), metrics

    return Method("adamatch", init=init, updates=(Update("adamatch", loss),), needs=Needs(classes=True))


def _twice(columns: tuple[Any, ...]) -> tuple[Any, ...]:
    """Labels and rows for both views of each example; what is None stays None."""
    return jax.tree.map(lambda x: jnp.repeat(x, 2), columns)


def _uniform_logits(key: Array, inputs: Array, classes: int) -> Array:
    """``[2n, classes]`` in [0, 1): one number for each logit of both views, drawn by example."""
    draws = draw_rows(jax.random.uniform, row_keys(key, inputs), inputs, (2, classes), dtype=jnp.float32)
    return draws.reshape(-1, classes)
