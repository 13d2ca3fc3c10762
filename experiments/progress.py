"""Progress while runs go on: a live line on a terminal with rich (extra ``demo``), else a plain line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple

from dalib.train.distributed import leads

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
