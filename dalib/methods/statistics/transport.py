"""Methods that match samples by optimal transport: SWD and DeepJDOT."""

import jax
import jax.numpy as jnp

from dalib.core.options import Count, NonNegative, Positive, Weight, checked
from dalib.core.types import Array
from dalib.discrepancy import sinkhorn, sliced_wasserstein, squared_distances
from dalib.methods.adversarial.two_heads import two_heads
from dalib.methods.base import Method, Needs, term
from dalib.methods.view import View


@checked
def swd(*, weight: Weight = 1.0, num_directions: Count = 128, heads: bool = False, repeats: Count = 4) -> Method:
    """Sliced Wasserstein discrepancy, squared, over fresh random directions a step (Lee, Batra, Baig, Ulbricht, CVPR
    2019, arXiv 1903.04064, eq. 4). The default adds λ · distance between the domains' features to the task loss, in one
    update.
    Metrics: ``loss/swd`` before weighting (with ``heads``: ``B/loss/swd``, ``C/loss/swd``, as :func:`mcd`); 0 for equal
    samples in any order.

    Args:
        weight: λ.
        num_directions: M.
        heads: the paper's method: MCD's three updates, with this distance between two heads' target probabilities.
        repeats: with ``heads``, the encoder's updates in a step.
    """
    if heads:

        def between_heads(logits_1: Array, logits_2: Array, key: Array) -> Array:
            p, q = jax.nn.softmax(logits_1), jax.nn.softmax(logits_2)
            return sliced_wasserstein(p, q, key=key, num_directions=num_directions)

        return two_heads("swd", between_heads, weight=weight, repeats=repeats)

    def between_domains(v: View) -> Array:
        return sliced_wasserstein(v.source.features, v.target.features, key=v.key, num_directions=num_directions)

    return term("swd", between_domains, weight=weight)


@checked
def deepjdot(
    *,
    weight: Weight = 1.0,
    feature_weight: NonNegative = 0.001,
    label_weight: NonNegative = 0.0001,
    epsilon: Positive = 0.05,
    max_iterations: Count = 200,
) -> Method:
    """Task loss + λ · Σ_ij γ_ij (α ‖f_i − f_j‖² + λ_t · task loss(y_i, g_j)), with γ the transport plan of these costs
    over the batch, held fixed (Damodaran, Kellenberger, Flamary, Tuia, Courty, ECCV 2018, arXiv 1803.10081, section 3).
    It serves regression as well: the label cost is the task's loss. Both costs train the encoder, the second the head.
    A batch's plan couples classes that one side lacks: use large batches (the paper's 500) with the source balanced
    over classes. Metrics: ``loss/deepjdot`` before λ; at equal rows a finite cost from the labels only.

    Args:
        weight: λ of the whole transport cost.
        feature_weight: α.
        label_weight: λ_t.
        epsilon: entropic regularisation relative to the mean cost of the batch (the paper's plan is exact).
        max_iterations: of Sinkhorn's algorithm, which stops earlier when the plan's margins are right.
    """

    def transport(view: View) -> Array:
        m = view.target.features.shape[0]

        def of_label(label: Array) -> Array:
            return view.task.loss(view.target, jnp.broadcast_to(label[None], (m, *label.shape)))

        apart = squared_distances(view.source.features, view.target.features)
        cost = feature_weight * apart + label_weight * jax.vmap(of_label)(view.labels)
        # The envelope theorem: the plan is fixed in the gradient, which comes through the cost alone.
        fixed = jax.lax.stop_gradient(cost)
        spread = fixed.mean()
        # The paper's plan is exact; this one is entropic, which blurs it by ε and solves inside the compiled step.
        strength = epsilon * jnp.where(spread > 0, spread, 1)
        return jnp.sum(sinkhorn(fixed, epsilon=strength, max_iterations=max_iterations).plan * cost)

    return term("deepjdot", transport, weight=weight, needs=Needs(classes=True))
