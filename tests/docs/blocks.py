"""Code blocks of the documentation, and how a test runs them."""

import functools
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tyro

from dalib.__main__ import main
from dalib.run.cli import weights

ROOT = Path(__file__).parent.parent.parent
PAGES = {str(path.relative_to(ROOT / "docs")): path for path in sorted((ROOT / "docs").rglob("*.md"))}
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.S | re.M)
QUICK = (
    *("--steps", "4", "--seeds", "1", "--batch-size", "4", "--no-report"),
    *("--log-every", "2", "--evaluate-every", "2", "--save-every", "4"),
)
INSTALLS = ("pip install", "python3 -m venv", ". .venv/bin/activate")
NOT_RUN = {
    "--weights default": "fetches weights",
    "dalib weights fetch": "fetches weights",
    "dalib weights convert": "needs a file of the publisher's",
    "my_data:here": "needs the installed package; tests/test_wheel.py runs it",
    "--topology v5e": "needs the extra preflight",
}
"""Commands that are parsed and no more, by a part of them, each with the reason."""


class Block(NamedTuple):
    """A code block; ``theirs`` is the code of another library."""

    language: str
    theirs: bool
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page in their order."""
    found = FENCE.findall(PAGES[page].read_text(encoding="utf-8"))
    return [Block(language, 'title="theirs"' in rest, text) for language, rest, text in found]


def commands(text: str) -> list[str]:
    """The lines of a shell block, continued ones joined, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.split("  # ")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def write_data(folder: Path) -> None:
    """The files that the pages speak of: those of "Data of your own", and two folders of small images."""
    from PIL import Image

    first = next(block for block in blocks("howto/data.md") if block.language == "python")
    exec(compile(first.text, "howto/data.md", "exec"), {})
    rng = np.random.default_rng(0)
    for domain in ("web", "phone"):
        for label in ("cat", "coffee"):
            (folder / "photos" / domain / label).mkdir(parents=True)
            for i in range(6):
                pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / domain / label / f"{i}.png")


class Parsed(BaseException):
    """Raised when a command line has been understood."""


def parse_command(arguments: list[str], monkeypatch) -> None:
    """Goes as far as a command's options are understood, and no further."""

    def stopped(function):
        @functools.wraps(function)
        def stop(*given, **options):
            raise Parsed

        return stop

    understood = tyro.cli

    def parse(*given, **options):
        understood(*given, **options)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(tyro, "cli", parse)
        for name in ("fetch", "convert"):
            patch.setattr(weights, name, stopped(getattr(weights, name)))
        with pytest.raises(Parsed):
            main(arguments)


def run_command(line: str, monkeypatch) -> None:
    """Runs a ``dalib`` command with few steps, or parses it where :data:`NOT_RUN` says so."""
    arguments = shlex.split(line)[1:]
    if any(part in line for part in NOT_RUN):
        return parse_command(arguments, monkeypatch)
    quick = QUICK if arguments[0] in ("adapt", "demo") else ()
    if arguments[0] == "demo" and "--method" not in arguments:
        quick += ("--method", "source_only", "dan", "--source", "mnist", "--target", "optdigits")
    assert main([*arguments, *quick]) == 0, line


def run_page(page: str, folder: Path, monkeypatch) -> int:
    """Runs all blocks of a page in their order, in ``folder``; returns how many there were."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DALIB_DEVICES", "1")
    write_data(folder)
    known, space, count = set(sys.modules), {"__name__": "page"}, 0
    for block in blocks(page):
        if block.theirs or block.language not in ("python", "bash"):
            continue
        count += 1
        if block.language == "python":
            if name := re.match(r"# (\w+)\.py\n", block.text):
                (folder / f"{name[1]}.py").write_text(block.text, encoding="utf-8")
            exec(compile(block.text, page, "exec"), space)
            continue
        for line in commands(block.text):
            if line.startswith("dalib "):
                run_command(line, monkeypatch)
            elif line.startswith("python -m "):
                assert importlib.util.find_spec(shlex.split(line)[2]) is not None, line
            else:
                assert line.startswith(INSTALLS), line
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]
    return count
