"""AdaMatch: pseudo-labels aligned with the source's class frequencies, above a threshold relative to the source."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.methods.augmentation import Augment, default_strong, default_weak, draw_rows, row_keys
from dalib.methods.base import Method, Spec, Update, View, weigh
from dalib.types import Array, Metrics, Params, PyTree, Source, Target

EPSILON = 1e-6


def adamatch_warmup(time: Any) -> Array:
    """μ = ½ − ½ cos(min(π, 2π · progress)): from 0 to 1 at half of the run (Berthelot et al. 2022, §3.4)."""
    return 0.5 - 0.5 * jnp.cos(jnp.minimum(jnp.pi, 2 * jnp.pi * time.progress))


def adamatch(
    *,
    target_weight: Any = adamatch_warmup,
    confidence: Any = 0.9,
    source_decay: Any = 0.999,
    window: int = 128,
    weak: Augment = default_weak,
    strong: Augment = default_strong,
) -> Method:
    """Source CE on weak and strong view (their mean) + μ · mean over all target rows of 1[max q > c_τ] · CE(g^strong,
    argmax q) (Berthelot, Roelofs, Sohn, Carlini, Kurakin, ICLR 2022, arXiv 2106.04732, §3). It is also for
    semi-supervised learning and several sources.

    * Logit interpolation: source logits are ``u · g(pass over the source alone) + (1 − u) · g(joint pass)`` with u
      uniform for each logit. Running statistics come from the joint pass only.
    * Distribution alignment: ``q ∝ p^weak_t · (E[p_s] + 1e-6) / (E[p_t] + 1e-6)``, with E[p_s] an exponential average
      and E[p_t] a mean over the last batches, both from 1/C and both including this batch.
    * Relative threshold: ``c_τ = c · mean of max p^weak_s``.

    q and c_τ have no gradient. There is no ``weight``: without the target term this is still not the plain task loss,
    since the source is seen in two views. The paper also takes three target rows for a source row, SGD at
    0.03 with cosine decay and an average of the weights at evaluation.

    Args:
        target_weight: μ, a number or a function of the view; the default rises to 1 at half of the run.
        confidence: c.
        source_decay: of E[p_s].
        window: batches in E[p_t].
        weak: weak view, of both domains.
        strong: strong view, of both domains.

    Metrics: ``loss/task``, ``loss/adamatch`` (before μ; 0 when no row is kept), ``adamatch/kept``,
    ``adamatch/threshold`` (c_τ), ``adamatch/weight`` (μ).
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

    def twice(columns: tuple[Any, ...]) -> tuple[Any, ...]:
        """Labels and rows for both views of each example; what is None stays None."""
        return jax.tree.map(lambda x: jnp.repeat(x, 2), columns)

    def loss(view: View) -> tuple[Array, View, Metrics]:
        batch, state = view.batch, view.state
        keys = [jax.random.fold_in(view.key, 2 + i) for i in range(4)]
        source = Source(both_views(keys[0], batch.source.inputs), *twice(batch.source[1:]))
        target = Target(both_views(keys[1], batch.target.inputs), *twice(batch.target[1:]))
        # The source alone is normalised by its own batch; the running statistics come from the joint pass only.
        alone, _ = view.again(source.inputs, "source", key=keys[2])
        view = view.pair(batch._replace(source=source, target=target))
        on_source, on_target = view.source.logits, view.target.logits
        assert on_source is not None and on_target is not None and alone.logits is not None

        rows = row_keys(keys[3], batch.source.inputs)
        classes = on_source.shape[1]
        u = draw_rows(jax.random.uniform, rows, batch.source.inputs, (2, classes), dtype=jnp.float32)
        on_source = on_source + u.reshape(-1, classes).astype(on_source.dtype) * (alone.logits - on_source)
        mixed = view.source._replace(logits=on_source)
        task = view.task.loss(mixed, source.labels).mean()

        p_source = jax.nn.softmax(jax.lax.stop_gradient(on_source[::2]))
        p_target = jax.nn.softmax(jax.lax.stop_gradient(on_target[::2]))
        mean_source = source_decay * state["source"] + (1 - source_decay) * p_source.mean(0)
        means_target = state["target"].at[view.step % window].set(p_target.mean(0))
        q = p_target * ((EPSILON + mean_source) / (EPSILON + means_target.mean(0)))[None]
        q = q / q.sum(1, keepdims=True)
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
        new = {
            "source": mean_source.astype(state["source"].dtype),
            "target": means_target,
        }
        return task + mu * value, view.keep(new), metrics

    return Method("adamatch", init=init, updates=(Update("adamatch", loss),))
