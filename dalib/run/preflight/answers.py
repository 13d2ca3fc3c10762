"""Answers of the compiler, kept in a folder: a sweep that was broken off goes on where it was."""

import hashlib
import json
from pathlib import Path
from typing import Any

from dalib.core.files import write_atomically

FORMAT = 3
"""Of the answers: another one for other fields."""


def key_of(topology: str, versions: dict[str, str], program: str) -> str:
    """A name for a compilation: what the compiler is given (the program as lowered), for what, its version."""
    text = json.dumps([FORMAT, topology, versions, program], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def kept(folder: str, key: str) -> dict[str, Any] | None:
    """The answer kept under a key, if there is a whole one."""
    if not folder:
        return None
    try:
        return json.loads((Path(folder) / f"{key}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def keep(folder: str, key: str, answer: dict[str, Any]) -> None:
    """Writes an answer; it appears whole or not at all."""
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / f"{key}.json", json.dumps(answer).encode())
