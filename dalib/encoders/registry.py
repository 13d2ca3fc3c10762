"""Encoders, bottlenecks and heads by name, and functions that build them from keyword fields."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from dalib.core.checks import choose, unknown_name
from dalib.core.options import check_arguments
from dalib.encoders import vectors
from dalib.encoders.audio import logmel, wav2vec2
from dalib.encoders.classifier import BOTTLENECKS, HEADS
from dalib.encoders.text import bert, gpt2
from dalib.encoders.vision import (
    convnext,
    densenet,
    detectors,
    digits,
    efficientnet,
    mobilenet,
    resnet,
    squeezenet,
    vgg,
    vit,
)

FAMILIES = (
    *(digits, vectors, resnet, squeezenet, vit, bert, gpt2, mobilenet, efficientnet, convnext, wav2vec2, vgg, logmel),
    *(densenet, detectors),
)
"""One module a family; each has its nets by name in ``ENCODERS``."""
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    name: factory for family in FAMILIES for name, factory in family.ENCODERS.items()
}
"""Factories of all nets by name; each takes the fields of its class."""


def make_encoder(name: str, **fields: Any) -> nn.Module:
    """Build the encoder ``name`` of ``ENCODERS`` with the given fields.

    Raises:
        InputError: on an unknown name or an unknown field, with the nearest known ones; so do the two below.
    """
    return _make("encoder", name, ENCODERS, fields)


def make_bottleneck(name: str, **fields: Any) -> nn.Module | None:
    """Build the bottleneck ``name`` of ``BOTTLENECKS`` with the given fields (``width`` …); ``"none"`` is None."""
    return _make("bottleneck", name, BOTTLENECKS, fields)


def make_head(name: str, num_classes: int, **fields: Any) -> nn.Module:
    """Build the head ``name`` of ``HEADS`` with the given fields."""
    return _make("head", name, HEADS, {"num_classes": num_classes, **fields})


def fields_of(factory: Any) -> set[str]:
    """Return the names of the fields of the class that a factory builds; none for other functions."""
    built = getattr(factory, "func", factory)
    return (
        {f.name for f in dataclasses.fields(built)} - {"name", "parent"} if dataclasses.is_dataclass(built) else set()
    )


def _make(what: str, name: str, table: dict[str, Callable[..., Any]], fields: dict[str, Any]) -> Any:
    factory = choose(what, name, table)
    if known := fields_of(factory):
        for field in fields:
            if field not in known:
                raise unknown_name(f"field of the {what} {name!r}", field, known)
    check_arguments(what, factory, fields)
    return factory(**fields)
