"""Encoders compared with PyTorch's: forward pass, training step, compilation, peak memory.

    python -m experiments.speed.encoders
    python -m experiments.speed.encoders --encoder mobilenet_v2 --batch 32 --image-size 224 --steps 10

Each encoder runs in a process of its own, the same net of torchvision or transformers (where installed) in another,
both on the same cores with as many threads. They take turns, one call each, so that whatever else the machine does
slows both; the fastest of ``--steps`` calls counts. Forward: evaluation mode, with the published head. Training:
cross-entropy (nets without a head: mean square of the features), gradients, BatchNorm statistics, one step of SGD.
The ratio is of throughputs: 2 means that we are twice as fast. Weights are random. Memory is the peak of both calls
beyond what the process held before the net was built; leftovers of the compiler are not counted. The last line is
one JSON object.

``--conv`` and ``--remat`` change the form of our convolutions and whether blocks are computed again in the backward
pass. Measured numbers and what remains slower, and why, are in ``RESULTS.md`` in this folder.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import tyro

from dalib.core.checks import InputError, input_error, unknown_name
from experiments.speed.encoders_torch import CLASSES, TOKENS, Calls, has_reference, theirs, watch_memory
from experiments.speed.turns import begin, end, take_turns

MIB = 2**20


@dataclass(frozen=True)
class Benchmark:
    """What to measure."""

    encoder: tuple[str, ...] = (
        "resnet18",
        "resnet50",
        "squeezenet1_1",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "convnext_tiny",
        "vit_b16",
        "bert_base",
    )
    """Names of encoders, one line each."""
    batch: int = 8
    """Examples a call."""
    image_size: int = 96
    """Side of the images (nets for images)."""
    length: int = 64
    """Tokens an example (nets for text)."""
    steps: int = 5
    """Calls of each kind after the first; the fastest counts."""
    threads: int = 2
    """Cores, and threads, of either side on a CPU."""
    conv: str = "auto"
    """Form of our convolutions."""
    remat: bool = False
    """Our blocks are computed again in the backward pass."""
    reference: Literal["channels_last", "contiguous", "none"] = "channels_last"
    """Memory layout of PyTorch's images and nets; none: only ours."""


def main(benchmark: Benchmark) -> dict[str, Any]:
    """Measures all encoders, prints the table while it grows, and returns what the last line holds."""
    from dalib.encoders.registry import ENCODERS

    for name in benchmark.encoder:
        if name not in ENCODERS:
            raise unknown_name("encoder", name, ENCODERS)
    for field in ("batch", "steps", "threads"):
        if getattr(benchmark, field) < 1:
            raise input_error(field, got=getattr(benchmark, field), expected="an integer ≥ 1")
    print(f"batch {benchmark.batch}, {benchmark.image_size}² pixels or {benchmark.length} tokens; ms, ratio to PyTorch")
    print(f"{'encoder':20} {'forward':>16} {'train step':>16} {'compilation, s':>15} {'peak MiB: ours, PyTorch':>24}")
    load, results = os.getloadavg()[0], []
    for name in benchmark.encoder:
        results.append(measure(benchmark, name))
        print(line(results[-1]), flush=True)
    summary = {
        "benchmark": "encoders",
        "versions": versions(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": load,
        "settings": asdict(benchmark),
        "results": results,
    }
    print(json.dumps(summary))
    return summary


def measure(benchmark: Benchmark, name: str) -> dict[str, Any]:
    """One encoder, and its reference in turn with it."""
    builders = {"ours": ours}
    if benchmark.reference != "none" and has_reference(name):
        builders["torch"] = theirs
    arguments = (benchmark, name, *example(benchmark, name))
    sides = {
        side: begin(f"{name}, {side}", build, *arguments, threads=benchmark.threads) for side, build in builders.items()
    }
    entry: dict[str, Any] = {"encoder": name}
    entry |= {side: {"compilation_s": opened.facts} for side, opened in sides.items()}
    for kind in ("forward", "train"):
        times = take_turns(sides, kind, benchmark.steps)
        for side in sides:
            entry[side][kind] = {"fastest_s": min(times[side]), "median_s": float(np.median(times[side]))}
    for side, opened in sides.items():
        entry[side]["peak_mib"] = end(opened) / MIB
    if "torch" in sides:
        for kind in ("forward", "train"):
            entry[f"{kind}_ratio"] = entry["torch"][kind]["fastest_s"] / entry["ours"][kind]["fastest_s"]
    return entry


def example(benchmark: Benchmark, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs ``[n, h, w, 3]``, or token ids ``[n, length]``, and labels ``[n]``."""
    random = np.random.default_rng(0)
    side = benchmark.image_size
    if name in TOKENS:
        inputs = random.integers(1000, 20000, (benchmark.batch, benchmark.length))
    else:
        inputs = random.normal(size=(benchmark.batch, side, side, 3)).astype(np.float32)
    return inputs, random.integers(0, CLASSES, benchmark.batch)


def ours(benchmark: Benchmark, name: str, inputs: Any, labels: Any) -> Calls:
    """Our two calls, compiled; seconds of the compilations; the peak of memory so far."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import dataclasses

    import jax
    import jax.numpy as jnp
    import optax

    from dalib.encoders.registry import ENCODERS, make_encoder

    kind: Any = getattr(ENCODERS[name], "func", ENCODERS[name])
    known = {field.name for field in dataclasses.fields(kind)}
    wanted = {"num_classes": CLASSES, "conv": benchmark.conv, "remat": benchmark.remat}
    wanted |= {"image_size": benchmark.image_size}
    encoder = make_encoder(name, **{field: value for field, value in wanted.items() if field in known})
    inputs, labels = jnp.asarray(inputs), jnp.asarray(labels)
    variables = fill(jax.eval_shape(encoder.init, jax.random.key(0), inputs))

    def value(params: Any, rest: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        state = {"params": params, **rest}
        outputs, changed = encoder.apply(state, inputs, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        if outputs.logits is None:
            return jnp.mean(outputs.features**2), changed
        return optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels).mean(), changed

    def train(state: tuple[Any, Any, jax.Array]) -> tuple[Any, Any, jax.Array]:
        params, rest, key = state
        key, used = jax.random.split(key)
        gradient, changed = jax.grad(value, has_aux=True)(params, rest, used)
        return jax.tree.map(lambda p, g: p - 0.001 * g, params, gradient), {**rest, **changed}, key

    def forward(variables: Any) -> Any:
        outputs = encoder.apply(variables, inputs, train=False)
        return outputs.features if outputs.logits is None else outputs.logits

    seconds, compiled = {}, {}
    params = variables.pop("params")
    state = [(params, variables, jax.random.key(1))]
    for call, function, argument, options in (
        ("forward", forward, {"params": params, **variables}, {}),
        ("train", train, state[0], {"donate_argnums": 0}),
    ):
        start = time.perf_counter()
        compiled[call] = jax.jit(function, **options).lower(argument).compile()
        seconds[call] = time.perf_counter() - start

    def run_train() -> None:
        state[0] = jax.block_until_ready(compiled["train"](state[0]))

    def run_forward() -> None:
        jax.block_until_ready(compiled["forward"]({"params": state[0][0], **state[0][1]}))

    held = sum(x.nbytes for x in jax.tree.leaves((state, inputs)))
    peak = watch_memory(held) if jax.default_backend() == "cpu" else lambda: _device_peak(jax.devices()[0])
    run_forward()
    run_train()
    return {"forward": run_forward, "train": run_train}, seconds, peak


def _device_peak(device: Any) -> int:
    return device.memory_stats()["peak_bytes_in_use"]


def fill(like: Any) -> Any:
    """Variables that keep activations in range: kernels of fan-in variance, scales and variances 1, others 0."""
    import jax
    import jax.numpy as jnp

    random = np.random.default_rng(0)

    def leaf(path: Any, x: Any) -> jax.Array:
        name = path[-1].key
        if len(x.shape) > 1:
            fan = np.prod(x.shape[:-1]) if name == "kernel" else 2500
            return jnp.asarray(random.normal(size=x.shape).astype(np.float32) / np.sqrt(fan))
        return (jnp.ones if name in ("scale", "var") else jnp.zeros)(x.shape, x.dtype)

    return jax.tree_util.tree_map_with_path(leaf, like)


def versions() -> dict[str, str]:
    """List the versions of the compared libraries."""
    from importlib import metadata

    found = {}
    for package in ("jax", "flax", "torch", "torchvision", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def line(entry: dict[str, Any]) -> str:
    """One line of the table."""

    def cell(kind: str) -> str:
        ratio = f" {entry[f'{kind}_ratio']:.2f}x" if f"{kind}_ratio" in entry else ""
        return f"{1000 * entry['ours'][kind]['fastest_s']:.4g}{ratio}"

    seconds = entry["ours"]["compilation_s"]
    peaks = ", ".join(f"{entry[side]['peak_mib']:.0f}" for side in ("ours", "torch") if side in entry)
    compilation = f"{seconds['forward']:.1f} + {seconds['train']:.1f}"
    return f"{entry['encoder']:20} {cell('forward'):>16} {cell('train'):>16} {compilation:>15} {peaks:>24}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Benchmark, description=__doc__))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
