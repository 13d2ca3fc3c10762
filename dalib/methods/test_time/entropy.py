"""Test-time adaptation by statistics and entropy: BN-norm, TENT and SAR."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dalib.core.options import Count, NonNegative, Patterns, Positive, Share, checked
from dalib.core.types import Array, Outputs, PyTree
from dalib.discrepancy import entropies, mean_entropy
from dalib.methods.test_time.interface import Apply, TestTime, adaptable, check_statistics, merge, report


@checked
def bn_norm(apply: Apply, *, prior: NonNegative = 16.0, collapse_share: Share = 0.9) -> TestTime:
    """Every BatchNorm uses ``N/(N+n) · source + n/(N+n) · batch`` for mean and (biased) variance (Schneider et al.,
    NeurIPS 2020, arXiv 2006.16971, eq. 2; Nado et al. 2020, arXiv 2006.10963 for N = 0). Nothing is trained, so there
    is nothing to reset. ``init`` refuses a net without BatchNorm statistics.

    Args:
        apply: see :mod:`dalib.methods.test_time.interface`.
        prior: N ≥ 0, the source statistics' worth in test examples: 0 takes the batch alone, ∞ would be the plain net.
        collapse_share: of the collapse flag.
    """

    def init(variables: PyTree) -> PyTree:
        check_statistics(variables)
        return {"params": variables["params"], "batch_stats": variables["batch_stats"]}

    def step(state: PyTree, inputs: Array):
        outputs = predict(state, inputs)
        return state, outputs, report(outputs, collapse_share=collapse_share)

    def predict(state: PyTree, inputs: Array) -> Outputs:
        weight = prior / (prior + inputs.shape[0])
        return apply(state["params"], state["batch_stats"], inputs, weight)[0]

    return TestTime("bn_norm", init, step, predict)


@checked
def tent(
    apply: Apply,
    *,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: Positive = 1e-3,
    source_weight: Share = 0.0,
    iterations: Count = 1,
    skip: Patterns = (),
    collapse_share: Share = 0.9,
) -> TestTime:
    """Per batch a step on mean H(p) of scale and bias; statistics are its own (Wang, Shelhamer, Liu, Olshausen,
    Darrell, ICLR 2021, arXiv 2006.10726, §3). The step returns the outputs before the batch's (last) update: one pass,
    as the authors do it. Small batches and batches of one class make it collapse; see ``collapsed``. It also adapts
    LayerNorm and GroupNorm, less well; ``init`` refuses a net without any.

    Args:
        apply: see :mod:`dalib.methods.test_time.interface`.
        optimizer: an optax transformation; None for Adam (β₁ 0.9) at ``learning_rate``. The paper's: Adam 1e-3 with
            batches of 200 (CIFAR-10-C), SGD 2.5e-4 with batches of 64 (ImageNet-C).
        learning_rate: of the default optimiser.
        source_weight: share of the stored statistics in each BatchNorm, 0 in the paper.
        iterations: steps per batch, 1 in the paper.
        skip: regular expressions of parameter paths to leave as they are.
        collapse_share: of the collapse flag.
    """
    optimizer = optax.adam(learning_rate, b1=0.9) if optimizer is None else optimizer

    def init(variables: PyTree) -> PyTree:
        return _start(variables, optimizer, skip)[0]

    predict = _predict(apply, source_weight)

    def step(state: PyTree, inputs: Array):
        def loss(trained: dict[str, Array]):
            outputs = predict({**state, "params": merge(state["params"], trained)}, inputs)
            assert outputs.logits is not None
            return mean_entropy(outputs.logits), outputs

        trained, moments = adaptable(state["params"], skip=skip), state["optimizer"]
        for _ in range(iterations):
            (_, outputs), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
            changes, moments = optimizer.update(gradients, moments, trained)
            trained = optax.apply_updates(trained, changes)
        new = {**state, "params": merge(state["params"], trained), "optimizer": moments}
        return new, outputs, report(outputs, collapse_share=collapse_share)

    return TestTime("tent", init, step, predict)


def _start(variables: PyTree, optimizer: optax.GradientTransformation, skip: Sequence[str]) -> tuple[PyTree, PyTree]:
    """The state that Tent and SAR share, and the scales and biases that they train."""
    trained = adaptable(variables["params"], skip=skip)
    state = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
    return {**state, "optimizer": optimizer.init(trained)}, trained


def _predict(apply: Apply, source_weight: Any) -> Callable[[PyTree, Array], Outputs]:
    """The net under statistics mixed of the stored ones and the batch's."""
    return lambda state, inputs: apply(state["params"], state["batch_stats"], inputs, source_weight)[0]


@checked
def sar(
    apply: Apply,
    *,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: Positive = 2.5e-4,
    margin: NonNegative = 0.4,
    radius: NonNegative = 0.05,
    recover_below: NonNegative = 0.2,
    source_weight: Share = 0.0,
    skip: Patterns = (),
    collapse_share: Share = 0.9,
) -> TestTime:
    """Entropy minimisation of examples with H(p) < E₀, at the worst point of a small ball around scale and bias (Niu et
    al., ICLR 2023, arXiv 2302.12400, eqs. 2 to 5). Chosen over EATA, of the same authors, which wants in-distribution
    examples for its Fisher weights; SAR needs only the stream and notices its own collapse. The paper finds LayerNorm
    and GroupNorm steadier than BatchNorm. Metrics: ``reliable`` (share of the batch), ``recovered`` (boolean). ``init``
    refuses a net without scales and biases.

    Args:
        apply: see :mod:`dalib.methods.test_time.interface`.
        optimizer: an optax transformation; None for SGD with momentum 0.9 at ``learning_rate``.
        learning_rate: of the default optimiser; 2.5e-4 with batches of 64 for a ResNet-50.
        margin: E₀ as a share of ln C.
        radius: ρ of the ball.
        recover_below: e_m in nats: a lower average loss starts all over; chosen for ImageNet's 1000 classes; 0 never
            does.
        source_weight: share of the stored statistics in each BatchNorm.
        skip: regular expressions of paths to leave alone; the paper's code: a ResNet's last stage, ``("layer4",)``.
        collapse_share: of the collapse flag.
    """
    optimizer = optax.sgd(learning_rate, momentum=0.9) if optimizer is None else optimizer

    def init(variables: PyTree) -> PyTree:
        state, trained = _start(variables, optimizer, skip)
        # The average is negative until there is a first value to start it from.
        return {**state, "start": trained, "average": jnp.full((), -1.0)}

    predict = _predict(apply, source_weight)

    def step(state: PyTree, inputs: Array):
        def loss(trained: dict[str, Array], among: Array | None):
            """Mean entropy of the reliable rows (``among`` those given), which rows they are, and the outputs."""
            outputs = predict({**state, "params": merge(state["params"], trained)}, inputs)
            assert outputs.logits is not None
            rows = entropies(outputs.logits)
            reliable = jax.lax.stop_gradient(rows) < margin * math.log(outputs.logits.shape[1])
            reliable = reliable if among is None else reliable & among
            mean = jnp.where(reliable, rows, 0).sum() / jnp.maximum(reliable.sum(), 1)
            return mean, (reliable, outputs)

        trained = adaptable(state["params"], skip=skip)
        slope = jax.grad(loss, has_aux=True)
        # First pass: the way uphill, and the predictions that are returned.
        ascent, (reliable, outputs) = slope(trained, None)
        norm = optax.tree.norm(ascent)
        step_up = radius / jnp.where(norm > 0, norm, 1)
        worst = jax.tree.map(lambda w, g: w + step_up * g, trained, ascent)
        (value, (still, _)), gradients = jax.value_and_grad(loss, has_aux=True)(worst, reliable)
        changes, moments = optimizer.update(gradients, state["optimizer"], trained)
        moved = optax.apply_updates(trained, changes)

        # A row must be reliable at both points; without any, all stays as it was.
        any_left = still.any()
        previous = state["average"]
        updated = jnp.where(previous < 0, value, 0.9 * previous + 0.1 * value).astype(previous.dtype)
        average = jnp.where(any_left, updated, previous)
        # A near-zero average says that one class takes all: start over.
        recovered = (average >= 0) & (average < recover_below)

        def choose(new: Array, old: Array, first: Array) -> Array:
            return jnp.where(recovered, first, jnp.where(any_left, new, old))

        # Parameters, optimiser and average go back to the start; in the authors' code the average stays.
        trained = jax.tree.map(choose, moved, trained, state["start"])
        moments = jax.tree.map(choose, moments, state["optimizer"], optimizer.init(state["start"]))
        new = {
            **state,
            "params": merge(state["params"], trained),
            "optimizer": moments,
            "average": jnp.where(recovered, -1.0, average).astype(previous.dtype),
        }
        metrics = report(outputs, collapse_share=collapse_share)
        return new, outputs, {**metrics, "reliable": reliable.mean(), "recovered": recovered}

    return TestTime("sar", init, step, predict)
