"""Checkpoints of the state pytree through orbax: atomic, the last few kept, exact on restore."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from dalib.checks import InputError

logger = logging.getLogger(__name__)


class Checkpoints(NamedTuple):
    """An open checkpoint folder.

    Attributes:
        save: ``(step, state) -> None``; blocks until the checkpoint is complete on disk.
        restore: ``(state) -> state or None``: the newest checkpoint with the structure, shapes, dtypes and shardings
            of the given state (whose values don't matter); None when there is none yet.
        steps: the steps on disk, ascending.
        load: ``(step, state) -> state``: the checkpoint of that step, or whatever error its damage raises.
    """

    save: Callable[[int, Any], None]
    restore: Callable[[Any], Any]
    steps: Callable[[], list[int]]
    load: Callable[[int, Any], Any]


@contextmanager
def open_checkpoints(folder: Path, *, keep: int = 2) -> Iterator[Checkpoints]:
    """Opens ``folder`` for saving and restoring, keeping the last ``keep`` checkpoints.

    A checkpoint is written under a temporary name and renamed when complete, so a run killed while saving goes on from
    the one before it. A damaged newest checkpoint is passed over with a warning when an older one is whole.

    Raises:
        InputError: on restore, when checkpoints exist and none can be read into this state.
    """
    policy = ocp.training.preservation_policies.LatestN(keep)
    with ocp.training.Checkpointer(
        folder.resolve(), preservation_policy=policy, cleanup_tmp_directories=True
    ) as checkpointer:

        def steps() -> list[int]:
            return sorted(c.step for c in checkpointer.checkpoints)

        def save(step: int, state: Any) -> None:
            checkpointer.save(step, state, overwrite=step in steps())

        def load(step: int, state: Any) -> Any:
            abstract = jax.tree.map(_abstract, state)
            loaded = checkpointer.load(step, abstract)
            _check_same(abstract, loaded)
            return loaded

        def restore(state: Any) -> Any:
            problems = []
            for step in reversed(steps()):
                try:
                    loaded = load(step, state)
                except Exception as error:  # orbax raises many kinds for damaged files
                    problems.append(f"  step {step}: {_first_line(error)}")
                    continue
                if problems:
                    logger.warning("passed over damaged checkpoints in %s:\n%s", folder, "\n".join(problems))
                return loaded
            if problems:
                raise InputError(
                    f"checkpoint: none in {folder} can be read into this run's state:\n"
                    + "\n".join(problems)
                    + "\n  expected: checkpoints of this very configuration, complete"
                    "\n  what to do: move that folder away to start again, or choose another --out"
                )
            return None

        yield Checkpoints(save, restore, steps, load)


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _check_same(expected: Any, loaded: Any) -> None:
    """Compares shapes and dtypes leaf by leaf, naming the first path that differs."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(loaded), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} is {b.dtype}{list(b.shape)} there and {a.dtype}{list(a.shape)} here")


def _first_line(error: BaseException) -> str:
    """What went wrong at the bottom: orbax wraps the reason in errors about its handlers."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200] if text else ''}"
