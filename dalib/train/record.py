"""The run record: a folder with what was asked (``config.json``) and what happened (``record.jsonl``).

``record.jsonl`` holds one JSON object a line: ``{"event": "train" | "evaluate" | "end", "step": ..., ...}``. After a
resume the lines behind the restored step are cut off, so that the record of a killed and resumed run has no step twice.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.checks import InputError

FORMAT = 1
PACKAGES = ("dalib-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Record(NamedTuple):
    """An open run folder."""

    folder: Path

    @property
    def path(self) -> Path:
        """``record.jsonl``."""
        return self.folder / "record.jsonl"

    def write(self, event: str, step: int, **fields: Any) -> None:
        """Appends one line and flushes it to the operating system."""
        line = json.dumps({"event": event, "step": int(step), **fields}, default=_plain, allow_nan=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self) -> list[dict[str, Any]]:
        """All complete lines; a last line cut off by a kill is left out."""
        return list(_complete_lines(self.path))

    def finished(self) -> bool:
        """Whether the run has ended."""
        return any(e["event"] == "end" for e in self.events())

    def cut_after(self, step: int) -> None:
        """Drops every event behind ``step`` (they will happen again) and a half-written last line, atomically."""
        if self.path.exists():
            kept = [e for e in self.events() if e["step"] <= step and e["event"] != "end"]
            write_atomically(self.path, "".join(json.dumps(e, allow_nan=True) + "\n" for e in kept).encode())


def open_record(folder: Path, config: Mapping[str, Any]) -> Record:
    """Opens a run folder for this configuration, new or to be resumed.

    Args:
        folder: made if absent.
        config: JSON-able; the entries ``experiment``, ``data`` and ``start`` must be the same as when the folder was
            made, the others (versions, commit) may differ.

    Raises:
        InputError: when the folder belongs to another configuration (the differences are listed), is not a run
            folder, or can't be written.
    """
    path = folder / "config.json"
    config = json.loads(json.dumps({"format": FORMAT, **config}, default=_plain))
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            differences = _differences(old, config)
        except (json.JSONDecodeError, AttributeError, UnicodeDecodeError) as error:
            raise InputError(
                f"run folder: {path} is not a run's configuration ({error})\n  what to do: choose another "
                "--out, or move that folder away"
            ) from None
        if differences:
            raise InputError(
                f"run folder: {folder} was made by another configuration:\n"
                + "\n".join(f"  {d}" for d in differences)
                + "\n  what to do: choose another --out, or give the same options again; nothing there was changed"
            )
        return Record(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"run folder: {folder} exists, is not empty and has no config.json"
            "\n  expected: a new folder or one of a run\n  what to do: choose another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(config, indent=1, sort_keys=True).encode())
    except OSError as error:
        raise InputError(f"run folder: {folder} can't be written ({error.strerror})") from None
    return Record(folder)


def provenance() -> dict[str, Any]:
    """Versions of the packages that decide the numbers, and the git commit of the working folder, if any."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"versions": versions, "git": _git_commit()}


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that a reader or a kill sees either the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _git_commit() -> str | None:
    """The commit of the folder that holds this file's package, with ``+`` appended when files differ from it."""
    root = Path(__file__).resolve().parents[2]
    try:
        run = lambda *args: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        if Path(run("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return run("rev-parse", "HEAD") + ("+" if run("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _complete_lines(path: Path):
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            yield json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError):
            if number == len(lines):
                return
            raise InputError(
                f"run record: line {number} of {path} is not JSON; the file was changed by hand or "
                "the disk is damaged\n  what to do: move this run folder away and run again"
            ) from None


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
    """JSON form of arrays, numbers and paths."""
    if isinstance(x, Path):
        return str(x)
    array = np.asarray(x)
    if array.dtype == object:
        raise TypeError(f"can't write {type(x).__name__} to a run record")
    return array.item() if array.ndim == 0 else array.tolist()
