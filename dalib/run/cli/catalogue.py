"""Every method in one table, generated from the code, and the options of single ones.

dalib methods                 # a table for the terminal
dalib methods dann cdan       # their options: what each accepts, its default, what it is
dalib methods --markdown      # with the hyper-parameters
dalib methods --json          # one JSON list

The last two columns say what tests hold a method to, read off the tables that these tests run: ``golden`` names the
golden cases that the method's own factory must give (``tests/golden/methods.py``); ``contract`` says whether the
contract runs in the default suite or with ``-m slow``, and which of its tests are not defined for the method. Without
the ``tests`` folder and pytest they show "?".
"""

import importlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import docstring_parser
import jax
import jax.numpy as jnp
import tyro

from dalib.core.checks import choose
from dalib.core.options import options_of
from dalib.encoders import MLP, Classifier
from dalib.methods import NET_GROUPS, TEST_TIME, Method
from dalib.methods.base import SUPERVISED
from dalib.methods.classic import CLASSIC
from dalib.run.cli.main import main
from dalib.run.registry import ALL_METHODS, METHODS
from dalib.train import init_state, make_optimizer


@dataclass(frozen=True)
class Options:
    """Options of ``dalib methods``."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Methods to show the options of; package.module:factory is one of your own."""
    markdown: bool = False
    """Print a Markdown table."""
    json: bool = False
    """Print a JSON list of objects, one a method."""
    method: tuple[str, ...] = ()
    """Only these; package.module:factory is one of your own. Default: dalib's and those of installed packages."""


class Row(NamedTuple):
    """The table's cells for one method; all are read off the code."""

    name: str
    what: str
    setting: str
    level: str
    updates: str
    own: str
    batch_norm: str
    hyperparameters: str
    paper: str
    golden: str
    contract: str


class Status(NamedTuple):
    """Golden cases by method, and the contract that it is in, from the tests' own tables."""

    golden: Callable[[str], str]
    contract: Callable[[str], str]


def status() -> Status:
    """Read the tables that the tests run over."""
    try:
        contract = importlib.import_module("tests.contract.status").contract
        checks = importlib.import_module("tests.golden.methods").CHECKS
    except ModuleNotFoundError:  # no clone of the repository around it, or no pytest
        return Status(lambda name: "?", lambda name: "?")
    return Status(lambda name: ", ".join(check.case for check in checks if check.method == name), contract)


def level(method: Method, own: list[str]) -> str:
    """Say which part of the seam a method uses: term, penalty (parameters, state or passes of its own) or updates."""
    if method.updates != (SUPERVISED,):
        return "updates"
    if not method.penalties:
        return "none"
    return "penalty" if own or method.hooks.after_step or method.hooks.refresh else "term"


def rows(names: Sequence[str] = ()) -> list[Row]:
    """Return one row a method of :data:`dalib.run.registry.METHODS`, in its order, then test-time and classic ones.

    Args:
        names: of the nets' methods that are wanted; without it all methods.
    """
    # A small net on shapes alone: whether a method holds parameters or state shows only in its first state.
    net = Classifier(MLP((8,), norm=True), 4)
    found, tested = [], status()
    for name in names or METHODS:
        factory = choose("method", name, METHODS)
        method = factory()

        def init(key: jax.Array, method: Method = method):
            sample = jnp.zeros((4, 3))
            optimizer, convention = make_optimizer(learning_rate=0.1), method.needs.batch_norm
            return init_state(key, net, method, optimizer, sample, batch_norm=convention, target_size=4)

        state = jax.eval_shape(init, jax.random.key(0))
        own = [g for g in state.params if g not in NET_GROUPS]
        held = own + (["state"] if jax.tree.leaves(state.method) else [])
        updates = " · ".join(u.name + (f" ×{u.repeats}" if u.repeats > 1 else "") for u in method.updates)
        found.append(
            Row(
                name=name,
                what=first_line(factory),
                setting=method.needs.setting,
                level=level(method, held),
                updates=updates,
                own=", ".join(held),
                batch_norm=method.needs.batch_norm,
                hyperparameters=signature(factory),
                paper=reference(factory),
                golden=tested.golden(name),
                contract=tested.contract(name),
            )
        )
    # Test-time and classic methods have no first state to look at, so their level is said here.
    others: dict[str, tuple[Mapping[str, Any], str, str]] = {
        "test_time": (TEST_TIME, "test time", "adapts to a stream")
    }
    others |= {"classic": (CLASSIC, "closed set, on features", "closed form")}
    for kind, (table, setting, how) in others.items() if not names else ():
        for name, factory in table.items():
            found.append(
                Row(
                    name=f"{kind}.{name}",
                    what=first_line(factory),
                    setting=setting,
                    level=how,
                    updates="",
                    own="",
                    batch_norm="",
                    hyperparameters=signature(factory),
                    paper=reference(factory),
                    golden=tested.golden(f"{kind}.{name}"),
                    contract=tested.contract(f"{kind}.{name}"),
                )
            )
    return found


def first_line(factory: object) -> str:
    """Return the first line of the module's docstring: the method's name in words."""
    text = inspect.getdoc(inspect.getmodule(factory)) or ""
    return text.split("\n\n")[0].replace("\n", " ").strip().rstrip(".")


def signature(factory: object) -> str:
    """List the names of the hyper-parameters."""
    return ", ".join(inspect.signature(factory).parameters)  # type: ignore[arg-type]


def reference(factory: object) -> str:
    """Find venue and year, or arXiv number, in the docstring."""
    text = f"{inspect.getdoc(factory) or ''} {inspect.getdoc(inspect.getmodule(factory)) or ''}"
    text = re.sub(r"\s+", " ", text)
    found = re.search(r"arXiv[: ](\d{4}\.\d{4,5})", text)
    if found:
        return f"arXiv {found[1]}"
    found = re.search(r"\b([A-Z][A-Za-z-]+ (?:19|20)\d\d)\b", text) or re.search(r"\b((?:19|20)\d\d)\b", text)
    return found[1] if found else ""


def plain(text: str) -> str:
    """Put a docstring's text on one line, without markup."""
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", " ".join(text.split())).replace("``", "")


def described(name: str) -> str:
    """List a method's options from its signature and docstring, as ``--options name.option=value`` takes them."""
    factory = choose("method", name, ALL_METHODS)
    known = docstring_parser.parse(inspect.getdoc(factory) or "").params
    said = {own.strip(): p.description or "" for p in known for own in p.arg_name.split(",")}
    lines = [f"{name}: {first_line(factory)}"]
    for option in options_of(factory).values():
        default = getattr(option.default, "__name__", json.dumps(option.default, default=str))
        if option.default is inspect.Parameter.empty:
            continue
        lines.append(f"  {name}.{option.name} = {default}    {option.accepts}")
        lines += textwrap.wrap(
            plain(said.get(option.name, "")), 100, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines if len(lines) > 1 else [*lines, "  no options"])


TITLES = {
    "name": "name",
    "what": "method",
    "setting": "setting",
    "level": "level",
    "updates": "updates in a step",
    "own": "own parameters",
    "batch_norm": "BatchNorm",
    "hyperparameters": "hyper-parameters",
    "paper": "paper",
    "golden": "golden",
    "contract": "contract",
}


def show(options: Options) -> None:
    """Print the table."""
    if options.names:
        print("\n\n".join(described(name) for name in options.names))
        return
    table = rows(options.method)
    if options.json:
        print(json.dumps([row._asdict() for row in table], ensure_ascii=False, indent=1))
        return
    if options.markdown:
        print("| " + " | ".join(TITLES[field] for field in Row._fields) + " |")
        print("|" + "---|" * len(Row._fields))
        for row in table:
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        return
    # The two longest columns would not fit a terminal; --markdown has them.
    shown = [field for field in Row._fields if field not in ("what", "hyperparameters")]
    lines = [[TITLES[field] for field in shown], *([getattr(row, field) for field in shown] for row in table)]
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(shown))]
    for cells in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return main(show, Options, __doc__ or "", arguments)


if __name__ == "__main__":
    sys.exit(command())
