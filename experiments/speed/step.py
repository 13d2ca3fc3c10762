"""The training step of DANN, DAN and Deep CORAL with an image encoder, compared with the same step in PyTorch.

    python -m experiments.speed.step
    python -m experiments.speed.step --encoder resnet18 --image-size 64 --batch 4 --methods dann --dtypes float32

Ours: :func:`dalib.train.make_step` on a batch that is on the device. PyTorch's, if torchvision is installed, is written
as the field's libraries do it: torchvision's net, both domains concatenated into one pass, a bottleneck of 256 units
with BatchNorm, the same three losses on its features, SGD with Nesterov's momentum and weight decay, the encoder at a
tenth of the rate; ``eager`` as it is, ``channels_last`` eager in that memory format, ``compiled`` also through
``torch.compile``. ``bfloat16`` is our nets' compute dtype there and PyTorch's autocast. All sides are processes on the
same cores that take turns, ``--rounds`` times; the fastest call counts. Ours keeps the memory that it frees, as our
experiments do (:func:`dalib.core.platform.keep_memory`; ``--keep all`` gives PyTorch's processes the same). A form of
PyTorch's that does not run here is left out, with the reason.

Also measured, in the same run: the ceilings of the machine (a product of 2048² matrices; an addition to a large array)
and which fraction of them a step reaches, by the compiler's count of operations and of bytes that its pieces read and
write (more than memory sees: what a cache still holds is counted too); the share of alignment, which is what
the method's step on frozen features (no encoder) takes longer than the same step with a term that costs nothing;
the seconds from a new process to the end of its first step, without and with a filled compilation cache; and how many
images a second the input pipeline delivers (:mod:`experiments.speed.input_pipeline`) against what the step takes.

The last line is one JSON object. Goals: 0.9 of the faster form of PyTorch's on a CPU, 1.0 on a GPU; alignment at most
3 % of the step; input never the bottleneck. Measured numbers: RESULTS.md in this folder.
"""

import importlib.util
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import tyro

from dalib.core.checks import InputError, choose, input_error
from experiments.speed.encoders import versions
from experiments.speed.input_pipeline import Pipeline, folder_of_images, rates
from experiments.speed.step_ours import first_step, ours
from experiments.speed.step_torch import FORMS, theirs
from experiments.speed.turns import begin, end, take_turns

METHODS = ("dann", "dan", "deep_coral")
DTYPES = ("float32", "bfloat16")
KEEPERS = {"none": (), "ours": ("ours",), "all": ("ours", *FORMS)}


@dataclass(frozen=True)
class Benchmark:
    """What to measure."""

    encoder: str = "resnet50"
    """An encoder for images; the PyTorch side needs one that torchvision has."""
    methods: tuple[str, ...] = METHODS
    """Some of dann, dan, deep_coral."""
    dtypes: tuple[str, ...] = DTYPES
    """float32, bfloat16, or both."""
    batch: int = 0
    """Examples of each domain; 0: 8 on a CPU, 32 elsewhere."""
    image_size: int = 224
    """Side of the images."""
    classes: int = 31
    """Classes of the head."""
    rounds: int = 3
    """Calls of each step; the fastest counts."""
    threads: int = 2
    """Cores, and threads, of each side on a CPU."""
    keep: str = "ours"
    """Who keeps freed memory between two steps: ours (as our experiments do), all (PyTorch's processes too) or none."""
    reference: tuple[str, ...] = FORMS
    """Forms of PyTorch's side; none: --reference none."""
    first_step: bool = True
    """Measure the first step of new processes."""
    images: int = 128
    """Images of the input pipeline's measurement; 0 leaves it out."""


def main(benchmark: Benchmark) -> dict[str, Any]:
    """Measures everything asked for, prints it as it comes, and returns what the last line holds."""
    benchmark = check(benchmark)
    keepers = KEEPERS[benchmark.keep]
    sides = {"ours": begin("ours", ours, benchmark, threads=benchmark.threads, keep="ours" in keepers)}
    facts = sides["ours"].facts
    print(f"{facts['device']}; {benchmark.encoder}, {benchmark.batch} + {benchmark.batch} images of", end=" ")
    print(
        f"{benchmark.image_size}²; ceilings: " + ", ".join(f"{k} {v / 1e9:.0f} G" for k, v in facts["ceilings"].items())
    )
    left_out = {}
    for form in benchmark.reference:
        if importlib.util.find_spec("torchvision") is None:
            left_out[form] = "torchvision is not installed"
            continue
        try:
            build = partial(theirs, form)
            sides[form] = begin(form, build, benchmark, threads=benchmark.threads, keep=form in keepers)
        except RuntimeError as error:
            left_out[form] = str(error)
    for form, reason in left_out.items():
        print(f"left out: {reason if form in reason else f'{form}: {reason}'}")
    steps = {}
    for dtype in benchmark.dtypes:
        for method in benchmark.methods:
            times = take_turns(sides, call := f"{method} {dtype}", benchmark.rounds)
            steps[call] = compared(benchmark, facts, method, dtype, {side: min(t) for side, t in times.items()})
            print(line(call, steps[call]), flush=True)
    for side in sides.values():
        end(side)
    result: dict[str, Any] = {"steps": steps, "left_out": left_out, "ceilings": facts["ceilings"]}
    result["compilation_s"] = facts["compilation_s"]
    if benchmark.first_step:
        result["first_step_s"] = first_steps(benchmark)
        print("first step of a new process: " + ", ".join(f"{k} {v:.1f} s" for k, v in result["first_step_s"].items()))
    if benchmark.images:
        result["input"] = appetite(benchmark, steps)
    summary = {
        "benchmark": "step",
        "device": facts["device"],
        "versions": versions(),
        "cores": len(os.sched_getaffinity(0)),
        "settings": asdict(benchmark),
        **result,
    }
    print(json.dumps(summary))
    return summary


def check(benchmark: Benchmark) -> Benchmark:
    """The settings with the batch size filled in.

    Raises:
        InputError: for names or numbers that are not served.
    """
    from dataclasses import replace

    from dalib.encoders.registry import ENCODERS

    choose("encoder", benchmark.encoder, ENCODERS)
    choose("keep", benchmark.keep, KEEPERS)
    for field, known in (("methods", METHODS), ("dtypes", DTYPES), ("reference", (*FORMS, "none"))):
        for name in getattr(benchmark, field):
            choose(field, name, dict.fromkeys(known))
    for field in ("rounds", "threads", "image_size"):
        if getattr(benchmark, field) < 1:
            raise input_error(field, got=getattr(benchmark, field), expected="a number ≥ 1")
    if benchmark.classes < 2 or benchmark.batch < 0 or benchmark.batch == 1:
        raise input_error(
            "classes, batch", got=f"{benchmark.classes}, {benchmark.batch}", expected="≥ 2 each, or 0 for batch"
        )
    batch = benchmark.batch or (8 if _platform() == "cpu" else 32)
    return replace(benchmark, batch=batch, reference=tuple(f for f in benchmark.reference if f != "none"))


def _platform() -> str:
    # Asked in a process of its own: this one must not hold an accelerator's memory while others measure.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_tell_platform, args=(there,), daemon=True)
    process.start()
    found = here.recv()
    process.join()
    return found


def _tell_platform(pipe: Any) -> None:
    import jax

    pipe.send(jax.default_backend())


def compared(
    benchmark: Benchmark, facts: dict[str, Any], method: str, dtype: str, seconds: dict[str, float]
) -> dict[str, Any]:
    """Facts of one step."""
    ours, others = seconds["ours"], {k: v for k, v in seconds.items() if k != "ours"}
    operations = facts["operations"][f"{method} {dtype}"]
    entry: dict[str, Any] = {
        "seconds": seconds,
        "examples_per_s": {side: 2 * benchmark.batch / s for side, s in seconds.items()},
        "ratio": {side: s / ours for side, s in others.items()},
        "operations": operations,
        "of_matmul_ceiling": operations / ours / facts["ceilings"][f"flops/{dtype}"],
        "of_memory_ceiling": facts["bytes"][f"{method} {dtype}"] / ours / facts["ceilings"]["bytes"],
        "alignment_share": facts["alignment_s"][method] / ours,
    }
    if others:
        entry["over_fastest"] = min(others.values()) / ours
        entry["fastest"] = min(others, key=lambda side: others[side])
    return entry


def first_steps(benchmark: Benchmark) -> dict[str, float]:
    """Seconds of a new process until its first step is done, with an empty compilation cache and with a full one."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "cached"):
            start = time.perf_counter()
            end(begin(f"first step, {name}", first_step, benchmark, folder, threads=benchmark.threads))
            found[name] = time.perf_counter() - start
    return found


def appetite(benchmark: Benchmark, steps: dict[str, Any]) -> dict[str, float]:
    """Images a second from files of JPEG to the device, and how many times the fastest step's appetite that is."""
    pipeline = Pipeline(images=benchmark.images, size=benchmark.image_size, threads=(benchmark.threads,))
    with tempfile.TemporaryDirectory() as folder:
        found = rates(folder_of_images(folder, pipeline), pipeline, forms=("folder",))["folder"]
    eats = max(entry["examples_per_s"]["ours"] for entry in steps.values())
    delivered = found[str(benchmark.threads)]
    print(f"input: {delivered:.0f} images/s with {benchmark.threads} threads; the fastest step takes {eats:.1f}")
    return {"images_per_s": delivered, "step_takes": eats, "times_the_appetite": delivered / eats}


def line(call: str, entry: dict[str, Any]) -> str:
    """One line of the table."""
    rate = entry["examples_per_s"]
    theirs = "  ".join(f"{side} {rate[side]:.2f} ({ratio:.2f}x)" for side, ratio in entry["ratio"].items())
    share = f"{100 * entry['of_matmul_ceiling']:.0f} % of the matmul ceiling"
    aligned = f"alignment {100 * entry['alignment_share']:.2f} %"
    return f"{call:20} {rate['ours']:7.2f} examples/s, {share}, {aligned}; {theirs}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Benchmark, description=(__doc__ or "").split("\n\nAlso measured")[0]))
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(2)
