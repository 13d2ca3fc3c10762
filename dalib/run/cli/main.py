"""Entry of every command: memory, processes, errors, signals; and the lines that show progress."""

import contextlib
import io
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import jax
import tyro

from dalib.core.checks import InputError, choose
from dalib.core.locks import releasing
from dalib.core.platform import keep_memory
from dalib.run.cli.extras import as_missing
from dalib.train import NonFiniteError, Preempted, StorageError
from dalib.train.devices import peers, processes
from dalib.train.devices.processes import leads
from dalib.train.termination import on_sigterm

# From a command line to a function and an exit status, the same for all experiments.


T = TypeVar("T")


def main(
    function: Callable[[T], Any], options: type[T], description: str, arguments: Sequence[str] | None = None
) -> int:
    """Parses a command line into ``options``, calls ``function``, and turns input errors into exit status 2.

    A package that is missing is one, where an extra of ``dalib-jax`` has it.
    A loss that is not finite or a full disk ends with status 1, an interrupt with 130, SIGTERM with 0 as soon as the
    run under way has saved (:mod:`dalib.train.termination`); all say how to go on. Memory that is freed stays with the
    process (:func:`dalib.core.platform.keep_memory`) unless ``DALIB_KEEP_MEMORY=0``. One of several processes
    (:func:`dalib.train.devices.processes.initialize`) joins the others first; process 0 alone prints what comes out.

    Flags must be written out: an unknown or abbreviated one is an error with a did-you-mean.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parsed = tyro.cli(options, args=arguments, description=description, prog=_program_name())
        if choose("DALIB_KEEP_MEMORY", os.environ.get("DALIB_KEEP_MEMORY") or "1", {"0": False, "1": True}):
            keep_memory()
        processes.initialize()
        with contextlib.ExitStack() as quiet:
            if not processes.leads():
                quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
            quiet.enter_context(on_sigterm())
            quiet.enter_context(releasing())
            function(parsed)
        processes.from_each(0)  # whoever ends while others are at work ends them
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (reason := as_missing(error)) is None:
            raise
        print(f"\nerror: {reason}", file=sys.stderr)
        return 2
    except (NonFiniteError, StorageError) as error:
        print(f"\nstopped: {error}", file=sys.stderr)
        if isinstance(error, StorageError) and processes.process_count() > 1:
            peers.end(1)  # the others have other disks, and would wait for this one
        return 1
    except jax.errors.JaxRuntimeError as error:
        if processes.process_count() == 1:
            raise
        peers.await_news(str(error).splitlines()[0][:100])
    except Preempted as reason:
        print(f"\nterminated, {reason}; the same command goes on from there", file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def typed(module: str) -> str:
    """The command as it was typed, for run records; ``module`` is what ``python -m`` runs outside of ``dalib``."""
    called = sys.argv[0] if sys.argv[0].startswith("dalib ") else f"python -m {module}"
    return f"{called} {shlex.join(sys.argv[1:])}".strip()


def _program_name() -> str | None:
    """How the running command was named, for the usage line."""
    if sys.argv[0].startswith("dalib "):  # see dalib.run.cli.commands
        return sys.argv[0]
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name}" if spec else None


# Progress while runs go on: a live line on a terminal with rich (extra ``demo``), else a plain line now and then.


PLAIN_SECONDS = 10.0


class Progress(NamedTuple):
    """Callbacks of the display.

    Attributes:
        start: ``(title, steps already taken, runs)``: a run begins, or several that go on together.
        step: ``(steps taken, text)``: where it is, with loss terms and accuracy as text.
        end: ``(text)``: it is over.
    """

    start: Callable[..., None]
    step: Callable[[int, str], None]
    end: Callable[[str], None]


def _bar() -> Any:
    """The live display; rich is an extra, so it is imported here."""
    import rich.console
    import rich.progress

    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=20),
        rich.progress.TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[text]}"),
        console=rich.console.Console(stderr=True),
    )


@contextmanager
def show_progress(runs: int, steps: int) -> Iterator[Progress]:
    """Shows ``runs`` runs of ``steps`` steps each; time left counts all of them. Process 0 alone does."""
    shows = leads()
    live = shows and sys.stderr.isatty() and find_spec("rich") is not None
    bar = _bar() if live else None
    began = time.monotonic()
    state: dict[str, Any] = {"done": 0, "title": "", "spoken": -PLAIN_SECONDS, "first": 0, "runs": 1}
    with bar if bar is not None else nullcontext():
        whole = one = 0
        if bar is not None:
            whole = bar.add_task("all runs", total=runs * steps, text="")
            one = bar.add_task("", total=steps, text="")

        def draw(task: int, **values: Any) -> None:
            if bar is not None:
                bar.update(task, **values)

        def say(step: int, text: str, force: bool = False) -> None:
            now = time.monotonic()
            if not shows or live or not (force or now - state["spoken"] > PLAIN_SECONDS):
                return
            state["spoken"] = now
            taken = state["done"] * steps + step * state["runs"]
            worked = taken - state["first"]
            left = (now - began) / worked * (runs * steps - taken) if worked > 0 else float("nan")
            eta = f"{left / 60:.1f} min left" if left == left else ""
            now_at = f"{state['done'] + 1}" + (f"–{state['done'] + state['runs']}" if state["runs"] > 1 else "")
            print(f"[{now_at}/{runs}] {state['title']}  step {step}/{steps}  {text}  {eta}", file=sys.stderr)
            sys.stderr.flush()

        def start(title: str, step: int, together: int = 1) -> None:
            state["title"], state["runs"] = title, together
            state["first"] += step * together
            draw(one, description=title, completed=step, text="")
            say(step, "", force=state["done"] == 0)

        def advance(step: int, text: str) -> None:
            draw(one, completed=step, text=text)
            draw(whole, completed=state["done"] * steps + step * state["runs"])
            say(step, text)

        def end(text: str) -> None:
            say(steps, text, force=True)
            state["done"] += state["runs"]
            draw(whole, completed=state["done"] * steps)

        yield Progress(start, advance, end)
