"""Tent: entropy minimisation over the normalisation layers' scale and bias, batch by batch."""

from collections.abc import Sequence
from typing import Any

import jax
import optax

from dalib.discrepancy import mean_entropy
from dalib.methods.test_time import Apply, TestTime, adaptable, merge, report
from dalib.types import Array, Outputs, PyTree


def tent(
    apply: Apply,
    *,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: Any = 1e-3,
    source_weight: Any = 0.0,
    iterations: int = 1,
    skip: Sequence[str] = (),
    collapse_share: float = 0.9,
) -> TestTime:
    """Per batch one step on mean H(p) of scale and bias; statistics are the batch's (Wang, Shelhamer, Liu, Olshausen,
    Darrell, ICLR 2021, arXiv 2006.10726, §3). Test-time.

    The step returns the outputs before the batch's (last) update: one pass, as the authors do it. Small batches and
    batches of one class make it collapse; see ``collapsed``. It also adapts LayerNorm and GroupNorm, less well.

    Args:
        apply: see :mod:`dalib.methods.test_time`.
        optimizer: an optax transformation; None for Adam (β₁ 0.9) at ``learning_rate``. The paper's: Adam 1e-3 with
            batches of 200 (CIFAR-10-C), SGD 2.5e-4 with batches of 64 (ImageNet-C).
        learning_rate: of the default optimiser.
        source_weight: share of the stored statistics in each BatchNorm, 0 in the paper.
        iterations: steps per batch, 1 in the paper.
        skip: regular expressions of parameter paths to leave as they are.
        collapse_share: of the collapse flag.

    Raises:
        InputError: from ``init``, for a net without scales and biases to adapt.
    """
    optimizer = optax.adam(learning_rate, b1=0.9) if optimizer is None else optimizer

    def init(variables: PyTree) -> PyTree:
        trained = adaptable(variables["params"], skip=skip)
        return {
            "params": variables["params"],
            "batch_stats": variables.get("batch_stats", {}),
            "optimizer": optimizer.init(trained),
        }

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

    def predict(state: PyTree, inputs: Array) -> Outputs:
        return apply(state["params"], state["batch_stats"], inputs, source_weight)[0]

    return TestTime("tent", init, step, predict)
