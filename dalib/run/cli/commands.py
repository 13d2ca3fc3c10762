"""Table of ``dalib``'s subcommands; each one's module is imported only when it is called."""

import difflib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import dalib


class Command(NamedTuple):
    """One subcommand.

    Attributes:
        summary: what it does, in one line of the help.
        where: ``module:function``, called with the arguments after its name; returns the exit status.
    """

    summary: str
    where: str


COMMANDS: dict[str, Command] = {
    "demo": Command("real digits, four methods: a table and a report in minutes", "dalib.run.cli.demo:command"),
    "adapt": Command("adapt on data of your own: folders, lists, .npz, .csv, .jsonl", "dalib.run.own.adapt:command"),
    "select": Command("choose among runs without target labels; expected accuracy", "dalib.run.cli.select:command"),
    "report": Command("tables and one HTML page of finished runs", "dalib.report.__main__:cli"),
    "methods": Command(
        "all methods with setting, level, paper, and what tests them", "dalib.run.cli.catalogue:command"
    ),
    "encoders": Command(
        "encoders with width, parameters, weights; bottlenecks, heads", "dalib.run.cli.encoders:command"
    ),
    "weights": Command("list, fetch, convert and verify published weights", "dalib.run.cli.weights:cli"),
    "data": Command("list, check and prepare data sets; says where they come from", "dalib.data.__main__:main"),
    "preflight": Command("compile a step for a TPU slice: does it fit?", "dalib.run.preflight.__main__:main"),
}
"""Subcommands by name, in the order of the help."""

EXAMPLES = """examples:
  dalib demo
  dalib adapt --source photos/web --target photos/phone --method dann
  dalib adapt --source a.npz --target b.npz --method own_package.methods:factory
  dalib report runs/"""


def help_text() -> str:
    """Write the help of ``dalib`` itself; fits a screen of 80 × 24."""
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dalib COMMAND [OPTIONS]",
            "",
            "Domain adaptation in JAX: from a labelled source to a target without labels.",
            "",
            *lines,
            "",
            EXAMPLES,
            "",
            "dalib COMMAND --help lists a command's options; dalib --version the version.",
        ]
    )


def run(arguments: Sequence[str]) -> int:
    """Run the subcommand that ``arguments`` begin with; without one, print the help.

    Returns:
        The exit status: 2 for an unknown command or bad input.
    """
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # what reads the output has seen enough (head, less)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _run(arguments: Sequence[str]) -> int:
    name, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if name in ("-V", "--version"):
        print(f"dalib {dalib.__version__}")
        return 0
    if name not in COMMANDS:
        print(f"error: {_unknown(name)}", file=sys.stderr)
        return 2
    module, _, function = COMMANDS[name].where.partition(":")
    # Whatever module asks for a missing package, the error is told here, with the extra that has it.
    with named(f"dalib {name}", rest):
        try:
            return getattr(importlib.import_module(module), function)(rest)
        except ModuleNotFoundError as error:
            from dalib.run.cli.extras import as_missing

            if (reason := as_missing(error)) is None:
                raise
            print(f"\nerror: {reason}", file=sys.stderr)
            return 2


@contextmanager
def named(program: str, arguments: Sequence[str]) -> Iterator[None]:
    """Let usage lines and run records say ``dalib NAME …``, however Python was started."""
    before = sys.argv
    sys.argv = [program, *arguments]
    try:
        yield
    finally:
        sys.argv = before


def _unknown(name: str) -> str:
    lines = [f"command: got {name!r}", f"  expected: one of {', '.join(COMMANDS)}"]
    if close := difflib.get_close_matches(name, COMMANDS, n=3):
        lines.append(f"  what to do: did you mean {' or '.join(close)}?")
    return "\n".join(lines)
