"""Validators of alignment: distances between the domains' features, with a minus sign.

They do not ask whether classes are told apart: a collapsed model aligns perfectly. All take ``[n, d]`` of the source
and ``[m, d]`` of the target, and raise an InputError for anything else.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from dalib.discrepancy import coral as coral_distance
from dalib.discrepancy import mmd2, same_sample_neighbours
from dalib.evaluate.inputs import matrix


def _both(source: Any, target: Any, least: int = 1) -> tuple[Any, Any]:
    x = matrix("source", source, least=least)
    return jnp.asarray(x, jnp.float32), jnp.asarray(
        matrix("target", target, columns=x.shape[1], least=least), jnp.float32
    )


def mmd(source: Any, target: Any) -> float:
    """−MMD², biased, with one Gaussian kernel of adaptive width; from −2 to 0; tiled where it is large."""
    return float(-mmd2(*_both(source, target)))


def coral(source: Any, target: Any) -> float:
    """−‖C_s − C_t‖²_F / (4d²), at most 0; n, m ≥ 2."""
    return float(-coral_distance(*_both(source, target, least=2)))


def nearest_domain(source: Any, target: Any) -> float:
    """−precision@1 of the domain label: share of rows with a nearest neighbour of their own domain; from −1 to 0.

    Samples of one distribution and equal size give about −½.
    """
    return float(-same_sample_neighbours(*_both(source, target)))


def proxy_a_distance(source: Any, target: Any, *, seed: int = 0) -> float:
    """The proxy A-distance ``2(1 − 2ε)``, in [−2, 2]; **smaller** is nearer, so that validators take its negative.

    ε is the test error of a logistic regression that tells the domains apart. Both halves, drawn by ``seed``, have as
    many rows of each domain; n, m ≥ 4. Ben-David, Blitzer, Crammer, Pereira, NIPS 2006.
    """
    from sklearn.linear_model import LogisticRegression

    x = matrix("source", source, least=4)
    y = matrix("target", target, columns=x.shape[1], least=4)
    rng = np.random.default_rng(seed)
    # Equally many rows of each: otherwise the larger domain alone would give a small error.
    half = min(len(x), len(y)) // 2
    parts = [rows[rng.permutation(len(rows))[: 2 * half]] for rows in (x, y)]
    train, test = (np.concatenate([part[own] for part in parts]) for own in (slice(half), slice(half, None)))
    domain = np.repeat([0, 1], half)
    centre, scale = train.mean(0), train.std(0)
    scale = np.where(scale > 0, scale, 1)
    model = LogisticRegression(max_iter=1000).fit((train - centre) / scale, domain)
    return float(2 * (1 - 2 * (model.predict((test - centre) / scale) != domain).mean()))
