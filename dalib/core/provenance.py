"""Provenance of a number: versions of packages and the commit of the code."""

import functools
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import dalib

PACKAGES = ("dalib-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def provenance() -> dict[str, Any]:
    """Return the versions of the packages that decide the numbers, and the git commit of the working folder, if any."""
    return {"versions": dict(_versions()), "git": _git_commit()}


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "not installed"

    return tuple((name, version(name)) for name in PACKAGES)


@functools.cache  # of the code that was imported, whatever happens to the folder later
def _git_commit() -> str | None:
    """Return the commit of the folder that holds the package, with ``+`` appended when files differ from it."""
    root = Path(str(dalib.__file__)).resolve().parents[1]
    try:
        run = lambda *args: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        if Path(run("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return run("rev-parse", "HEAD") + ("+" if run("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
