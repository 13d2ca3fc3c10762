"""Adaptation from several sources: M3SDA and MFSAN."""

from itertools import combinations
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.options import Count, NonNegative, Several, Weight, checked
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.discrepancy import classifier_discrepancy, mk_mmd, safe_norm
from dalib.methods.base import Hooks, Method, Needs, Update, weigh
from dalib.methods.parts.domains import split_domains, stack_domains
from dalib.methods.parts.nets import apply_heads, dann_schedule, init_heads, mixture, with_first
from dalib.methods.view import Forward, Spec, View

# M3SDA: moment matching among several sources and the target, with two heads for each source.


def moment_distance(sources: list[Array], target: Array, *, dassl_form: bool = False) -> Array:
    """Distance of the first two moments among k sources ``[n_i, d]`` and the target ``[m, d]``.

    The paper's: ``Σ_{m=1,2} [mean over sources of ‖E s_i^m − E t^m‖ + mean over pairs of ‖E s_i^m − E s_j^m‖]`` with
    raw moments, elementwise powers and norms that are not squared. ``dassl_form``: the mean over all pairs together, of
    the means and of the variances (divisor n − 1), averaged over the two moments. A single source has no pairs. Equal
    moments have gradient 0.
    """

    def second(x: Array) -> Array:
        return x.var(0, ddof=1 if x.shape[0] > 1 else 0) if dassl_form else jnp.square(x).mean(0)

    total = jnp.zeros((), target.dtype)
    for moment in (lambda x: x.mean(0), second):
        own, other = [moment(x) for x in sources], moment(target)
        to_target = jnp.stack([safe_norm(a - other) for a in own])
        pairs = [safe_norm(a - b) for a, b in combinations(own, 2)]
        among = jnp.stack(pairs) if pairs else jnp.zeros(1, target.dtype)
        if dassl_form:
            total += jnp.concatenate([to_target, jnp.stack(pairs)]).mean() / 2 if pairs else to_target.mean() / 2
        else:
            total += to_target.mean() + among.mean()
    return total


@checked
def m3sda(
    *,
    weight: Weight = 0.5,
    discrepancy: NonNegative = 1.0,
    repeats: Count = 4,
    dassl_form: bool = False,
    sources: Count = 2,
) -> Method:
    """Multi-source adaptation: moment matching, and MCD's three updates with two heads a source.

    Source: Peng, Bai, Xia, Huang, Saenko, Wang, ICCV 2019, arXiv 1812.01754, eq. 1 for the distance, section 4 for
    M³SDA-β. A trains everything on the task loss of each source's two heads plus λ times the features' moment distance.
    B trains the heads on the task loss minus μ times the two heads' discrepancy on the target. C trains the encoder on
    μ times the discrepancy. The mean of all heads' probabilities predicts. Metrics: of A ``loss/task``,
    ``accuracy/source``, ``loss/m3sda`` (moment distance); of B and C ``loss/discrepancy``.

    Args:
        weight: λ of the moment distance; 0.5 is Dassl's.
        discrepancy: μ of the heads' discrepancy.
        repeats: C's updates in a step.
        dassl_form: Dassl's moment distance instead of the paper's, see :func:`moment_distance`.
        sources: k ≥ 1 source domains, interleaved (:mod:`dalib.methods.parts.domains`); k must divide the batch.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"heads": init_heads(key, spec, 2 * sources - 1)}, {}

    def by_source(params: Params) -> PyTree:
        """Stacked heads ``[2, k, ...]``, first and second of each source; the net's head is the first of source 0's."""
        heads = with_first(params["head"], params["heads"])
        return jax.tree.map(lambda a: a.reshape(2, sources, *a.shape[1:]), heads)

    def task(view: View, key: Array) -> tuple[Any, Array]:
        """Task loss with each source's heads (mean over sources, sum over the two), and their accuracy."""
        features, labels = stack_domains((view.source.features, view.labels), sources)
        keys = jax.random.split(key)
        logits = jax.vmap(lambda p, k: apply_heads(view.net, p, features, k))(by_source(view.params), keys)
        losses = sum(view.task_loss(z.reshape(-1, z.shape[-1]), labels.reshape(-1)).mean() for z in logits)
        return losses, (logits.sum(0).argmax(-1) == labels).mean()

    def disagreement(view: View, key: Array) -> Array:
        """The two heads' discrepancy on the target, mean over sources."""
        features, keys = view.target.features, jax.random.split(key)
        logits = jax.vmap(lambda p, k: apply_heads(view.net, p, features, k))(by_source(view.params), keys)
        return jax.vmap(classifier_discrepancy)(logits[0], logits[1]).mean()

    def alignment(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        value, accuracy = task(view, jax.random.fold_in(view.key, 1))
        # The moments see each source by itself; a mixture of sources would hide their differences.
        parts = split_domains(view.source.features, sources)
        moments = moment_distance(parts, view.target.features, dassl_form=dassl_form)
        metrics = {"loss/task": value, "accuracy/source": accuracy, "loss/m3sda": moments}
        return value + weigh(weight, view) * moments, view, metrics

    def heads_loss(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        keys = jax.random.split(jax.random.fold_in(view.key, 1))
        value, _ = task(view, keys[0])
        gap = disagreement(view, keys[1])
        return value - discrepancy * gap, view, {"loss/task": value, "loss/discrepancy": gap}

    def encoder_loss(view: View) -> tuple[Array, View, Metrics]:
        view = view.pair()
        gap = disagreement(view, jax.random.fold_in(view.key, 1))
        return discrepancy * gap, view, {"loss/discrepancy": gap}

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        return mixture(apply_heads(forward, with_first(params["head"], params["heads"]), outputs.features, None))

    return Method(
        "m3sda",
        init=init,
        needs=Needs(setting="several sources", sources=sources, classes=True),
        hooks=Hooks(predict=predict),
        updates=(
            Update("A", alignment, ("encoder", "bottleneck", "head", "heads")),
            Update("B", heads_loss, ("head", "heads"), joins=False),
            Update("C", encoder_loss, ("encoder", "bottleneck"), repeats=repeats, joins=False),
        ),
    )


# MFSAN: a projection and a head of its own for each source, aligned with the target one by one.


class Projection(nn.Module):
    """Linear – ReLU of the features' width, so that heads of the classifier's form fit on top."""

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """``[n, d] -> [n, d]``."""
        return nn.relu(nn.Dense(features.shape[-1])(features))


@checked
def mfsan(
    *,
    weight: Weight = 1.0,
    disagreement: NonNegative = 1.0,
    ramp: Weight = dann_schedule,
    sources: Several = 2,
) -> Method:
    """Multi-source adaptation in two stages of alignment (Zhu, Zhuang, Wang, AAAI 2019, arXiv 2201.01003, section 3).

    Each source i has a projection h_i and a head, which learn on its rows and align it with the target: ``mean_i CE_i +
    r(p) · λ · [mean_i MMD²(h_i(s_i), h_i(t)) + μ · mean over i < j of mean|p_i(t) − p_j(t)|]``. The mean of the heads'
    probabilities predicts. The authors train one source an iteration (the weights are theirs for it) and have a
    convolutional projection. Metrics: ``loss/task``, ``accuracy/source``, ``loss/mfsan`` (mean MMD²),
    ``loss/disagreement``, ``mfsan/ramp``.

    Args:
        weight: λ. At 0 it is source-only training of branches, which is not that of the plain classifier.
        disagreement: μ of the heads' disagreement.
        ramp: r, a function of the view or a number.
        sources: k ≥ 2 source domains, interleaved (:mod:`dalib.methods.parts.domains`); k must divide the batch.
    """
    projection = Projection()

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        keys = jax.random.split(key)
        rows = jnp.zeros((2, spec.width))
        projections = jax.vmap(lambda k: projection.init(k, rows)["params"])(jax.random.split(keys[0], sources))
        # One head fewer than sources: the first branch has the net's.
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
        # Branches are stacked and run as one vmap; every branch also sees all target rows.
        source = project(view.params, stack_domains(view.source.features, sources))
        target = project(view.params, view.target.features)
        labels = stack_domains(view.labels, sources)
        on_source, on_target = (apply_heads(view.net, heads, x, k) for x, k in zip((source, target), keys, strict=True))
        task = view.task_loss(on_source.reshape(-1, on_source.shape[-1]), labels.reshape(-1)).mean()
        # Biased, with five kernels and the mean distance of distinct rows, as in the authors' code.
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
        needs=Needs(setting="several sources", sources=sources, classes=True),
        hooks=Hooks(predict=predict),
    )
