"""Tables of names for the command line: methods, nets and data sets of dalib and of other packages.

A factory of a method returns a :class:`dalib.methods.Method`. A factory of an encoder returns what
:func:`dalib.encoders.as_encoder` takes: a module of Flax Linen, Flax NNX or Equinox, or pure functions. A data set is a
function of the data folder that returns domains by name.
"""

import functools
from collections.abc import Mapping
from typing import Any

from dalib.core.checks import InputError, input_error
from dalib.core.plugins import Origin, Table
from dalib.data import Domain, benchmarks
from dalib.encoders import as_encoder
from dalib.encoders.adapters.compose import ACCEPTED
from dalib.encoders.registry import ENCODERS as OWN_ENCODERS
from dalib.encoders.registry import make_encoder as make_own_encoder
from dalib.methods import METHODS as OWN_METHODS
from dalib.methods import TEST_TIME, Method
from dalib.methods.classic import CLASSIC


def check_method(name: str, made: Any) -> Method:
    """Return what a method's factory made, if it is a method."""
    if not isinstance(made, Method):
        raise input_error(
            "method",
            got=f"{name!r}, which returned a {type(made).__name__}",
            expected="a dalib.methods.Method",
            todo="make it of a term by dalib.methods.term, or build a Method",
        )
    return made


def check_encoder(name: str, made: Any) -> Any:
    """Return what an encoder's factory made, if it is a net of one of the libraries that dalib reads."""
    try:
        as_encoder(made)
    except InputError:
        got = f"{name!r}, which returned a {type(made).__name__}"
        raise input_error("encoder", got=got, expected=ACCEPTED) from None
    return made


def check_domains(name: str, made: Any) -> dict[str, Domain]:
    """Return what a data set's function made, if it is domains by name."""
    if not isinstance(made, Mapping) or not all(isinstance(domain, Domain) for domain in made.values()) or not made:
        raise input_error(
            "dataset",
            got=f"{name!r}, which returned a {type(made).__name__}",
            expected="a dict of dalib.data.Domain by name, with at least one",
        )
    return dict(made)


METHODS = Table("method", OWN_METHODS, check_method)
"""Methods of nets by name, see :data:`dalib.methods.METHODS`."""
ALL_METHODS = Table("method", {**OWN_METHODS, **TEST_TIME, **CLASSIC}, check_method)
"""The same with test-time and closed-form methods, for options and messages of commands that run all of them."""
ENCODERS = Table("encoder", OWN_ENCODERS, check_encoder)
"""Encoders by name, see :data:`dalib.encoders.ENCODERS`."""
DATASETS = Table(
    "dataset", {name: functools.partial(benchmarks.load, name) for name in benchmarks.BENCHMARKS}, check_domains
)
"""Data sets by name, ``(data_dir) -> {name: Domain}``, see :data:`dalib.data.benchmarks.BENCHMARKS`."""


def make_encoder(name: str, **fields: Any) -> Any:
    """Build an encoder by its name with the given fields.

    Raises:
        InputError: on an unknown name or field, or a factory of another package that fails.
    """
    if ENCODERS.origin(name) is None:
        return make_own_encoder(name, **fields)
    return ENCODERS[name](**fields)


def origins(**names: str) -> dict[str, dict[str, str]]:
    """Return the origins of other packages' names for the run record; empty when all are dalib's own.

    Args:
        **names: of a method, an encoder, by these words.
    """
    tables: dict[str, Table] = {"method": METHODS, "encoder": ENCODERS}
    found: dict[str, Origin | None] = {kind: tables[kind].origin(name) for kind, name in names.items()}
    return {kind: origin._asdict() for kind, origin in found.items() if origin is not None}
