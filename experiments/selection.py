"""Scores without labels at each evaluation, by which a checkpoint could have been picked.

They are computed from the predictions on the target's **test** inputs that an evaluation makes anyway, without labels:
these rows are not trained on where the split is held out (a method that minimises an entropy has a low one on the rows
it trained on), and they cost no further pass. At most 500 rows, the same ones at every step, for every method and
seed. Clusters are those of the logits. The event stands apart from the oracle's, as split ``unlabelled``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.data import Domain
from dalib.validate import target_scores

ROWS = 500
SPLIT = "unlabelled"

_scores = jax.jit(target_scores)


def unlabelled_events(domain: Domain, logits: np.ndarray) -> list[dict[str, Any]]:
    """The line of a run record from the logits ``[n, C]`` of the test split."""
    metrics = unlabelled_scores(np.asarray(logits, np.float32))
    return [{"domain": domain.name, "split": SPLIT, "oracle": False, "metrics": metrics}]


def unlabelled_scores(logits: np.ndarray) -> dict[str, float]:
    """The scores of logits ``[n, C]``, of at most :data:`ROWS` rows that depend on n alone."""
    rows = np.sort(np.random.default_rng(0).permutation(len(logits))[:ROWS])
    z = jnp.asarray(logits[rows])
    return {name: float(value) for name, value in jax.device_get(_scores(z, z)).items()}
