"""Names that other packages bring: entry points, and ``package.module:attribute``.

An entry point gives an object a short name in a package's own metadata. A name with a colon says itself where the
object is; it is imported from the environment or the working folder, and no text is ever evaluated.
"""

import functools
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, NamedTuple

from dalib.core.checks import InputError, choose, input_error
from dalib.core.options import check_arguments

GROUPS = {"method": "dalib.methods", "encoder": "dalib.encoders", "dataset": "dalib.datasets"}
"""Groups of entry points by what they name."""

Factory = Callable[..., Any]


class Origin(NamedTuple):
    """Origin of another package's object, ``package.module:attribute``, with name and version of the installed package.

    The latter is empty for a file in the working folder.
    """

    spec: str
    distribution: str


@functools.cache
def installed(kind: str) -> Mapping[str, tuple[Origin, ...]]:
    """List entry points of the installed packages by name; nothing is imported. Two packages may claim one name."""
    found: dict[str, tuple[Origin, ...]] = {}
    for point in metadata.entry_points(group=GROUPS[kind]):
        package = f"{point.dist.metadata['Name']} {point.dist.version}" if point.dist else ""
        origin = Origin(point.value, package)
        # An environment can list one distribution twice: an editable install and its folder.
        if origin not in found.get(point.name, ()):
            found[point.name] = (*found.get(point.name, ()), origin)
    return {name: tuple(sorted(origins)) for name, origins in found.items()}


def origin_of(kind: str, name: str, builtin: Mapping[str, Any]) -> Origin | None:
    """Return the origin of a name; None for a name of dalib's own, or one that is not known.

    Raises an InputError for a name that two packages claim, or one that dalib has as well.
    """
    if ":" in name:
        return Origin(name, distribution_of(name.partition(":")[0]))
    claims = installed(kind).get(name, ())
    owners = [f"{origin.spec} of {origin.distribution or 'an unknown package'}" for origin in claims]
    # A package may not take a name of dalib's: the same command would change with what is installed.
    if claims and name in builtin:
        owners.append("dalib itself")
    if len(owners) > 1:
        raise input_error(
            kind,
            got=f"{name!r}, which {len(owners)} packages claim: {', '.join(owners)}",
            expected="a name that one package has",
            todo=f"write it as package.module:attribute, for example {claims[0].spec}",
        )
    return claims[0] if claims else None


def distribution_of(module: str) -> str:
    """Return name and version of the installed package that a module belongs to, empty where there is none."""
    names = metadata.packages_distributions().get(module.partition(".")[0], [])
    return " and ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))


def import_object(argument: str, spec: str) -> Any:
    """Import the object that ``package.module:attribute`` names; the attribute may have dots (``module:Class.make``).

    Raises an InputError for another form, a module that is missing or fails on import, or no such attribute.
    """
    module_name, _, path = spec.partition(":")
    form = "package.module:attribute, for example own_package.methods:my_method"
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise input_error(argument, got=repr(spec), expected=form)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # at the end: a file here hides no installed package
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A missing import inside the module is its fault, not a wrong name.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise fault(argument, spec, error) from error
        raise input_error(
            argument,
            got=f"{spec!r}, and there is no module {error.name!r}",
            expected="a module of an installed package, or of a file in the working folder",
            todo=f"install the package into this environment ({sys.prefix}), or mend the name",
        ) from None
    except Exception as error:
        raise fault(argument, spec, error) from error
    for part in path.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_") and callable(getattr(found, name, None))]
            raise input_error(
                argument,
                got=f"{spec!r}, and {getattr(found, '__name__', found)} has no {part!r}",
                expected=f"one of its names: {', '.join(public[:20]) or 'it has none'}",
            )
        found = getattr(found, part)
    return found


def fault(argument: str, spec: str, error: BaseException) -> InputError:
    """Return the error for code of another package that failed: its message, and the place."""
    frames = traceback.extract_tb(error.__traceback__)
    # Folders of their own code: importlib and this file are on the way to it.
    theirs = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    place = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
    return input_error(
        argument,
        got=f"{spec!r}, which failed with {type(error).__name__}: {error}{place}",
        expected="code that can be imported and called",
    )


class Table(Mapping[str, Factory]):
    """Factories by name: dalib's own, then entry points, then any ``package.module:attribute``.

    Factories of other packages come wrapped: their results are handed to ``check``, and their failures are InputErrors.
    Iterating gives dalib's names and entry points, and imports nothing.
    """

    def __init__(self, kind: str, builtin: Mapping[str, Factory], check: Callable[[str, Any], Any]) -> None:
        self.kind, self.builtin, self.check = kind, builtin, check
        self._wrapped: dict[Origin, Factory] = {}

    def __getitem__(self, name: str) -> Factory:
        origin = origin_of(self.kind, name, self.builtin)
        if origin is None:
            return choose(self.kind, name, self.builtin)
        if origin not in self._wrapped:
            self._wrapped[origin] = self._wrap(name, origin)
        return self._wrapped[origin]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (":" in name or name in self.builtin or name in installed(self.kind))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.builtin, *installed(self.kind))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def origin(self, name: str) -> Origin | None:
        """Return the origin of another package's name; None for dalib's own."""
        return origin_of(self.kind, name, self.builtin)

    def _wrap(self, name: str, origin: Origin) -> Factory:
        factory = import_object(self.kind, origin.spec)
        if not callable(factory):
            expected = f"a function or class that makes a {self.kind}"
            raise input_error(self.kind, got=f"{name!r}, a {type(factory).__name__}", expected=expected)
        try:
            # Options are read from the signature; one that has none cannot be checked.
            signature = inspect.signature(factory)
        except (TypeError, ValueError):
            expected = "a function or class of Python, whose arguments can be read"
            raise input_error(self.kind, got=f"{name!r}", expected=expected) from None

        @functools.wraps(factory, updated=())
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                # Bind first: a TypeError of the call itself could come from inside the factory.
                signature.bind(*arguments, **options)
            except TypeError as error:
                got = f"options {', '.join(options) or 'none'} for {name!r}: {error}"
                expected = f"those of its signature {signature}"
                raise input_error(self.kind, got=got, expected=expected) from None
            # Their options get the same checks and words as ours.
            check_arguments(name, factory, options)
            try:
                made = factory(*arguments, **options)
            except InputError:
                raise
            except Exception as error:
                raise fault(self.kind, name, error) from error
            return self.check(name, made)

        return call
