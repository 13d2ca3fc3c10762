"""DeepJDOT: optimal transport of features and labels jointly."""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import check_positive
from dalib.discrepancy import sinkhorn, squared_distances
from dalib.methods.base import Method, View, term
from dalib.types import Array


def deepjdot(
    *,
    weight: Any = 1.0,
    feature_weight: Any = 0.001,
    label_weight: Any = 0.0001,
    epsilon: Any = 0.05,
    max_iterations: int = 200,
) -> Method:
    """Task loss + λ · Σ_ij γ_ij (α ‖f_i − f_j‖² + λ_t · task loss(y_i, g_j)), with γ the transport plan of these costs
    over the batch, held fixed (Damodaran, Kellenberger, Flamary, Tuia, Courty, ECCV 2018, arXiv 1803.10081, section 3).

    It serves regression as well: the label cost is the task's loss. The gradient trains the encoder by both costs
    and the head by the second. The paper's plan is exact; this one is entropic, which blurs it by ε and solves inside
    the compiled step. Transport over a batch couples classes that are absent from one side: use large batches (the
    paper's 500) with the source balanced over the classes.

    Args:
        weight: λ of the whole transport cost.
        feature_weight: α.
        label_weight: λ_t.
        epsilon: entropic regularisation relative to the mean cost of the batch.
        max_iterations: of Sinkhorn's algorithm, which stops earlier when the plan's margins are right.

    Metrics: ``loss/deepjdot``, the transport cost before λ. Equal rows everywhere: a finite cost from the labels only.

    Raises:
        InputError: for ``epsilon`` or ``max_iterations`` ≤ 0.
    """
    check_positive(epsilon=epsilon, max_iterations=max_iterations)

    def transport(view: View) -> Array:
        m = view.target.features.shape[0]

        def of_label(label: Array) -> Array:
            return view.task.loss(view.target, jnp.broadcast_to(label[None], (m, *label.shape)))

        apart = squared_distances(view.source.features, view.target.features)
        cost = feature_weight * apart + label_weight * jax.vmap(of_label)(view.labels)
        fixed = jax.lax.stop_gradient(cost)
        spread = fixed.mean()
        strength = epsilon * jnp.where(spread > 0, spread, 1)
        return jnp.sum(sinkhorn(fixed, epsilon=strength, max_iterations=max_iterations).plan * cost)

    return term("deepjdot", transport, weight=weight)
