"""MFSAN: a projection and a head of its own for each source, aligned with the target one by one."""

from itertools import combinations
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.discrepancy import classifier_discrepancy, mk_mmd
from dalib.methods.base import Forward, Hooks, Method, Needs, Spec, Update, View, weigh
from dalib.methods.branches import apply_heads, init_heads, mixture, with_first
from dalib.methods.domains import check_sources, stack_domains
from dalib.methods.reversal import dann_schedule
from dalib.types import Array, Metrics, Outputs, Params, PyTree


class Projection(nn.Module):
    """Linear – ReLU of the features' width, so that heads of the classifier's form fit behind it."""

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """``[n, d] -> [n, d]``."""
        return nn.relu(nn.Dense(features.shape[-1])(features))


def mfsan(
    *,
    weight: Any = 1.0,
    disagreement: Any = 1.0,
    ramp: Any = dann_schedule,
    sources: int = 2,
) -> Method:
    """Multi-source adaptation in two stages of alignment.

    Each source i has a projection h_i and a head, which learn on its rows and align it with the target:
    ``mean_i CE_i + r(p) · λ · [mean_i MMD²(h_i(s_i), h_i(t)) + μ · mean over i < j of mean|p_i(t) − p_j(t)|]``.
    The MMD is the biased one with five kernels and the mean distance of distinct rows, the authors' code's. The
    prediction is the mean of the heads' probabilities. Branches are stacked and run as one ``vmap``; the first one's
    head is the net's. Sources are interleaved (:mod:`dalib.methods.domains`).

    The authors train one source an iteration (the weights are theirs for it) and have a convolutional projection.

    Args:
        weight: λ. At 0 it is source-only training of branches, which is not that of the plain classifier.
        disagreement: μ of the heads' disagreement.
        ramp: r, a function of the view or a number.
        sources: k ≥ 2, the number of source domains.

    Metrics: ``loss/task``, ``accuracy/source``, ``loss/mfsan`` (mean MMD²), ``loss/disagreement``, ``mfsan/ramp``.

    Raises:
        InputError: for fewer than 2 sources, or (when traced) a batch that does not divide by them.

    References:
        Zhu, Zhuang, Wang, AAAI 2019, arXiv 2201.01003, section 3.
    """
    check_sources(sources)
    projection = Projection()

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        keys = jax.random.split(key)
        rows = jnp.zeros((2, spec.width))
        projections = jax.vmap(lambda k: projection.init(k, rows)["params"])(jax.random.split(keys[0], sources))
        return {"projections": projections, "heads": init_heads(keys[1], spec, sources - 1)}, {}

    def project(params: Params, features: Array) -> Any:
        """``[k, n, d]`` (or ``[n, d]`` for all branches) to ``[k, n, d]``."""
        axis = 0 if features.ndim == 3 else None
        return jax.vmap(lambda p, x: projection.apply({"params": p}, x), in_axes=(0, axis))(
            params["projections"], features
        )

    def loss(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        keys = jax.random.split(jax.random.fold_in(view.key, 1))
        heads = with_first(view.params["head"], view.params["heads"])
        source = project(view.params, stack_domains(view.source.features, sources))
        target = project(view.params, view.target.features)
        labels = stack_domains(view.labels, sources)
        on_source, on_target = (apply_heads(view.net, heads, x, k) for x, k in zip((source, target), keys, strict=True))
        task = view.task_loss(on_source.reshape(-1, on_source.shape[-1]), labels.reshape(-1)).mean()
        gap = jax.vmap(lambda s, t: mk_mmd(s, t, bandwidth="mean_off_diagonal", estimator="biased"))(source, target)
        one, other = (jnp.array(i) for i in zip(*combinations(range(sources), 2), strict=True))
        apart = jax.vmap(classifier_discrepancy)(on_target[one], on_target[other]).mean()
        factor = weigh(ramp, view)
        metrics = {
            "loss/task": task,
            "accuracy/source": (on_source.argmax(-1) == labels).mean(),
            "loss/mfsan": gap.mean(),
            "loss/disagreement": apart,
            "mfsan/ramp": jnp.asarray(factor),
        }
        return task + factor * weigh(weight, view) * (gap.mean() + disagreement * apart), view, metrics

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        heads = with_first(params["head"], params["heads"])
        return mixture(apply_heads(forward, heads, project(params, outputs.features), None))

    return Method(
        "mfsan",
        init=init,
        updates=(Update("supervised", loss),),
        needs=Needs(setting="several sources", sources=sources),
        hooks=Hooks(predict=predict),
    )
