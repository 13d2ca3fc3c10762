"""Choice of a step by a score that needs no target labels, and those scores at every evaluation."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError
from dalib.data import Domain
from dalib.evaluate.scores import Scores
from dalib.evaluate.validators.at_evaluation import target_scores

# Choosing among checkpoints or candidates by a score that needs no target label.


def best(history: Sequence[tuple[int, Scores]]) -> int:
    """Return the step with the best source accuracy of ``(step, scores)``; the last one among equals.

    Raises an InputError for an empty history, or scores of another type: an oracle's scores can't select anything.
    """
    if not history:
        raise InputError("history: got no scores to choose from")
    for _, scores in history:
        if not isinstance(scores, Scores):
            raise InputError(
                f"history: got {type(scores).__name__}\n  expected: Scores on source examples\n  what to do: score the "
                "source's held-out split; target labels may not select"
            )
    return max(history, key=lambda item: (item[1].accuracy, item[0]))[0]


# Scores without labels at each evaluation, by which a checkpoint could have been picked.
#
# They are computed from the predictions on the target's **test** inputs that an evaluation makes anyway, without
# labels: these rows are not trained on where the split is held out (a method that minimises an entropy has a low one on
# the rows it trained on), and they cost no further pass. At most 500 rows, the same ones at every step, for every
# method and seed. Clusters are those of the logits. The event has a split of its own, ``unlabelled``, not the oracle's.


ROWS = 500
SPLIT = "unlabelled"

_scores = jax.jit(target_scores)


def unlabelled_events(domain: Domain, logits: np.ndarray) -> list[dict[str, Any]]:
    """Return the line of a run record from the logits ``[n, C]`` of the test split."""
    metrics = unlabelled_scores(np.asarray(logits, np.float32))
    return [{"domain": domain.name, "split": SPLIT, "oracle": False, "metrics": metrics}]


def unlabelled_scores(logits: np.ndarray) -> dict[str, float]:
    """Return the scores of logits ``[n, C]``, of at most :data:`ROWS` rows that depend on n alone."""
    rows = np.sort(np.random.default_rng(0).permutation(len(logits))[:ROWS])
    z = jnp.asarray(logits[rows])
    return {name: float(value) for name, value in jax.device_get(_scores(z, z)).items()}
