"""WDGRL: Wasserstein distance guided representation learning, a critic with gradient penalty."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dalib.checks import input_error
from dalib.discrepancy import safe_norm
from dalib.methods.base import Method, Spec, Update, View, supervised_loss, weigh
from dalib.methods.discriminator import Discriminator, discriminate, discriminate_both
from dalib.methods.domains import together
from dalib.types import Array, Metrics, Params, PyTree


def wdgrl(
    *, weight: Any = 1.0, gradient_penalty: Any = 10.0, critic_steps: int = 5, hidden: Sequence[int] = (100,)
) -> Method:
    """The encoder minimises a critic's estimate of the Wasserstein-1 distance between the domains' features.

    It serves classification and regression. Each step first makes ``critic_steps`` updates ``critic``, which minimise
    ``−(mean w(f_s) − mean w(f_t)) + γ · mean (‖∇w(h)‖ − 1)²`` of fixed features; h are the rows of both batches and
    random points between them. The update ``task`` then trains encoder and head on task loss + λ · (mean w(f_s) −
    mean w(f_t)), with the critic held fixed. Rows are paired as they come (the shorter domain goes round again), so a
    step depends on the order of the rows within a batch.

    Args:
        weight: λ; it belongs to a scale of features. The authors' code has 0.01 for digits, 0.1 for Office-Caltech.
        gradient_penalty: γ.
        critic_steps: critic updates in a step; 5, and 10 for Office-Caltech, in the authors' code.
        hidden: widths of the critic; one layer of 100 in the authors' code. It has no BatchNorm: the penalty is on
            gradients of single rows.

    Metrics: ``critic/loss/critic``, ``critic/wdgrl/gradient_norm`` (mean over h, near 1 when the critic is trained),
    ``task/loss/wdgrl`` (the distance's estimate W(1 + W/2γ) at best, as the penalty is soft; 0 for equal features).

    Raises:
        InputError: for ``critic_steps`` that is no integer ≥ 1.

    References:
        Shen, Qu, Zhang, Yu, AAAI 2018, arXiv 1707.01217, algorithm 1.
    """
    if not isinstance(critic_steps, int) or critic_steps < 1:
        raise input_error("critic_steps", got=critic_steps, expected="an integer ≥ 1")
    net = Discriminator(tuple(hidden))

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"critic": net.init(key, jnp.zeros((2, spec.width)))["params"]}, {}

    def distance(critic: PyTree, source: Array, target: Array) -> Array:
        of_source, of_target = discriminate_both(net, critic, source, target)
        return of_source.mean() - of_target.mean()

    def slopes(critic: PyTree, rows: Array) -> Array:
        return safe_norm(jax.vmap(jax.grad(lambda h: discriminate(net, critic, h[None])[0]))(rows))

    def critic_loss(view: View) -> tuple[Array, View, Metrics]:
        # The running statistics advance once per step, in the update of the net.
        seen, critic = view.pair(), view.params["critic"]
        source, target = jax.lax.stop_gradient((seen.source.features, seen.target.features))
        rows = together(source, target, between(source, target, jax.random.fold_in(view.key, 1)))
        norms = slopes(critic, rows)
        value = -distance(critic, source, target) + gradient_penalty * jnp.square(norms - 1).mean()
        return value, view, {"loss/critic": value, "wdgrl/gradient_norm": norms.mean()}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        value = distance(view.params["critic"], view.source.features, view.target.features)
        return weigh(weight, view) * value, view, {"loss/wdgrl": value}

    return Method(
        "wdgrl",
        init=init,
        penalties=(penalty,),
        updates=(
            Update("critic", critic_loss, ("critic",), repeats=critic_steps, joins=False),
            Update("task", supervised_loss, ("encoder", "bottleneck", "head")),
        ),
    )


def between(source: Array, target: Array, key: Array) -> Array:
    """A random point on the line between each pair of rows. ``[n, d], [m, d] -> [max(n, m), d]``."""
    n, m = source.shape[0], target.shape[0]
    if n != m:
        rows = jnp.arange(max(n, m))
        source, target = source[rows % n], target[rows % m]
    share = jax.random.uniform(key, (max(n, m), 1), jnp.float32).astype(source.dtype)
    return share * source + (1 - share) * target
