"""Typed options are read from a signature: with annotations, and from defaults alone."""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.options import Count, Number, OneOf, Patterns, Rate, Share, Weight, Widths, checked, options_of

NAN, INF = float("nan"), float("inf")


def plain(*, weight=1, widths=(64, 64), form="square", norm=False, other=None, anything: "Missing" = 5):  # noqa: F821
    return weight


@checked
def typed(
    *,
    weight: Weight = 1.0,
    share: Share = 0.5,
    rate: Rate = 0.0,
    count: Count | None = None,
    widths: Widths = (),
    skip: Patterns = (),
    form: Annotated[str, OneOf({"a": 1, "bee": 2})] = "a",
    word: Literal["yes", "no", 3] = "yes",
    pair: tuple[float, Annotated[Any, Number(0, 1, open_low=True)]] = (0.0, 1.0),
):
    return weight


GOOD = {
    typed: {
        "weight": (0, 0.5, np.float32(2), jnp.ones(()), lambda view: 1.0),
        "share": (0, 1, 0.25),
        "rate": (0, 0.99),
        "count": (None, 1, np.int64(3)),
        "widths": ((), [1, 2]),
        "skip": (["^a", "b$"],),
        "form": ("a", "bee"),
        "word": ("no", 3),
        "pair": ((-5, 0.5), [0.0, 1]),
    },
    plain: {
        "weight": (0.5, -3, lambda view: 1.0),
        "widths": ([1, 2.5],),
        "form": ("x",),
        "norm": (True,),
        "other": ("x",),
    },
}
BAD = {
    typed: {
        "weight": (-1, NAN, INF, "1", None, True, [1], [[1], [1, 2]], {}, 1j, 10**400, jnp.ones(1)),
        "share": (-0.1, 1.01, lambda view: 1.0),
        "rate": (1, NAN),
        "count": (0, 1.0, True, "1"),
        "widths": ((0,), 5, "ab", (1.5,), None),
        "skip": ("^a", ["("], [5]),
        "form": ("b", 5, None, ["a"]),
        "word": ("maybe", "3", 3.0),
        "pair": ((0.0,), 5, (0.0, 0.0), (NAN, 1.0)),
    },
    plain: {"weight": ("x", NAN, [1]), "widths": (5, "ab", ["a"]), "form": (5,), "norm": (1, "yes")},
}


@pytest.mark.parametrize("function", GOOD)
def test_values_are_held_against_their_kind(function):
    call = checked(function)
    for name, values in GOOD[function].items():
        for value in values:
            call(**{name: value})
    for name, values in BAD[function].items():
        for value in values:
            with pytest.raises(InputError, match=f"{name}: got"):
                call(**{name: value})
    with pytest.raises(InputError, match="did you mean 'weight'"):
        call(wieght=1)


def test_all_faults_are_named_at_once_with_what_is_accepted():
    with pytest.raises(InputError, match=r"(?s)typed.share: got 2\n.*in \[0, 1\].*typed.form: got 'be'.*mean 'bee'"):
        typed(share=2, form="be")
    accepted = {name: option.accepts for name, option in options_of(typed).items()}
    assert accepted["count"] == "an integer ≥ 1 or null" and accepted["pair"] == "[a number, a number in (0, 1]]"
    assert options_of(plain)["anything"].accepts == "a number" and options_of(plain)["other"].accepts == "anything"


def test_a_traced_scalar_has_no_value_yet():
    assert jax.jit(lambda w: typed(weight=w))(0.5) == 0.5
