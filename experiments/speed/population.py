"""Time of a training step per member: populations of several sizes, the one-by-one loop, and a plain PyTorch loop.

    python -m experiments.speed.population
    python -m experiments.speed.population --members 1 4 --nets head --rounds 3 --steps 10

Two nets, 32 + 32 examples a step, DANN with SGD and momentum: ``lenet``, the LeNet of the digit benchmarks on images of
``--size`` pixels with the paper's discriminator, and ``head``, a bottleneck of 256 units and 65 classes on frozen
features of width 2048 with one hidden layer of 1024 in the discriminator. All contestants start from data in the host's
or device's memory and include everything that a step needs: drawing, gathering and placing a batch, the step, and
reading the loss once per ``--steps`` steps. ``loop`` is :func:`dalib.train.make_step` fed by the paired stream;
``torch`` the same nets and losses written the usual way (eager, ``torch.utils.data`` left out), if torch is installed.

The contestants run in turn, ``--rounds`` times; the figures are medians. The last line is one JSON object; its
ratios ("times as fast") compare medians of the same run. Results: RESULTS.md in this folder.
"""

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from dalib.core.checks import InputError, choose, input_error
from dalib.core.platform import platform
from dalib.data import from_arrays, paired_stream, stream_rows
from dalib.encoders import MLP, Bottleneck, LeNet, Net, make_classifier, population_form
from dalib.methods import dann
from dalib.tasks import classification
from dalib.train import (
    Pool,
    Rows,
    init_state,
    make_forward,
    make_mesh,
    make_optimizer,
    make_population,
    make_step,
    pool_numbers,
    put_batch,
    stack_members,
    training_step,
)
from experiments.speed.population_torch import torch_contestant

EXAMPLES = 4000
Contestant = Callable[[], int]
"""Does some steps, waits for them, and returns the number of member-steps done."""


@dataclass(frozen=True)
class Benchmark:
    """What to measure."""

    nets: tuple[str, ...] = ("lenet", "head")
    """lenet, head, or both."""
    members: tuple[int, ...] = (1, 4, 16, 64)
    """Sizes of the populations."""
    steps: int = 20
    """Steps of a turn: one scan."""
    rounds: int = 7
    """Turns of each contestant, after one that compiles and warms up."""
    size: int = 28
    """Pixels a side of the images for lenet; 16 are those of experiments.digits."""
    batch_size: int = 32
    """Examples of each domain in a step."""
    threads: int = 2
    """Threads of PyTorch; XLA takes the cores it finds."""
    devices: int = 1
    """Devices that the members are split over; more than one on a CPU makes virtual ones."""


@dataclass(frozen=True)
class Problem:
    """One net with its data."""

    name: str
    net: Net
    classes: int
    hidden: tuple[int, ...]
    inputs: np.ndarray
    labels: np.ndarray


def problem(name: str, benchmark: Benchmark) -> Problem:
    """The net and random examples of the right form."""
    rng = np.random.default_rng(0)
    if choose("nets", name, {"lenet": 0, "head": 1}) == 0:
        shape, classes, hidden = (benchmark.size, benchmark.size, 1), 10, (1024, 1024)
        net = make_classifier(LeNet(), classes)
    else:
        shape, classes, hidden = (2048,), 65, (1024,)
        net = make_classifier(MLP(()), classes, Bottleneck(256, norm=False))
    inputs = rng.normal(size=(2 * EXAMPLES, *shape)).astype(np.float32)
    labels = rng.integers(0, classes, 2 * EXAMPLES).astype(np.int32)
    return Problem(name, net, classes, hidden, inputs, labels)


def make_pieces(p: Problem, benchmark: Benchmark, *, together: bool) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Jitted initial state, and what a step is made of; ``together``: for ``vmap`` over members."""
    method, optimizer = dann(hidden=p.hidden), make_optimizer(learning_rate=0.01)
    net = population_form(p.net) if together and platform() == "cpu" else p.net
    forward = make_forward(net, "joint")
    sample = jnp.zeros((benchmark.batch_size, *p.inputs.shape[1:]))
    init = jax.jit(lambda key: init_state(key, p.net, method, optimizer, sample, batch_norm="joint"))
    return init, (method, forward, optimizer), sample, {"total_steps": 10**4, "task": classification(p.classes)}


def loop_contestant(p: Problem, benchmark: Benchmark) -> Contestant:
    """The one-by-one loop: a jitted step fed by the paired stream."""
    init, parts, _, settings = make_pieces(p, benchmark, together=False)
    step = make_step(*parts, **settings)
    cut, names = EXAMPLES, [str(i) for i in range(p.classes)]
    source = from_arrays("source", {"train": (p.inputs[:cut], p.labels[:cut])}, class_names=names)
    target = from_arrays("target", {"train": (p.inputs[cut:], p.labels[cut:])}, class_names=names)
    stream = paired_stream(source, target, batch_size=benchmark.batch_size, seed=0)
    state, number = init(jax.random.key(0)), 0

    def go() -> int:
        nonlocal state, number
        pending = []
        for batch in stream.batches(number, number + benchmark.steps):
            state, metrics = step(state, put_batch(batch))
            pending.append(metrics)
        jax.device_get(pending)
        jax.block_until_ready(state)
        number += benchmark.steps
        return benchmark.steps

    return go


def population_contestant(p: Problem, benchmark: Benchmark, members: int) -> Contestant:
    """``members`` seeds as one population."""
    init, parts, _, settings = make_pieces(p, benchmark, together=True)
    mesh = make_mesh() if benchmark.devices > 1 else None
    step = training_step(*parts, **settings)
    population = make_population(lambda hyper: step, mesh=mesh)
    numbers = jnp.asarray(pool_numbers(EXAMPLES, EXAMPLES))
    pool = Pool(jnp.asarray(p.inputs), jnp.asarray(p.labels), numbers)
    streams = [stream_rows(EXAMPLES, EXAMPLES, batch_size=benchmark.batch_size, seed=s) for s in range(members)]
    states, number = stack_members([init(jax.random.key(s)) for s in range(members)], mesh), 0

    def go() -> int:
        nonlocal states, number
        parts = [stream(number, number + benchmark.steps) for stream in streams]
        rows = Rows(np.stack([s for s, _ in parts]), np.stack([t for _, t in parts]) + np.int32(EXAMPLES))
        states, metrics = population.advance(states, pool, rows, {})
        jax.device_get(metrics)
        jax.block_until_ready(states)
        number += benchmark.steps
        return members * benchmark.steps

    return go


def measure(contestants: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Median milliseconds per member-step of each, run in turn."""
    for go in contestants.values():
        go()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, go in contestants.items():
            began = time.perf_counter()
            count = go()
            times[name].append((time.perf_counter() - began) / count * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main(benchmark: Benchmark) -> dict[str, Any]:
    """Measures everything asked for, prints a table a net, and returns what the last line holds."""
    if min((*benchmark.members, benchmark.steps, benchmark.rounds, benchmark.devices), default=0) < 1:
        raise input_error("members, steps, rounds, devices", got=benchmark, expected="numbers ≥ 1")
    if benchmark.devices > 1 and jax.config.jax_platforms in (None, "", "cpu"):
        jax.config.update("jax_num_cpu_devices", benchmark.devices)
    if any(members % jax.device_count() for members in benchmark.members) and benchmark.devices > 1:
        raise input_error("members", got=benchmark.members, expected=f"multiples of {jax.device_count()} devices")
    device = jax.devices()[0]
    versions = {"jax": jax.__version__}
    if with_torch := importlib.util.find_spec("torch") is not None:
        import torch

        versions["torch"] = torch.__version__
    print(f"{jax.device_count()} × {device.platform} ({device.device_kind}), {versions}; ms per member-step, medians")
    found = {}
    for name in benchmark.nets:
        p = problem(name, benchmark)
        contestants = {"loop": loop_contestant(p, benchmark)}
        if with_torch:
            contestants["torch"] = torch_contestant(p, benchmark)
        contestants |= {str(n): population_contestant(p, benchmark, n) for n in benchmark.members}
        times = measure(contestants, benchmark.rounds)
        best = min((str(n) for n in benchmark.members), key=lambda n: times[n])
        found[name] = {"milliseconds": times, "best": int(best), "over_loop": times["loop"] / times[best]}
        if with_torch:
            found[name]["over_torch"] = times["torch"] / times[best]
        print("  ".join([f"{name:>6}:", *(f"{k} {v:.2f}" for k, v in times.items())]), flush=True)
    summary = {
        "benchmark": "population",
        "platform": device.platform,
        "device": device.device_kind,
        "versions": versions,
        "settings": asdict(benchmark),
        "results": found,
    }
    print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    try:
        main(tyro.cli(Benchmark, description=(__doc__ or "").split("\n\nTwo nets")[0]))
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(2)
