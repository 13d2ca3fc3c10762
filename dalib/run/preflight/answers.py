"""Answers of the compiler, kept in a folder: a broken-off sweep goes on where it was."""

import hashlib
import json
from pathlib import Path
from typing import Any

from dalib.core.files import write_atomically

FORMAT = 3
"""Version of the answers' fields; a change of fields takes a new number."""


def key_of(topology: str, versions: dict[str, str], program: str) -> str:
    """Name a compilation by the lowered program, the topology and the versions."""
    text = json.dumps([FORMAT, topology, versions, program], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def kept(folder: str, key: str) -> dict[str, Any] | None:
    """Return the answer kept under a key, if there is a whole one."""
    if not folder:
        return None
    try:
        return json.loads((Path(folder) / f"{key}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def keep(folder: str, key: str, answer: dict[str, Any]) -> None:
    """Write an answer; it appears whole or not at all."""
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / f"{key}.json", json.dumps(answer).encode())
