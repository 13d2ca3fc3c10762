"""Scores to explain: a class, or the domain ("what says target here?"); and the sanity check of an explanation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dalib.core.checks import input_error
from dalib.core.types import PyTree
from dalib.evaluate.explanations.gradients import Score
from dalib.evaluate.inputs import matrix


def class_score(logits_of: Callable[[Array], Array], classes: Any) -> Score:
    """Return the logit of a class as a score; ``classes`` is one for all or one an example ``[n]``.

    ``logits_of`` is ``inputs [n, ...] -> [n, C]``.
    """
    wanted = jnp.asarray(classes)
    if not jnp.issubdtype(wanted.dtype, jnp.integer) or wanted.ndim > 1:
        raise input_error("classes", got=f"{wanted.dtype}{list(wanted.shape)}", expected="an integer, or integers [n]")

    def score(inputs: Array) -> Array:
        logits = logits_of(inputs)
        rows = jnp.broadcast_to(wanted, logits.shape[:1])
        return jnp.take_along_axis(logits, rows[:, None], axis=1)[:, 0]

    return score


class Direction(NamedTuple):
    """A linear domain classifier on features: weights ``[d]`` and bias of the log-odds of target over source."""

    weights: np.ndarray
    bias: float


def domain_direction(source: Any, target: Any) -> Direction:
    """Fit by logistic regression the direction that tells target ``[m, d]`` from source features ``[n, d]``."""
    from sklearn.linear_model import LogisticRegression

    x = matrix("source", source)
    y = matrix("target", target, columns=x.shape[1])
    # Standardised for the fit, and the scale is put back into the weights afterwards.
    rows, domain = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    spread = rows.std(0)
    centre, scale = rows.mean(0), np.where(spread > 0, spread, 1)
    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit((rows - centre) / scale, domain)
    weights = model.coef_[0] / scale
    return Direction(weights, float(model.intercept_[0] - weights @ centre))


def domain_score(features_of: Callable[[Array], Array], direction: Direction) -> Score:
    """Return a score, the log-odds of target over source: explain it to see what says "target".

    ``features_of`` is ``inputs [n, ...] -> [n, d]``. A method's own discriminator is a score as it is.
    """
    weights = jnp.asarray(direction.weights, jnp.float32)
    return lambda inputs: features_of(inputs) @ weights + direction.bias


def randomised(params: PyTree, key: Array) -> PyTree:
    """Shuffle the entries of each leaf of the parameters: a net that has learnt nothing.

    An explanation that hardly changes with them shows the input's edges, not the model. Adebayo et al., NeurIPS 2018,
    arXiv 1810.03292.
    """
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    pairs = zip(keys, leaves, strict=True)
    moved = [jax.random.permutation(k, jnp.ravel(leaf)).reshape(jnp.shape(leaf)) for k, leaf in pairs]
    return jax.tree.unflatten(tree, moved)


def similarity(first: Any, second: Any) -> float:
    """Mean over examples of the rank correlation of two attributions ``[n, ...]``, without their signs, in [−1, 1].

    Near 1 between a model and its :func:`randomised` twin: the explanation fails the sanity check.
    """
    from scipy.stats import spearmanr

    a, b = (np.asarray(x, np.float64) for x in (first, second))
    if a.shape != b.shape or a.ndim < 2 or not len(a):
        raise input_error("first", got=f"shapes {a.shape} and {b.shape}", expected="two attributions [n, ...]")
    a, b = (np.abs(x).reshape(len(x), -1) for x in (a, b))
    return float(np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]))
