"""Checkpoints of the state pytree through orbax: atomic, the last few kept, exact on restore."""

import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from dalib.core.checks import InputError
from dalib.core.records import StorageError
from dalib.train.devices.processes import any_process, leaders, leads

logger = logging.getLogger(__name__)

DELETED = ".deleted"
METADATA = "_CHECKPOINT_METADATA"
"""Orbax's file with the notes; without it a checkpoint would seem to have none."""

Notes = dict[str, Any]
Check = Callable[[int, Notes], None]
"""``(step, notes) -> None``; raises to have a checkpoint passed over."""


def _no_objection(step: int, notes: Notes) -> None:
    del step, notes


class Checkpoints(NamedTuple):
    """An open checkpoint folder.

    Attributes:
        save: ``(step, state, notes={}) -> None``; blocks until the checkpoint is complete on disk. ``notes`` are JSON
            and become part of it.
        restore: ``(state, check=...) -> state or None``: the newest checkpoint with the structure, shapes, dtypes and
            shardings of the given state (only its form matters); None when there is none yet. ``check(step, notes)``
            may raise to have one passed over.
        steps: the steps on disk, ascending.
        load: ``(step, state) -> state``; raises any error of a damaged checkpoint.
        notes: ``(step) -> notes``; ``{}`` where none were saved.
        drop_after: ``(step) -> None``: deletes the checkpoints of later steps.
        folder: where they are.
    """

    save: Callable[..., None]
    restore: Callable[..., Any]
    steps: Callable[[], list[int]]
    load: Callable[[int, Any], Any]
    notes: Callable[[int], Notes]
    drop_after: Callable[[int], None]
    folder: Path


@contextlib.contextmanager
def open_checkpoints(folder: Path, *, keep: int = 2) -> Iterator[Checkpoints]:
    """Open ``folder`` for saving and restoring, keeping the last ``keep`` checkpoints.

    A checkpoint is written under a temporary name and renamed when complete, and renamed again before it is deleted: a
    kill leaves no half one under its name. A damaged newest checkpoint is passed over with a warning when an older one
    is whole. A folder that can't be made or written, and checkpoints none of which fits this state, are InputErrors; a
    full or failing disk on save is a StorageError, and the earlier checkpoints stay.
    """
    folder = _ready(folder)
    # Orbax removes unfinished checkpoints on opening, and would report each.
    with _silence():
        checkpointer = ocp.training.Checkpointer(folder, cleanup_tmp_directories=True)
    unsaved: list[int] = []

    def steps() -> list[int]:
        return sorted(c.step for c in checkpointer.checkpoints)

    def save(step: int, state: Any, notes: Notes | None = None) -> None:
        try:
            saved = checkpointer.save(step, state, overwrite=step in steps(), custom_metadata=notes or {})
        except Exception as error:  # orbax raises many kinds for disks that fail
            unsaved.append(step)
            raise StorageError(
                f"checkpoint: that of step {step} can't be written to {folder} ({_first_line(error)})\n  kept: "
                f"{_listed(s for s in _complete(folder) if s != step)}\n  what to do: make room or mend the disk; "
                "the same command goes on from there"
            ) from error
        if not saved:
            raise RuntimeError(f"checkpoint: orbax saved nothing at step {step}; there are {steps()} in {folder}")
        # Only now: until the new checkpoint is complete the old ones are all that a kill leaves.
        delete(steps()[:-keep])

    def delete(gone: Sequence[int]) -> None:
        if not gone:
            return
        if leads():
            for step in gone:
                _remove(folder / str(step))
        any_process(False)  # the others look again once it is done
        with _silence():
            checkpointer.reload()

    def load(step: int, state: Any) -> Any:
        # Only the form of the state matters: arrays are read straight into their shardings.
        abstract = jax.tree.map(_abstract, state)
        loaded = checkpointer.load(step, abstract)
        _check_same(abstract, loaded)
        return loaded

    def notes(step: int) -> Notes:
        if not (folder / str(step) / METADATA).is_file():
            raise FileNotFoundError(f"{METADATA} is not there")
        return dict(checkpointer.checkpointables_metadata(step).custom_metadata or {})

    def drop_after(step: int) -> None:
        delete([s for s in steps() if s > step])

    def restore(state: Any, check: Check = _no_objection) -> Any:
        found = restore_together([opened], [state], [check])
        return None if found is None else found[1][0]

    # ``restore`` of one folder is the common restore of a population of one.
    opened = Checkpoints(save, restore, steps, load, notes, drop_after, folder)
    try:
        yield opened
    except BaseException:
        with contextlib.suppress(Exception):
            checkpointer.close()
        raise
    # Closing raises the error of a save that failed once more, which would hide what was said about it.
    with contextlib.suppress(*([Exception] if unsaved else [])):
        checkpointer.close()


def _ready(folder: Path) -> Path:
    """The folder, made and writable, without halves of checkpoints that a kill left while they were deleted."""
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "no permission to write, or a read-only disk")
    except OSError as error:
        raise InputError(
            f"checkpoints: {folder} can't be written ({error.strerror})\n  expected: a folder with permission to write"
            "\n  what to do: choose another --out, or mend its permissions"
        ) from None
    if leads():
        for half in folder.glob(f"*{DELETED}"):
            shutil.rmtree(half, ignore_errors=True)
    return folder


def common_steps(folders: Sequence[Checkpoints]) -> list[int] | None:
    """Return the steps that all folders have a checkpoint of, ascending; ``[]`` if all are to start anew.

    None says that they are at different places: some have gone on and share no checkpoint with the others. Such runs
    can't be one population; run them one by one, or those apart that have not begun.
    """
    steps = [folder.steps() for folder in folders]
    # Members are killed at different moments: only a step that all have is a common place.
    shared = set.intersection(*map(set, steps)) if steps else set()
    if not shared and any(own and own[-1] > 0 for own in steps):
        return None
    return sorted(shared)


def restore_together(
    folders: Sequence[Checkpoints], states: Sequence[Any], checks: Sequence[Check]
) -> tuple[int, list[Any]] | None:
    """Return the newest step that all folders hold whole, and the states there; None when there is no common step yet.

    Raises an InputError when there are common steps and none can be read into these states.
    """
    shared = (common_steps(folders) or [])[::-1]
    where = folders[0].folder if len(folders) == 1 else f"the {len(folders)} folders of this population"
    problems = []
    # All processes try the same steps in the same order, newest first, as process 0 sees them.
    for i in range(int(leaders(len(shared)))):
        step = int(leaders(shared[i] if i < len(shared) else -1))
        problem, loaded = "", []
        try:
            with _silence():
                for folder, state, check in zip(folders, states, checks, strict=True):
                    check(step, folder.notes(step))
                    loaded.append(folder.load(step, state))
        except Exception as error:  # orbax raises many kinds for damaged files
            problem = _first_line(error)
        # Several processes go on from the same checkpoint, or all from the one before it.
        if any_process(bool(problem)):
            problems.append(f"  step {step}: {problem or 'another process could not read it'}")
            continue
        if problems:
            found = "; ".join(problem.strip() for problem in problems)
            logger.warning("going on from step %d; damaged checkpoints in %s were passed over: %s", step, where, found)
        return step, loaded
    if problems:
        raise InputError(
            f"checkpoint: none in {where} can be read into this run's state:\n"
            + "\n".join(problems)
            + "\n  expected: checkpoints of this very configuration, complete"
            "\n  what to do: move that folder away to start again, or choose another --out"
        )
    return None


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint: first its name, then its files in any order."""
    # The rename is one operation; a kill afterwards leaves a name that nobody reads.
    aside = checkpoint.with_name(checkpoint.name + DELETED)
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(checkpoint, aside)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep orbax and its threads from printing the faults of a checkpoint; the error that comes out names them."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before, hook, other = [one.disabled for one in loggers], sys.excepthook, sys.unraisablehook
    for one in loggers:
        one.disabled = True
    sys.excepthook, sys.unraisablehook = lambda *_: None, lambda _: None
    try:
        yield
    except BaseException:
        time.sleep(0.1)  # a thread of its reader may still be at it
        raise
    finally:
        for one, was in zip(loggers, before, strict=True):
            one.disabled = was
        sys.excepthook, sys.unraisablehook = hook, other


def _complete(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def _listed(steps: Any) -> str:
    found = [str(s) for s in steps]
    return f"the checkpoint{'s' * (len(found) > 1)} of step {' and '.join(found)}" if found else "no checkpoint"


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _check_same(expected: Any, loaded: Any) -> None:
    """Compare shapes and dtypes leaf by leaf, naming the first path that differs."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(loaded), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} is {b.dtype}{list(b.shape)} there and {a.dtype}{list(a.shape)} here")


def _first_line(error: BaseException) -> str:
    """Return the first line of the root cause: orbax wraps it in errors about its handlers."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = str(error).strip().split(" [tensorstore_spec")[0].splitlines()
    return f"{type(error).__name__}: {text[0][:160] if text else ''}"
