"""Regression: k real numbers for each example."""

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import choose, input_error
from dalib.core.types import Array, Metrics, Outputs, PyTree, Task

LOSSES = {
    "squared": lambda error: jnp.square(error).sum(-1),
    "absolute": lambda error: jnp.abs(error).sum(-1),
}
"""Losses of an example from its errors ``[n, k]``."""


def regression(size: int = 1, *, loss: str = "squared") -> Task:
    """Make the task of predicting k real numbers; labels are ``[n, k]``, or ``[n]`` for k = 1.

    ``loss`` is "squared" (sum of squared errors over the k numbers) or "absolute". Metrics are mean absolute error,
    root mean squared error, and R², each a mean over the k numbers. R² needs labels with a spread above 0.3 % of their
    size: standardise others.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise input_error("size", got=repr(size), expected="an integer ≥ 1")
    # Checked here: a wrong name must not wait for the first step.
    of_errors = choose("loss", loss, LOSSES)

    def per_example(outputs: Outputs, labels: Array) -> Array:
        return of_errors(errors(outputs, labels))

    return Task("regression", int(size), per_example, quality, predict, counts, metrics)


def errors(outputs: Outputs, labels: Array) -> Array:
    """Prediction minus label, ``[n, k]``; an InputError for labels of another shape, or integers."""
    assert outputs.logits is not None
    shape = outputs.logits.shape
    fits = labels.shape == shape or (shape[-1] == 1 and labels.shape == shape[:-1])
    if not fits or not jnp.issubdtype(labels.dtype, jnp.floating):
        raise input_error(
            "labels",
            got=f"{labels.dtype}{list(labels.shape)} for outputs {list(shape)}",
            expected="floating labels of the outputs' shape",
        )
    return outputs.logits - labels.reshape(shape)


def quality(outputs: Outputs, labels: Array) -> Metrics:
    """``error/source``, the mean absolute error of a training batch."""
    return {"error/source": jnp.abs(errors(outputs, labels)).mean()}


def predict(outputs: Outputs) -> Array:
    """The net's outputs, ``[n, k]``."""
    assert outputs.logits is not None
    return outputs.logits


def counts(outputs: Outputs, labels: Array, mask: Array) -> dict[str, Array]:
    """Sums over the rows with a True mask: their number, and per column errors and labels up to second order."""
    # Sums in float32: those of many bfloat16 squares would stall.
    wide = jnp.float32
    error = jnp.where(mask[:, None], errors(outputs, labels).astype(wide), 0)
    label = jnp.where(mask[:, None], labels.reshape(error.shape).astype(wide), 0)
    return {
        "examples": mask.sum(),
        "absolute": jnp.abs(error).sum(0),
        "squared": jnp.square(error).sum(0),
        "label": label.sum(0),
        "label_squared": jnp.square(label).sum(0),
    }


RESOLVED = 1e-5
"""Smallest total sum of squares, relative to the labels' own, that float32 sums give to about a hundredth."""


def metrics(total: PyTree) -> dict[str, float]:
    """Mean absolute error, root mean squared error and R².

    R² is 1 − sum of squared errors / sum of squared deviations of the labels from their mean. It is NaN for labels that
    are constant, or nearly so (:data:`RESOLVED`).
    """
    sums = {name: np.asarray(value, np.float64) for name, value in total.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        n = sums["examples"]
        deviations = sums["label_squared"] - np.square(sums["label"]) / n
        varies = deviations > RESOLVED * sums["label_squared"]
        # Sums of squares cancel: below float32's resolution R² would be noise.
        r2 = np.where(varies, 1 - sums["squared"] / deviations, np.nan)
        return {
            "mean_absolute_error": float((sums["absolute"] / n).mean()),
            "root_mean_squared_error": float(np.sqrt(sums["squared"] / n).mean()),
            "r2": float(r2.mean()),
        }
