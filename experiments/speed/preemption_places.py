"""Place of a kill within a run, read off its folder, and comparison of two folders of runs.

A folder shows the place, since nothing in it changes after a kill:

================== ==================================================================================================
start-up           since this start nothing is new in any run that has not ended, and no checkpoint is being written
checkpoint write   a temporary folder of orbax is in ``checkpoints/``
evaluation         the last line belongs to a step that is evaluated, and the lines of that evaluation are not all there
end of run         all lines and the checkpoint of the last step are there, but not "end"
step               anything else: on the way from one line to the next
================== ==================================================================================================

With several runs the one that has not ended and came furthest counts.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PLACES = ("start-up", "step", "checkpoint write", "evaluation", "end of run")


class Cadences(NamedTuple):
    """Steps between events of the experiment.

    Attributes:
        log, save, evaluate: steps between two of them.
        total: steps of a run.
        lines: of one evaluation in the record.
    """

    log: int
    save: int
    evaluate: int
    total: int
    lines: int = 2


class RunFolder(NamedTuple):
    """State of a run folder.

    Attributes:
        name: relative to the folder of all runs.
        lines: complete lines of the record, as (event, step).
        checkpoints: steps of the complete checkpoints.
        saving: whether a checkpoint is being written.
    """

    name: str
    lines: list[tuple[str, int]]
    checkpoints: set[int]
    saving: bool

    @property
    def ended(self) -> bool:
        return ("end", self.lines[-1][1]) in self.lines if self.lines else False

    @property
    def step(self) -> int:
        """The last step in the record, -1 without one."""
        return self.lines[-1][1] if self.lines else -1


def runs_in(out: Path) -> dict[str, RunFolder]:
    """All run folders below ``out``, by name."""
    found = {}
    for folder in sorted(p.parent for p in out.glob("*/*/*/config.json")):
        name = str(folder.relative_to(out))
        record, checkpoints = folder / "record.jsonl", folder / "checkpoints"
        text = record.read_bytes().split(b"\n")[:-1] if record.exists() else []
        names = [p.name for p in checkpoints.iterdir()] if checkpoints.exists() else []
        lines = [(event["event"], event["step"]) for event in map(json.loads, text)]
        steps = {int(n) for n in names if n.isdigit()}
        found[name] = RunFolder(name, lines, steps, any("tmp" in n for n in names))
    return found


def place_of(before: dict[str, RunFolder], out: Path, cadences: Cadences) -> str:
    """The place, one of :data:`PLACES`, of a kill of a start that found ``before``."""
    after = runs_in(out)
    if any(run.saving for run in after.values()):
        return "checkpoint write"
    if after == before:
        return "start-up"
    under_way = [run for run in after.values() if not run.ended and before.get(run.name) != run]
    if not under_way:
        return "start-up"
    return stage(max(under_way, key=lambda run: run.step), cadences)


def stage(run: RunFolder, cadences: Cadences) -> str:
    """Return the next event in a run folder that is not starting: evaluation, end of run, or step."""
    if not run.lines:
        return "evaluation" if 0 in run.checkpoints else "start-up"
    evaluated = run.step % cadences.evaluate == 0 or run.step == cadences.total
    if evaluated and run.lines.count(("evaluate", run.step)) < cadences.lines:
        return "evaluation"
    if run.step == cadences.total and cadences.total in run.checkpoints:
        return "end of run"
    return "step"


class Watch:
    """Looks at the folders of a command under way, for the moment to strike."""

    def __init__(self, out: Path, cadences: Cadences) -> None:
        self.out, self.cadences = out, cadences
        self.forget()

    def forget(self) -> None:
        """Counts as seen what is there."""
        self.last = runs_in(self.out)

    def look(self) -> set[str]:
        """Places at which some run seems to be now; only what is new since the start or the last :meth:`forget`."""
        try:
            now = runs_in(self.out)
        except (OSError, ValueError):  # it changed while being read
            return set()
        found = set()
        for run in now.values():
            if run == self.last.get(run.name) or run.ended:
                continue
            if run.saving:
                found.add("checkpoint write")
            else:
                found.add(stage(run, self.cadences))
        return found


def compare(straight: Path, killed: Path) -> None:
    """Compares all runs of two folders.

    Raises:
        RuntimeError: naming the first difference.
    """
    a, b = runs_in(straight), runs_in(killed)
    _same("runs", set(a), set(b))
    for name in a:
        one, other = straight / name, killed / name
        _same_lines(f"{name}: record", *(_events(folder / "record.jsonl") for folder in (one, other)))
        for file in ("weights.safetensors", "final.npz"):
            _same(f"{name}: {file}", (one / file).read_bytes(), (other / file).read_bytes())
        last = max(a[name].checkpoints)
        _same(f"{name}: last checkpoint", last, max(b[name].checkpoints))
        left, right = _arrays(one / "checkpoints" / str(last)), _arrays(other / "checkpoints" / str(last))
        _same(f"{name}: arrays of the checkpoint", set(left), set(right))
        for leaf in left:
            _same(f"{name}: {leaf}", *((x.dtype, x.shape, x.tobytes()) for x in (left[leaf], right[leaf])))
        _same(f"{name}: files", {p.name for p in one.iterdir()}, {p.name for p in other.iterdir()} - {".lock"})
        stray = [p.name for p in (other / "checkpoints").iterdir() if not p.name.isdigit()]
        _same(f"{name}: stray files among the checkpoints", stray, [])


def _events(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in event.items() if key != "seconds"} for event in lines]


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its path; the key as its data."""
    import jax
    from orbax.checkpoint import v1 as ocp

    def plain(x: Any) -> np.ndarray:
        is_key = isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    leaves = jax.tree_util.tree_leaves_with_path(ocp.load(folder.resolve()))
    return {jax.tree_util.keystr(path): plain(x) for path, x in leaves}


def _same_lines(what: str, a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    """Names the first line that differs, and within it the first field."""
    for number, (one, other) in enumerate(zip(a, b, strict=False), 1):
        flat = [{**line, **line.get("metrics", {})} for line in (one, other)]
        for key in sorted(flat[0].keys() | flat[1].keys()):
            where = f"line {number}, {one.get('event')} of step {one.get('step')}, {key}"
            _same(f"{what}: {where}", *(line.get(key) for line in flat))
    _same(f"{what}: number of lines", len(a), len(b))


def _same(what: str, a: Any, b: Any) -> None:
    if a != b:
        short = lambda x: repr(x)[:300]  # noqa: E731
        raise RuntimeError(f"{what} differ: {short(a)} undisturbed, {short(b)} after kills")
