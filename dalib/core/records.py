"""The run record: a folder with the configuration (``config.json``) and the events of a run (``record.jsonl``).

This module writes one run folder and resumes it; :mod:`dalib.core.run_folders` reads many. ``record.jsonl`` holds one
JSON object a line: ``{"event": "train" | "evaluate" | "end", "step": ..., ...}``. A checkpoint knows the number of
lines; a resumed run drops the later ones, so that the record of a killed and resumed run has no step twice and none
missing.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.core.checks import InputError
from dalib.core.files import StorageError as StorageError
from dalib.core.files import leftovers, read_text, write_atomically
from dalib.core.locks import NAME as LOCK
from dalib.core.locks import hold, lost, releasing
from dalib.core.provenance import provenance

FORMAT = 1
CONFIG, LINES, STRETCHES = "config.json", "record.jsonl", "stretches.jsonl"
TIMED = ("train", "end")


class Clock:
    """Seconds of training, over all stretches of a run that was stopped and went on; lost work does not count."""

    def __init__(self) -> None:
        self.start(0.0)

    def start(self, seconds: float) -> None:
        """Go on from ``seconds``."""
        self._zero = time.monotonic() - seconds

    def __call__(self) -> float:
        return round(time.monotonic() - self._zero, 3)


class Record(NamedTuple):
    """An open run folder; of several processes only one ``writes``.

    The reading of ``clock`` becomes the field ``seconds`` of "train" and "end" lines; None leaves it out.
    """

    folder: Path
    writes: bool = True
    clock: Clock | None = None

    @property
    def path(self) -> Path:
        """``record.jsonl``."""
        return self.folder / LINES

    def write(self, event: str, step: int, **fields: Any) -> None:
        """Append one line, whole or not at all, and hand it to the operating system.

        Raises a StorageError when the disk is full or fails, the record was deleted, or another process has taken the
        folder over; the lines before stay.
        """
        if not self.writes:
            return
        # Two writers would interleave lines; the one without the lock gives up.
        if lost(self.folder):
            raise StorageError(
                f"run folder: {self.folder} was taken over by another process, since this one gave no sign of life"
                "\n  kept: all up to then; this process ends, the other goes on"
            )
        if self.clock is not None and event in TIMED:
            fields["seconds"] = self.clock()
        # NaN is written as such: a reader must see where a run went wrong.
        line = json.dumps({"event": event, "step": int(step), **fields}, default=_plain, allow_nan=True)
        _append(self.path, (line + "\n").encode())

    def events(self) -> list[dict[str, Any]]:
        """Return all complete lines; a last line cut off by a kill is left out."""
        return read_lines(self.path)[0]

    def end(self) -> dict[str, Any] | None:
        """Return the "end" line of a run that has ended."""
        return next((e for e in self.events() if e["event"] == "end"), None)

    def finished(self) -> bool:
        """Tell whether the run has ended."""
        return self.end() is not None

    def check_writable(self) -> None:
        """Raise an InputError when nothing can be written here; to be called before hours of training, not after."""
        if not self.writes:
            return
        try:
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(None, "no permission to write, or a read-only disk")
            open(self.path, "ab").close()
        except OSError as error:
            raise InputError(
                f"run folder: {self.path if self.path.exists() else self.folder} can't be written ({error.strerror})"
                "\n  expected: permission to write there; nothing was changed"
                "\n  what to do: choose another --out, or mend the permissions"
            ) from None

    def stretch(self, steps: Sequence[int], **fields: Any) -> None:
        """Note in ``stretches.jsonl`` that the run goes on now, and on what; each start of a run is a stretch of it.

        ``steps`` of the checkpoints are ascending; ``fields`` are particular to this stretch, e.g. its devices.
        """
        if self.writes:
            device = {"platform": jax.default_backend(), "device": jax.local_devices()[0].device_kind}
            line = json.dumps({"from": [0, *steps][-1], **fields, **device, **provenance()}, default=_plain)
            _append(self.folder / STRETCHES, (line + "\n").encode(), os.O_CREAT)

    def last_stretch(self) -> dict[str, Any]:
        """Return the notes of the last start of the run; ``{}`` before the first, or where they can't be read."""
        try:
            lines = (self.folder / STRETCHES).read_bytes().split(b"\n")[:-1]
            return dict(json.loads(lines[-1]))
        except (OSError, ValueError, TypeError, IndexError):
            return {}

    def lines(self) -> int:
        """Return the number of complete lines."""
        return len(self.events())

    def keep(self, lines: int) -> None:
        """Drop all but the first ``lines`` lines (the later ones will happen again), atomically."""
        self._rewrite(self.events()[:lines])

    def cut_after(self, step: int) -> None:
        """Drop every event after ``step`` (they will happen again) and a half-written last line, atomically."""
        self._rewrite([e for e in self.events() if e["step"] <= step and e["event"] != "end"])

    def _rewrite(self, events: list[dict[str, Any]]) -> None:
        # The clock goes back with the lines: lost work is not counted.
        if self.clock is not None:
            self.clock.start(next((float(e["seconds"]) for e in reversed(events) if "seconds" in e), 0.0))
        if not self.writes:
            return
        data = "".join(json.dumps(e, allow_nan=True) + "\n" for e in events).encode()
        for old in leftovers(self.folder):
            old.unlink(missing_ok=True)
        if self.path.exists() and self.path.read_bytes() != data:
            write_atomically(self.path, data)


def open_record(folder: Path, config: Mapping[str, Any]) -> Record:
    """Open a run folder for this configuration, new or to be resumed.

    The entries ``experiment``, ``data`` and ``start`` of the JSON-able ``config`` must be the same as when the folder
    was made; the others (versions, commit) may differ. Raises an InputError when the folder belongs to another
    configuration (the differences are listed), is not a run folder, or can't be written.
    """
    path = folder / CONFIG
    config = json.loads(json.dumps({"format": FORMAT, **config}, default=_plain))
    if not path.exists():
        _found(folder, config)
    text = read_text(path, "run folder")
    try:
        # Compared as JSON: a tuple becomes a list in the file.
        differences = _differences(json.loads(text), config)
    except (ValueError, AttributeError, RecursionError) as error:
        reason = error if isinstance(error, json.JSONDecodeError) else "no object with names"
        raise InputError(
            f"run folder: {path} is not a run's configuration ({reason})\n  what to do: choose another "
            "--out, or move that folder away"
        ) from None
    if differences:
        raise InputError(
            f"run folder: {folder} was made by another configuration:\n"
            + "\n".join(f"  {d}" for d in differences)
            + "\n  what to do: choose another --out, or give the same options again; nothing there was changed"
        )
    return Record(folder)


def _found(folder: Path, config: Mapping[str, Any]) -> None:
    """Make a run folder, locked until its configuration is written: two processes may want to make it."""
    try:
        # A run killed while its configuration was being written has left nothing else, and no line.
        ours = {LINES, *(p.name for p in leftovers(folder, CONFIG))}
        if folder.exists() and any(p.name not in ours and not p.name.startswith(LOCK) for p in folder.iterdir()):
            raise InputError(
                f"run folder: {folder} exists, is not empty and has no config.json"
                "\n  expected: a new folder or one of a run\n  what to do: choose another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with releasing():
            hold(folder)
            if not (folder / CONFIG).exists():
                _append(folder / LINES, b"", os.O_CREAT)
                write_atomically(folder / CONFIG, json.dumps(config, indent=1, sort_keys=True).encode())
    except OSError as error:
        raise InputError(
            f"run folder: {folder} can't be written ({error.strerror or error})\n  expected: a folder with room and "
            "permission to write\n  what to do: choose another --out, or mend the disk"
        ) from None


def _append(path: Path, data: bytes, create: int = 0) -> None:
    """Append all of ``data`` in one write, or leave the file as it was; make no new one unless told."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | create, 0o644)
    except OSError as error:
        # A new file would begin in the middle, and nobody would notice.
        gone = isinstance(error, FileNotFoundError)
        raise StorageError(
            f"run record: {path} can't be written ({'it was deleted meanwhile' if gone else error.strerror})"
            f"\n  kept: {'what else is there' if gone else 'what was there before'}"
            "\n  what to do: put it back, or move this run folder away; then give the same command again"
        ) from error
    try:
        # One write call: a kill between two could leave half a line.
        before = os.fstat(file).st_size
        try:
            if (written := os.write(file, data)) < len(data):
                # A disk that takes a part has no room for the rest; the second write says why.
                os.write(file, data[written:])
                os.fsync(file)
        except OSError as error:
            os.ftruncate(file, before)
            raise StorageError(
                f"run record: {path} can't be written ({error.strerror})\n  kept: all {before} bytes that were there"
                "\n  what to do: make room or mend the disk; the same command goes on from the last checkpoint"
            ) from error
    finally:
        os.close(file)


def read_lines(
    path: Path, damaged: Callable[[Path, int, Exception], InputError] | None = None
) -> tuple[list[dict[str, Any]], bool]:
    """Return all complete lines of a ``record.jsonl``, and whether a kill has left half a line after them.

    Without the file there are no lines. ``damaged`` makes the error for a line that is not JSON, from
    ``(path, line number, reason)``; None says how to go on training.
    """
    if not path.exists():
        return [], False
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"run record: {path} can't be read ({error.strerror})\n  expected: a file with one JSON object a line"
        ) from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            found.append(_event(json.loads(line)))
        except (ValueError, RecursionError) as error:
            # What a kill cut off is no JSON; a whole line of something else was put there by somebody.
            if number == len(lines) and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                return found, True
            raise (damaged or _damaged)(path, number, error) from None
    return found, False


def _event(entry: Any) -> dict[str, Any]:
    """Check that an entry is an object with the name of an event and a step, as every line must be."""
    if not (isinstance(entry, dict) and isinstance(entry.get("event"), str) and type(entry.get("step")) is int):
        raise ValueError(f"no event with a step: {entry!r:.60}")
    return entry


def _damaged(path: Path, number: int, reason: Exception) -> InputError:
    what = "not JSON" if isinstance(reason, json.JSONDecodeError | UnicodeDecodeError) else "no line of a record"
    return InputError(
        f"run record: line {number} of {path} is {what}; the file was changed by hand or the disk is damaged"
        f"\n  kept: everything; {number - 1} lines before it are whole"
        "\n  what to do: delete that line and all after it: the run goes on from a checkpoint before it, if there is "
        "one; or move this run folder away and run again"
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for part in ("format", "experiment", "data", "start"):
        a, b = old.get(part), new.get(part)
        if isinstance(a, dict) and isinstance(b, dict):
            for name in sorted(a.keys() | b.keys()):
                if a.get(name) != b.get(name):
                    found.append(f"{part}.{name}: there {a.get(name)!r}, now {b.get(name)!r}")
        elif a != b:
            found.append(f"{part}: there {a!r}, now {b!r}")
    return found


def _plain(x: Any) -> Any:
    if isinstance(x, Path):
        return str(x)
    array = np.asarray(x)
    if array.dtype == object:
        raise TypeError(f"can't write {type(x).__name__} to a run record")
    return array.item() if array.ndim == 0 else array.tolist()
