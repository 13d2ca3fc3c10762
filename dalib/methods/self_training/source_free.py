"""Methods that need no source data, or only statistics of the target: SHOT and AdaBN."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from dalib.core.checks import input_error
from dalib.core.options import Count, Natural, NonNegative, Weight, checked
from dalib.core.types import Array, Metrics, Params, PyTree
from dalib.discrepancy import mean_entropy, mutual_information, safe_norm
from dalib.methods.base import Hooks, Method, Needs, Update, weigh
from dalib.methods.view import Look, Spec, States, View

# SHOT: source hypothesis transfer, adaptation without the source.


def directions(features: Array) -> Array:
    """``[n, d] -> [n, d + 1]``: a 1 appended, then scaled to norm 1, as SHOT does before taking cosines."""
    longer = jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)
    return longer / safe_norm(longer)[:, None]


def nearest_centroid(features: Array, centroids: Array, valid: Array) -> Array:
    """The valid class ``[n]`` with the centroid ``[C, d + 1]`` of largest cosine with each feature ``[n, d]``. The
    result means nothing where none is ``valid``, ``[C]`` booleans."""
    norms = safe_norm(centroids)
    units = centroids / jnp.where(norms > 0, norms, 1)[:, None]
    cosines = jnp.matmul(directions(features), units.T, precision=lax.Precision.HIGHEST)
    return jnp.where(valid[None], cosines, -2).argmax(axis=1)


def class_centroids(features: Array, logits: Array, *, min_count: int = 0) -> tuple[Array, Array]:
    """SHOT's two rounds: centroids weighted by the predictions, an assignment, centroids of the assigned. Source:
    Liang, Hu, Feng, ICML 2020, arXiv 2002.08546, eqs. 5 and 6, and its code since 2022-06 for the second round.

    Args:
        features: ``[N, d]`` of the whole target.
        logits: ``[N, C]``.
        min_count: classes with at most this many examples (predicted in the first round, assigned in the second) get no
            centroid; 0 drops classes that are never predicted, 10 is used for partial adaptation.

    Returns: ``[C, d + 1]``, and the valid ones, ``[C]`` booleans. If every class is too small the largest stays valid.
    """
    rows, classes = directions(features), logits.shape[1]

    def centroids(shares: Array) -> Array:
        sums = jnp.matmul(shares.T, rows, precision=lax.Precision.HIGHEST)
        return sums / (1e-8 + shares.sum(0))[:, None]

    def enough(labels: Array) -> Array:
        counts = jnp.bincount(labels, length=classes)
        return (counts > min_count) | (counts == counts.max())

    first = centroids(jax.nn.softmax(logits))
    labels = nearest_centroid(features, first, enough(logits.argmax(1)))
    return centroids(jax.nn.one_hot(labels, classes, dtype=rows.dtype)), enough(labels)


@checked
def shot(
    *,
    information: Weight = 1.0,
    beta: Weight = 0.3,
    diversity: NonNegative = 1.0,
    min_count: Natural = 0,
    refresh_every: Count = 500,
) -> Method:
    """λ · (mean H(p_t) − δ · H(p̄_t)) + β · CE(g_t, ŷ) with the head frozen and no source loss (Liang, Hu, Feng, ICML
    2020, arXiv 2002.08546, eqs. 3 to 7). For closed and partial sets.

    Start it from a ``source_only`` run (label smoothing 0.1, bottleneck ``linear-bn`` and a weight-normalised head in
    the paper). The target keeps its own batch statistics, which start as the source's. The paper makes ŷ once per
    epoch. Here each example gets the class of the nearest stored centroid: both agree in the step after a refresh,
    later ŷ follows the moving features. There is no ``weight``, as there is no source loss to weigh against. Metrics:
    ``loss/im``, ``loss/shot`` (CE on ŷ), ``shot/valid`` (share of classes with a centroid), ``shot/agreement`` (share
    of ŷ equal to the prediction).

    Args:
        information: λ.
        beta: β, 0.3 (digits 0.1; 0 is SHOT-IM), a number or a function of the view: on VisDA the paper leaves it at 0
            for the first refresh interval.
        diversity: δ, 1; 0 for partial adaptation.
        min_count: classes with at most so many examples take no pseudo-labels: 0, or 10 for partial adaptation.
        refresh_every: steps between two refreshes; the paper's is one epoch of the target.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        classes = spec.num_classes
        return {}, {"centroids": jnp.zeros((classes, spec.width + 1)), "valid": jnp.zeros((classes,), bool)}

    def loss(view: View) -> tuple[Array, View, Metrics]:
        keys = [jax.random.fold_in(view.key, 2 + i) for i in range(2)]
        inputs, state = view.batch.target.inputs, view.state
        target, after = view.again(inputs, "target", key=keys[0])
        # Only for penalties of a sum; without them the compiler drops this pass.
        source, _ = view.again(view.batch.source.inputs, "source", key=keys[1])
        assert target.logits is not None
        value = (1 - diversity) * mean_entropy(target.logits) - diversity * mutual_information(target.logits)

        # Evaluation mode, as the centroids were found. Before the first refresh none is valid and the term is 0.
        still, _ = view.again(inputs, "target", key=None, train=False, params=lax.stop_gradient(view.params))
        labels = nearest_centroid(lax.stop_gradient(still.features), state["centroids"], state["valid"])
        log_p = jnp.take_along_axis(jax.nn.log_softmax(target.logits), labels[:, None], 1)[:, 0]
        supervised = -jnp.where(state["valid"].any(), log_p, 0).mean()
        metrics = {
            "loss/im": value,
            "loss/shot": supervised,
            "shot/valid": state["valid"].mean(),
            "shot/agreement": (labels == target.logits.argmax(1)).mean(),
        }
        total = weigh(information, view) * value + weigh(beta, view) * supervised
        return total, after.show(source, target), metrics

    def refresh(params: Params, states: States, look: Look) -> States:
        del params
        outputs = look.outputs("target")
        assert outputs.logits is not None
        centroids, valid = class_centroids(outputs.features, outputs.logits, min_count=min_count)
        dtype = states.method["centroids"].dtype
        return states._replace(method={**states.method, "centroids": centroids.astype(dtype), "valid": valid})

    return Method(
        "shot",
        init=init,
        updates=(Update("shot", loss, ("encoder", "bottleneck")),),
        needs=Needs(start="source", batch_norm="domain", classes=True),
        hooks=Hooks(refresh=refresh, refresh_every=refresh_every),
    )


@checked
def adabn() -> Method:
    """Source-only training; before an evaluation the batch statistics are recomputed over the whole unlabelled target
    training set (Li, Wang, Shi, Liu, Hou, 2016, arXiv 1603.04779, algorithm 1). Source examples go on being normalised
    by the source's statistics, and training continues from those before the evaluation. A net without BatchNorm raises
    an InputError from ``init``."""

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        if not jax.tree.leaves(spec.batch_stats):
            raise input_error(
                "net",
                got="one without BatchNorm layers",
                expected="statistics that can be adapted",
                todo="use an encoder or a bottleneck with BatchNorm (DTN, ResNet, linear-bn-relu) or another method",
            )
        return {}, {}

    def calibrate(params: Params, states: States, recompute: Callable[[], PyTree]) -> States:
        del params
        return states._replace(model={**states.model, "target": recompute()})

    return Method("adabn", init=init, needs=Needs(batch_norm="source"), hooks=Hooks(calibrate=calibrate))
