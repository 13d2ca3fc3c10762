"""Evaluation inside a population's program: the members' predictions on their test splits in one call a side."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.data import Domain
from dalib.run.evaluation import EVALUATION_ROWS
from dalib.run.run import Run
from dalib.train import TrainState
from dalib.train.population.members import memory_limit
from dalib.train.termination import unless_asked

MEMBER_ROWS = 50
"""Examples of each member in a batch of the program; divides EVALUATION_ROWS."""


def make_evaluation(
    runs: Sequence[Run], members: int = 0, seats: Sequence[int] | None = None
) -> Callable[[TrainState], list[list[dict[str, Any]]]] | None:
    """Make ``states of all members -> events of each run``, equal to each run's ``evaluate`` up to rounding.

    Args:
        runs: the members.
        members: size of the program, if larger than the number of runs.
        seats: the place of each run in the program, as in :func:`dalib.train.run_members`.

    Returns:
        None where every member is evaluated by itself: methods that recompute batch statistics on the target, runs
        that keep predictions, test examples that are no arrays of one shape, or more than half of the memory limit.
    """
    # Where one member needs more than a forward pass, each is evaluated by its own functions.
    program = runs[0].program
    placed = (
        None
        if program.method.hooks.calibrate or any(run.experiment.keep for run in runs)
        else [
            _place([run.labelled for run in runs]),
            _place([run.target for run in runs]),
        ]
    )
    if placed is None or placed[0] is None or placed[1] is None:
        return None
    seats = list(range(len(runs))) if seats is None else list(seats)
    sides = list(zip(("source", "target"), placed, strict=True))

    def evaluate(states: TrainState) -> list[list[dict[str, Any]]]:
        whole = states.step.shape[0]
        predicted = []
        for domain, side in sides:
            assert side is not None
            inputs, rows, lengths = side
            # Empty seats repeat the last member's rows: the program has one shape, and their results are dropped.
            filled = np.repeat(rows[-1:], whole, 0)
            filled[seats] = rows
            logits = unless_asked(program.predict_members(domain, max(members, len(runs))))(states, inputs, filled)
            # Rows that only fill up come last.
            flat = np.asarray(logits).reshape(whole, -1, logits.shape[-1])[seats]
            predicted.append([x[:n] for x, n in zip(flat, lengths, strict=True)])
        return [run.events(*both) for run, *both in zip(runs, *predicted, strict=True)]

    return evaluate


def _place(domains: Sequence[Domain]) -> tuple[jax.Array, np.ndarray, list[int]] | None:
    """Put test examples ``[N, ...]`` on the device; return members' rows ``[members, batches, b]`` and their number."""
    offsets: dict[int, int] = {}
    parts: list[np.ndarray] = []
    rows = []
    for domain in domains:
        split = domain.split("test")
        n = len(split)
        # A split that several members share is on the device once.
        if id(split) not in offsets:
            x = split.__getitems__(range(n))[0]
            if not isinstance(x, np.ndarray) or (parts and x.shape[1:] != parts[0].shape[1:]):
                return None
            offsets[id(split)] = sum(map(len, parts))
            parts.append(x)
        # Padded to whole batches by going round; the rows too many are cut off after the prediction.
        count = -(-n // EVALUATION_ROWS) * EVALUATION_ROWS
        own = np.arange(count, dtype=np.int32) % np.int32(n) + np.int32(offsets[id(split)])
        rows.append(own.reshape(-1, MEMBER_ROWS))
    # Half the memory at most: states and predictions of all members need the rest.
    limit = memory_limit()
    if limit is not None and sum(x.nbytes for x in parts) > limit // 2:
        return None
    longest = max(map(len, rows))
    filled = [np.concatenate([own, np.repeat(own[-1:], longest - len(own), 0)]) for own in rows]
    return jnp.asarray(np.concatenate(parts)), np.stack(filled), [len(domain.split("test")) for domain in domains]
