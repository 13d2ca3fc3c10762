"""List of published checkpoints, each with its origin, its check and the inputs that it needs.

The one file is ``third_party_weights/manifest.toml``; its README explains the fields. It travels with the package.
"""

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dalib.core.checks import choose, input_error
from dalib.core.types import ImagePreprocessing, Preprocessing, SpeechPreprocessing, TextPreprocessing

FORMAT = 2
PATH = Path(__file__).with_name("manifest.toml")
KINDS: dict[str, type] = {"image": ImagePreprocessing, "text": TextPreprocessing, "speech": SpeechPreprocessing}


@dataclass(frozen=True)
class Origin:
    """One origin of the file: an address, a repository of the hub, or a member of a Python package.

    ``companions`` are other files there that belong to the model, such as its tokeniser's.
    """

    url: str = ""
    hub: str = ""
    package: str = ""
    version: str = ""
    archive: str = ""
    archive_sha256: str = ""
    member: str = ""
    companions: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.package:
            return f"the package {self.package}=={self.version}"
        return self.url or f"hf://{self.hub}"


@dataclass(frozen=True)
class Entry:
    """One published checkpoint; the fields are those of ``manifest.toml``."""

    name: str
    encoder: str
    table: str
    version: int
    file: str
    licence: str
    trained_on: str
    origins: tuple[Origin, ...]
    preprocessing: Preprocessing
    num_classes: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    sha256_prefix: str = ""
    bytes: int | None = None
    mib: float | None = None
    top1: float | None = None
    check: str = ""
    expected: Mapping[str, float] = field(default_factory=dict)


@functools.cache
def manifest() -> Mapping[str, Entry]:
    """Return all entries by name, in the order of the file."""
    return MappingProxyType(read_manifest(PATH))


def read_manifest(path: Path) -> dict[str, Entry]:
    """Read a manifest; another format, unknown or missing fields, or a name that occurs twice are an InputError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise input_error("manifest", got=f"{path}: {error}", expected="a readable manifest.toml") from None
    if content.get("format") != FORMAT:
        raise input_error("manifest", got=f"format {content.get('format')!r}", expected=f"format {FORMAT}")
    entries: dict[str, Entry] = {}
    listed = content.get("weights")
    if not isinstance(listed, list) or not all(isinstance(raw, dict) for raw in listed):
        raise input_error("manifest", got=f"{path}, with no tables weights", expected="one table [[weights]] each")
    # Every entry is checked when the list is read: a bad one must not wait for the day that it is fetched.
    for raw in listed:
        name = raw.get("name", "?")
        try:
            origins = tuple(_origin(origin) for origin in raw.pop("origins"))
            inputs = _preprocessing(raw.pop("preprocessing"), content.get("preprocessing", {}))
            entry = Entry(**raw, origins=origins, preprocessing=inputs)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise input_error("manifest", got=f"entry {name!r}: {error}", expected="the fields of its README") from None
        if name in entries:
            raise input_error("manifest", got=f"two entries named {name!r}", expected="unique names")
        entries[name] = entry
    return entries


def find_entry(name: str) -> Entry:
    """Return the entry of this name; an unknown one is an InputError with the nearest."""
    return choose("weights", name, manifest())


def entries_of(encoder: str) -> tuple[Entry, ...]:
    """Return the entries of one encoder, its default first."""
    return tuple(entry for entry in manifest().values() if entry.encoder == encoder)


def _origin(raw: Mapping[str, Any]) -> Origin:
    return Origin(**{**raw, "companions": tuple(raw.get("companions", ()))})


def _preprocessing(raw: Mapping[str, Any], bases: Mapping[str, Any]) -> Any:
    values = {**bases[raw["base"]], **raw} if "base" in raw else dict(raw)
    values.pop("base", None)
    kind = KINDS[values.pop("kind")]
    return kind(**{key: _tuple(value) for key, value in values.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
