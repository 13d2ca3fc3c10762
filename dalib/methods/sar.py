"""SAR: sharpness-aware entropy minimisation on reliable examples, with recovery from collapse."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dalib.discrepancy import entropies
from dalib.methods.test_time import Apply, TestTime, adaptable, merge, report
from dalib.types import Array, Outputs, PyTree


def sar(
    apply: Apply,
    *,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: Any = 2.5e-4,
    margin: Any = 0.4,
    radius: Any = 0.05,
    recover_below: Any = 0.2,
    source_weight: Any = 0.0,
    skip: Sequence[str] = (),
    collapse_share: float = 0.9,
) -> TestTime:
    """Entropy minimisation of examples with H(p) < E₀, at the worst point of a small ball around scale and bias (Niu et
    al., ICLR 2023, arXiv 2302.12400, eqs. 2 to 5). Test-time.

    Chosen over EATA, of the same authors: SAR needs nothing but the stream, where EATA wants in-distribution examples
    for its Fisher weights, and it notices its own collapse: when the moving average (0.9) of its loss falls under
    ``recover_below``, parameters, optimiser and average go back to the start (in the authors' code the average stays).
    A batch without any reliable example leaves all as it is. The paper finds LayerNorm and GroupNorm steadier than
    BatchNorm, and its code leaves the last stage alone (``skip=("layer4",)`` for a ResNet).

    Args:
        apply: see :mod:`dalib.methods.test_time`.
        optimizer: an optax transformation; None for SGD with momentum 0.9 at ``learning_rate``.
        learning_rate: of the default optimiser; 2.5e-4 with batches of 64 for a ResNet-50.
        margin: E₀ as a share of ln C.
        radius: ρ of the ball.
        recover_below: e_m in nats, chosen for ImageNet's 1000 classes; 0 never recovers.
        source_weight: share of the stored statistics in each BatchNorm.
        skip: regular expressions of parameter paths to leave as they are.
        collapse_share: of the collapse flag.

    Own metrics: ``reliable`` (share of the batch), ``recovered`` (boolean).

    Raises:
        InputError: from ``init``, for a net without scales and biases to adapt.
    """
    optimizer = optax.sgd(learning_rate, momentum=0.9) if optimizer is None else optimizer

    def init(variables: PyTree) -> PyTree:
        trained = adaptable(variables["params"], skip=skip)
        return {
            "params": variables["params"],
            "batch_stats": variables.get("batch_stats", {}),
            "optimizer": optimizer.init(trained),
            "start": trained,
            # Negative until there is a first value to start the average from.
            "average": jnp.full((), -1.0),
        }

    def step(state: PyTree, inputs: Array):
        def loss(trained: dict[str, Array], among: Array | None):
            """Mean entropy of the reliable rows (``among`` those given), who they are, and the outputs."""
            outputs = predict({**state, "params": merge(state["params"], trained)}, inputs)
            assert outputs.logits is not None
            rows = entropies(outputs.logits)
            reliable = jax.lax.stop_gradient(rows) < margin * math.log(outputs.logits.shape[1])
            reliable = reliable if among is None else reliable & among
            mean = jnp.where(reliable, rows, 0).sum() / jnp.maximum(reliable.sum(), 1)
            return mean, (reliable, outputs)

        trained = adaptable(state["params"], skip=skip)
        slope = jax.grad(loss, has_aux=True)
        ascent, (reliable, outputs) = slope(trained, None)
        norm = optax.tree.norm(ascent)
        step_up = radius / jnp.where(norm > 0, norm, 1)
        worst = jax.tree.map(lambda w, g: w + step_up * g, trained, ascent)
        (value, (still, _)), gradients = jax.value_and_grad(loss, has_aux=True)(worst, reliable)
        changes, moments = optimizer.update(gradients, state["optimizer"], trained)
        moved = optax.apply_updates(trained, changes)

        any_left = still.any()
        previous = state["average"]
        updated = jnp.where(previous < 0, value, 0.9 * previous + 0.1 * value).astype(previous.dtype)
        average = jnp.where(any_left, updated, previous)
        recovered = (average >= 0) & (average < recover_below)

        def choose(new: Array, old: Array, first: Array) -> Array:
            return jnp.where(recovered, first, jnp.where(any_left, new, old))

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

    def predict(state: PyTree, inputs: Array) -> Outputs:
        return apply(state["params"], state["batch_stats"], inputs, source_weight)[0]

    return TestTime("sar", init, step, predict)
