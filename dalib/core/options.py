"""Typed options: the accepted values of each argument of a function, read from the function's own signature.

An author annotates an argument with one of the aliases here, or with ``Annotated[type, Number(0, 1)]`` or
``Annotated[str, OneOf(TABLE)]``, and puts :func:`checked` on the function. Without annotations the default tells the
kind: a number stays a finite number, a word a word, a list a list of the same kind. InputErrors name all faults at
once.
"""

import dataclasses
import difflib
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np

from dalib.core.checks import InputError, input_error, unknown_name
from dalib.core.ranges import Count as Count
from dalib.core.ranges import Natural as Natural
from dalib.core.ranges import NonNegative as NonNegative
from dalib.core.ranges import Number as Number
from dalib.core.ranges import OneOf as OneOf
from dalib.core.ranges import Pattern as Pattern
from dalib.core.ranges import Patterns as Patterns
from dalib.core.ranges import Positive as Positive
from dalib.core.ranges import Rate as Rate
from dalib.core.ranges import Real as Real
from dalib.core.ranges import Several as Several
from dalib.core.ranges import Share as Share
from dalib.core.ranges import Weight as Weight
from dalib.core.ranges import Widths as Widths

F = TypeVar("F", bound=Callable[..., Any])


class Option(NamedTuple):
    """One argument: its name, its values in words and as a test, and its default or ``inspect.Parameter.empty``."""

    name: str
    accepts: str
    holds: Callable[[Any], bool]
    default: Any


@functools.cache
def options_of(function: Any) -> Mapping[str, Option]:
    """Return the arguments of a function or class by name, apart from ``*args`` and ``**kwargs``."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:  # an annotation in quotes that names nothing here
        signature = inspect.signature(function)
    found = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            found[name] = Option(name, *_kind(parameter.annotation, parameter.default), parameter.default)
    return types.MappingProxyType(found)


def check_arguments(
    owner: str, function: Callable[..., Any], arguments: Mapping[str, Any], *, complete: bool = False
) -> None:
    """Check values by name against the arguments of ``function``, which is called ``owner`` in messages.

    A function with ``**kwargs`` takes other names as well; ``complete`` requires those without a default.
    """
    known = options_of(function)
    needed = [o for o in known.values() if complete and o.default is inspect.Parameter.empty]
    # Missing names first, then unknown ones and values: one message for all.
    faults = [
        input_error(f"{owner}.{o.name}", got="none", expected=o.accepts) for o in needed if o.name not in arguments
    ]
    for name, value in arguments.items():
        if name not in known:
            if not any(p.kind == p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
                faults.append(unknown_name(f"option of {owner}", name, known))
        elif not known[name].holds(value):
            faults.append(refused(f"{owner}.{name}", value, known[name].accepts))
    if faults:
        raise InputError("\n".join(map(str, faults)))


def check_fields(given: Any, owner: str = "") -> None:
    """Check every field of a dataclass, and those of dataclasses in it, as :func:`check_arguments` does."""
    kind: Any = type(given)
    faults, known = [], options_of(kind)
    for name, value in vars(given).items():
        if dataclasses.is_dataclass(value):
            try:
                check_fields(value, f"{owner}{name}.")
            except InputError as error:
                faults.append(error)
        elif name in known and not known[name].holds(value):
            faults.append(refused(f"{owner}{name}", value, known[name].accepts))
    if faults:
        raise InputError("\n".join(map(str, faults)))


def refused(argument: str, value: Any, accepts: str) -> InputError:
    """Return the error for a value that an argument does not accept, with a did-you-mean among names."""
    words = accepts.removeprefix("one of ").split(", ") if accepts.startswith("one of ") else []
    close = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
    return input_error(argument, got=shown, expected=accepts, todo=f"did you mean {close[0]!r}?" if close else "")


def checked(function: F) -> F:
    """Check the arguments of every call against the function's own signature, see :func:`check_arguments`."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        check_arguments(
            function.__name__, function, {**dict(zip(options_of(function), arguments, strict=False)), **options}
        )
        return function(*arguments, **options)

    return call  # type: ignore[return-value]


# What an annotation, or a default without one, accepts: in words, and as a test of a value.

Kind = tuple[str, Callable[[Any], bool]]
ANYTHING: Kind = ("anything", lambda value: True)
WORDS: Kind = ("a word", lambda value: isinstance(value, str))
SWITCH: Kind = ("true or false", lambda value: isinstance(value, bool | np.bool_))
NONE: Kind = ("null", lambda value: value is None)
FUNCTION: Kind = ("a function, from Python", callable)
PLAIN = {bool: SWITCH, str: WORDS, type(None): NONE, None: NONE}


def _kind(annotation: Any, default: Any) -> Kind:
    if annotation in (inspect.Parameter.empty, Any) or isinstance(annotation, str):
        return _like(default)
    origin, inner = get_origin(annotation), get_args(annotation)
    # A rule of ours says more than the type that it annotates.
    if origin is Annotated:
        for rule in inner[1:]:
            if isinstance(rule, Number | OneOf | Pattern):
                return str(rule), rule.holds
        return _kind(inner[0], default)
    # A union accepts what any of its members does; its words are those of all.
    if origin in (Union, types.UnionType):
        kinds = list(dict(_kind(each, inspect.Parameter.empty) for each in inner).items())
        return " or ".join(text for text, _ in kinds), lambda value: any(holds(value) for _, holds in kinds)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}", lambda value: type(value) in map(type, inner) and value in inner
    if annotation in PLAIN:
        return PLAIN[annotation]
    if annotation in (int, float):
        rule = Number(whole=annotation is int)
        return str(rule), rule.holds
    if origin is tuple and Ellipsis not in inner:
        return _fixed([_kind(each, inspect.Parameter.empty) for each in inner])
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _each(_kind(inner[0], inspect.Parameter.empty) if inner else ANYTHING)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dict by name", lambda value: isinstance(value, Mapping)
    # Classes of ours, meshes and those of optax are checked by type; others stay open.
    if isinstance(annotation, type) and annotation.__module__.startswith(("dalib.", "jax._src.mesh", "optax.")):
        return f"a {annotation.__qualname__}", lambda value: isinstance(value, annotation)
    return FUNCTION if origin is Callable else ANYTHING


def _like(default: Any) -> Kind:
    """Return the kind of a default."""
    if type(default) in (bool, str):
        return PLAIN[type(default)]
    if isinstance(default, int | float | np.number):
        return "a number", Number(varies=True).holds
    if isinstance(default, tuple | list) and default:
        # A list of one kind takes more of that kind; a mixed default says nothing.
        kinds = {text: holds for text, holds in map(_like, default)}
        return _each(next(iter(kinds.items()))) if len(kinds) == 1 else ANYTHING
    return ANYTHING


def _each(kind: Kind) -> Kind:
    text, holds = kind
    return f"a list, each entry {text}", lambda value: _listed(value) and all(map(holds, value))


def _fixed(kinds: list[Kind]) -> Kind:
    tests = [holds for _, holds in kinds]
    return (
        f"[{', '.join(text for text, _ in kinds)}]",
        lambda value: (
            _listed(value) and len(value) == len(tests) and all(t(v) for t, v in zip(tests, value, strict=True))
        ),
    )


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
