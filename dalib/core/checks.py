"""Checks at the public doors: one error type and a few small functions for its messages.

A leaf module: it imports nothing of dalib's and every room may import it.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import jax.numpy as jnp

T = TypeVar("T")


class InputError(ValueError):
    """A mistake in the caller's arguments; the message names the argument and tells what to do.

    Command lines print it without a traceback and exit with status 2.
    """


def input_error(argument: str, *, got: object, expected: object, todo: str = "") -> InputError:
    """Build the error that every door raises: the argument's name, what came, what was expected, what to do."""
    lines = [f"{argument}: got {got}", f"  expected: {expected}"]
    if todo:
        lines.append(f"  what to do: {todo}")
    return InputError("\n".join(lines))


def check_samples(**samples: Any) -> None:
    """Check that every argument is a floating ``[n, d]`` array with n, d ≥ 1, all of the same width d."""
    first_name, first = next(iter(samples.items()))
    for name, x in samples.items():
        shape = getattr(x, "shape", None)
        if shape is None or len(shape) != 2 or shape[0] < 1 or shape[1] < 1:
            raise input_error(
                name,
                got=f"shape {shape}" if shape is not None else type(x).__name__,
                expected="a sample [n, d] with n ≥ 1 rows and d ≥ 1 columns",
                todo="flatten each example to one row of features",
            )
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise input_error(name, got=f"dtype {x.dtype}", expected="a floating dtype", todo="cast to float32 first")
        if shape[1] != first.shape[1]:
            raise input_error(
                name,
                got=f"shape {shape}, and {first_name} has shape {first.shape}",
                expected="both samples to have the same number of columns d (n and m may differ)",
            )


def check_positive(**values: Any) -> None:
    """Check that numbers are finite and > 0; arrays and traced values pass."""
    for name, value in values.items():
        if not hasattr(value, "shape") and not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise input_error(name, got=repr(value), expected="a finite number > 0")


def choose(what: str, name: str, table: Mapping[str, T]) -> T:
    """Look ``name`` up in ``table``; an unknown name raises an :class:`InputError` with the nearest names."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise unknown_name(what, name, table)


class Names(dict[str, T]):
    """A table of named things; an unknown name raises an :class:`InputError` with the nearest names."""

    def __init__(self, what: str, table: Mapping[str, T]) -> None:
        super().__init__(table)
        self.what = what

    def __missing__(self, name: str) -> T:
        raise unknown_name(self.what, name, self)


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not known, with a did-you-mean."""
    known = sorted(known)
    # A wrong name may be of any type, from a file of options.
    close = difflib.get_close_matches(name, known, n=3) if isinstance(name, str) else []
    todo = f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return input_error(what, got=repr(name), expected=f"one of {', '.join(known)}", todo=todo)
