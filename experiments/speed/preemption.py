"""The real experiment under fire: killed with SIGKILL again and again, and at the end bit-equal to the undisturbed one.

    python -m experiments.speed.preemption --kills 50
    python -m experiments.speed.preemption --kills 8 --modes population --steps 40

``experiments.digits`` (MNIST → optdigits, DANN and Mean Teacher, a bottleneck with BatchNorm, so that there are own
parameters, own state and batch statistics) is run once undisturbed in each mode, one run after the other and as
populations. Then it is started again and again in another folder and killed, each time at another place: start-up, a
step, a checkpoint being written, an evaluation, the writing at the end of a run; the places take turns and the moment
within is drawn (``--seed``). Where a kill hit is read off the run folders afterwards
(:mod:`experiments.speed.preemption_places`), not taken from the aim. In between some starts get SIGTERM instead,
and must save and exit with status 0.

When a round's runs have ended, all their files are compared with the undisturbed ones: the arrays of the last
checkpoint (parameters, optimiser, batch statistics, method's state, key, step), weights and pictures bit by bit, the
record line by line but for the seconds, the names of all files. Rounds follow until all kills are spent. A compilation
cache, filled by the undisturbed run, keeps restarts cheap.

The last line is one JSON object. Results: RESULTS.md in this folder.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from dalib.core.checks import InputError, choose, input_error
from experiments.speed.preemption_places import PLACES, Cadences, Watch, compare, place_of, runs_in

MODES = {"one by one": ("off", 1), "population": ("auto", 2)}
PATIENCE = 600.0
"""Seconds after which a start that has come nowhere is an error."""


@dataclass(frozen=True)
class Benchmark:
    """How often to kill what."""

    kills: int = 50
    """SIGKILLs in all, shared equally by the modes."""
    terms: int = 6
    """SIGTERMs in all, in between."""
    modes: tuple[str, ...] = ("one by one", "population")
    """"one by one", population, or both."""
    method: tuple[str, ...] = ("dann", "mean_teacher")
    """Methods of the experiment."""
    steps: int = 60
    """Training steps of a run; it logs every 5, saves every 10 and is evaluated every 20."""
    seed: int = 0
    """Of the moments."""
    out: Path | None = None
    """Folder of the runs, which stay there; default: a temporary one, removed at the end if all was equal."""


def command(benchmark: Benchmark, mode: str, out: Path) -> list[str]:
    """The experiment's command line."""
    population, seeds = MODES[mode]
    return [
        *(sys.executable, "-m", "experiments.digits", "--source", "mnist", "--target", "optdigits", "--method"),
        *(*benchmark.method, "--bottleneck", "linear-bn-relu", "--no-oracle", "--no-report", "--batch-size", "16"),
        *("--steps", str(benchmark.steps), "--seeds", str(seeds), "--population", population, "--log-every", "5"),
        *("--save-every", "10", "--evaluate-every", "20", "--out", str(out)),
    ]


def start(arguments: list[str], cache: Path, errors: Path) -> subprocess.Popen[bytes]:
    """Starts the command as a user would, with a compilation cache."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with open(errors, "ab") as file:
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=file)


def strike(
    process: subprocess.Popen[bytes], aim: str, out: Path, cadences: Cadences, rng: random.Random, startup: float
) -> bool:
    """Waits for the place aimed at and kills; False when the command had ended by itself before."""
    began = time.monotonic()
    watch = Watch(out, cadences)
    moment = rng.uniform(0, startup) if aim == "start-up" else 0.0
    skip = rng.randrange(3) if aim in ("step", "checkpoint write") else 0
    while process.poll() is None:
        now = time.monotonic()
        if now - began > PATIENCE:
            process.kill()
            raise RuntimeError(f"{PATIENCE:.0f} seconds passed without coming to {aim}")
        seen = watch.look()
        if (aim == "start-up" and now - began >= moment) or aim in seen:
            if skip and aim != "start-up":
                skip -= 1
                watch.forget()
                continue
            if aim != "start-up":
                time.sleep(rng.uniform(0, {"step": 0.1, "checkpoint write": 0.08}.get(aim, 0.3)))
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.005)
    return False


def ask(process: subprocess.Popen[bytes], out: Path, cadences: Cadences, rng: random.Random) -> float | None:
    """SIGTERM at a drawn moment; the seconds until it had ended with status 0, None when it had ended before."""
    watch = Watch(out, cadences)
    began = time.monotonic()
    while process.poll() is None and not watch.look() & {"step", "evaluation", "checkpoint write"}:
        if time.monotonic() - began > PATIENCE:
            process.kill()
            raise RuntimeError(f"{PATIENCE:.0f} seconds passed without a step")
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.5))
    if process.poll() is not None:
        return None
    process.terminate()
    asked = time.monotonic()
    if (status := process.wait(timeout=PATIENCE)) != 0:
        raise RuntimeError(f"SIGTERM ended it with status {status}")
    return time.monotonic() - asked


def under_fire(
    benchmark: Benchmark, mode: str, folder: Path, *, kills: int, terms: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """All rounds of one mode.

    Returns:
        Figures of the mode: where the kills hit, starts, rounds, seconds.

    Raises:
        RuntimeError: at the first difference, or an exit that is none of ours.
    """
    rng = random.Random(f"{benchmark.seed} {mode}")
    cadences = Cadences(log=5, save=10, evaluate=20, total=benchmark.steps)
    straight, cache, errors = folder / "straight", folder / "cache", folder / "stderr.txt"
    began = time.monotonic()
    process = start(command(benchmark, mode, straight), cache, errors)
    watch = Watch(straight, cadences)
    while process.poll() is None and "step" not in watch.look():
        time.sleep(0.01)
    startup = time.monotonic() - began
    if process.wait() != 0:
        raise RuntimeError(f"the undisturbed run ended with status {process.returncode}:\n{errors.read_text()[-2000:]}")
    undisturbed = time.monotonic() - began
    lines = min(run.lines.count(("evaluate", benchmark.steps)) for run in runs_in(straight).values())
    cadences = cadences._replace(lines=lines)
    hits: Counter[str] = Counter()
    waits: list[float] = []
    starts = rounds = 0
    while sum(hits.values()) < kills or len(waits) < terms or rounds == 0:
        rounds += 1
        out = folder / f"round-{rounds}"
        while True:
            process = start(command(benchmark, mode, out), cache, errors)
            starts += 1
            left, asks = kills - sum(hits.values()), terms - len(waits)
            if asks > 0 and rng.random() < asks / (asks + max(left, 0)):
                if (waited := ask(process, out, cadences, rng)) is not None:
                    waits.append(waited)
                    say(f"{mode}, round {rounds}: SIGTERM, status 0 after {waited:.1f} s")
            elif left > 0:
                # Where it has been hit least, so that every place has its share; ties at random.
                aim = min(PLACES, key=lambda place: (hits[place], rng.random()))
                before = runs_in(out)
                if strike(process, aim, out, cadences, rng, startup):
                    place = place_of(before, out, cadences)
                    hits[place] += 1
                    say(f"{mode}, round {rounds}: kill {sum(hits.values())} of {kills} hit: {place} (aim: {aim})")
            status = process.wait()
            if status == 0 and ended(out) == ended(straight):
                break
            if status not in (0, -signal.SIGKILL):
                raise RuntimeError(f"it ended with status {status}:\n{errors.read_text()[-2000:]}")
        compare(straight, out)
        say(f"{mode}, round {rounds}: equal to the undisturbed run in every bit, {starts} starts so far")
    return {
        "kills": sum(hits.values()),
        "hits": {place: hits[place] for place in PLACES},
        "terms": len(waits),
        "slowest_term_seconds": round(max(waits, default=0.0), 2),
        "starts": starts,
        "rounds": rounds,
        "undisturbed_seconds": round(undisturbed, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def ended(out: Path) -> set[str]:
    """The runs below a folder that have ended."""
    return {name for name, run in runs_in(out).items() if run.ended}


def main(benchmark: Benchmark) -> dict[str, Any]:
    """Does all modes, prints the table, and returns what the last line holds."""
    for mode in benchmark.modes:
        choose("modes", mode, MODES)
    if min(benchmark.kills, benchmark.terms) < 0 or benchmark.steps < 20 or not benchmark.modes:
        raise input_error("kills, terms, steps", got=benchmark, expected="≥ 0, ≥ 0, ≥ 20, and one mode or more")
    results = {}
    temporary = Path(tempfile.mkdtemp(prefix="preemption-"))
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    try:
        for i, mode in enumerate(benchmark.modes):
            kills, terms = (len(range(i, n, len(benchmark.modes))) for n in (benchmark.kills, benchmark.terms))
            folder = (benchmark.out or temporary) / mode.replace(" ", "-")
            if folder.exists():
                raise input_error("out", got=f"{folder}, which exists", expected="a folder without runs of this")
            folder.mkdir(parents=True)
            results[mode] = under_fire(benchmark, mode, folder, kills=kills, terms=terms, say=say)
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n  the runs are in {benchmark.out or temporary}") from error
    shutil.rmtree(temporary)
    print(
        f"{'':>12}" + "".join(f"{place:>20}" for place in PLACES) + f"{'SIGTERM':>9}{'starts':>8}{'rounds':>8}{'s':>8}"
    )
    for mode, found in results.items():
        hits = "".join(f"{found['hits'][place]:>20}" for place in PLACES)
        print(f"{mode:>12}{hits}{found['terms']:>9}{found['starts']:>8}{found['rounds']:>8}{found['seconds']:>8.0f}")
    print("every round ended with the bits of the undisturbed run")
    settings = {name: value for name, value in asdict(benchmark).items() if name != "out"}
    summary = {"benchmark": "preemption", "settings": settings, "results": results, "equal": True}
    print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    try:
        main(tyro.cli(Benchmark, description=(__doc__ or "").split("\n\n``experiments")[0]))
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        print(f"\nfailed: {error}", file=sys.stderr)
        sys.exit(1)
