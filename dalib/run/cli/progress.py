"""Progress of runs: a live display on a terminal with rich (extra ``demo``), else plain lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple

from dalib.train.devices.processes import leads

PLAIN_SECONDS = 10.0
WIDTH = 160
"""Characters of a plain line; a longer one is cut."""


class Progress(NamedTuple):
    """Callbacks of the display.

    Attributes:
        start: ``(title, steps already taken, runs)``: a run begins, or several that go on together.
        step: ``(steps taken, text)``: where it is, with loss terms and accuracy as text.
        end: ``(text)``: it is over; the text of a last step stays in sight.
    """

    start: Callable[..., None]
    step: Callable[[int, str], None]
    end: Callable[[str], None]


class Pace:
    """Seconds a step of one run, over what was trained at full pace.

    The first stretch of every start is left out: it holds the compilation, which steps to come do not repeat.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._mark = clock, None
        self._seconds = self._steps = 0.0

    _mark: tuple[float, int] | None

    def start(self) -> None:
        """Begin another run; the time until its first report is not counted."""
        self._mark = None

    def reach(self, step: int, runs: int) -> None:
        """Note that ``runs`` runs at once are at ``step``."""
        now = self._clock()
        if self._mark is not None and step > self._mark[1]:
            self._seconds += now - self._mark[0]
            self._steps += (step - self._mark[1]) * runs
        self._mark = now, step

    def left(self, steps: int) -> str:
        """Say in words how long so many steps of one run take; empty before the first measurement."""
        if not self._steps:
            return ""
        seconds = self._seconds / self._steps * steps
        return f"{seconds:.0f} s left" if seconds < 60 else f"{seconds / 60:.1f} min left"


def say(text: str) -> None:
    """Print one line on stderr, by process 0 alone."""
    if leads():
        print(text, file=sys.stderr, flush=True)


def _bar() -> Any:
    """Make the live display; rich is an extra, so it is imported here."""
    import rich.console
    import rich.progress

    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=20),
        rich.progress.TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        rich.progress.TextColumn("{task.fields[text]}"),
        console=rich.console.Console(stderr=True),
    )


@contextmanager
def show_progress(runs: int, steps: int) -> Iterator[Progress]:
    """Show ``runs`` runs of ``steps`` steps each, by process 0 alone; time left counts all of them."""
    live = leads() and sys.stderr.isatty() and find_spec("rich") is not None
    bar = _bar() if live else None
    pace = Pace()
    state: dict[str, Any] = {"done": 0, "title": "", "spoken": -PLAIN_SECONDS, "runs": 1, "text": ""}
    with bar if bar is not None else nullcontext():
        whole = one = 0
        if bar is not None:
            whole = bar.add_task("all runs", total=runs * steps, text="")
            one = bar.add_task("", total=steps, text="")

        def draw(task: int, **values: Any) -> None:
            if bar is not None:
                bar.update(task, **values)

        def left(step: int) -> str:
            return pace.left(runs * steps - state["done"] * steps - step * state["runs"])

        def line(step: int, text: str, force: bool = False) -> None:
            # A log file gets a line now and then; the first and the last line of a run always show.
            now = time.monotonic()
            if live or not (force or now - state["spoken"] > PLAIN_SECONDS):
                return
            state["spoken"] = now
            at = f"{state['done'] + 1}" + (f"–{state['done'] + state['runs']}" if state["runs"] > 1 else "")
            parts = [f"[{at}/{runs}] {state['title']}", f"step {step}/{steps}", left(step), text]
            whole_line = "  ".join(filter(None, parts))
            say(whole_line if len(whole_line) <= WIDTH else f"{whole_line[: WIDTH - 1]}…")

        def start(title: str, step: int, together: int = 1) -> None:
            state.update(title=title, runs=together, text="")
            pace.start()
            draw(one, description=title, completed=step, text="")
            line(step, "", force=state["done"] == 0)

        def advance(step: int, text: str) -> None:
            state["text"] = text
            pace.reach(step, state["runs"])
            draw(one, completed=step, text=text)
            draw(whole, completed=state["done"] * steps + step * state["runs"], text=left(step))
            line(step, text)

        def end(text: str) -> None:
            line(steps, "  ".join(filter(None, [text, state["text"]])), force=True)
            state["done"] += state["runs"]
            draw(whole, completed=state["done"] * steps, text=left(0))

        yield Progress(start, advance, end)
