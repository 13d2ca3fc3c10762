"""Time and peak memory of MK-MMD, value and gradient, dense and tiled, compared with three plain Gram-matrix products.

    python -m experiments.speed.discrepancy
    python -m experiments.speed.discrepancy --rows 256 1024 --widths 256

For every n = m and d each form runs in a fresh process, so that its peak memory is its own: the products ``x xᵀ``,
``y yᵀ``, ``x yᵀ`` in full float32 precision, the dense and the tiled form of ``mk_mmd``, and, if torch is installed,
the same loss as PyTorch libraries write it, with a broadcast difference ``[2n, 2n, d]``. The ratio is to the time of
the three products, run in turn with the form in the same process. Forms that by their own arithmetic would not fit
``--memory-limit`` are left out and shown as "-", and so are those of which one call would take longer than
``--time-limit``, as the sizes before tell: n = m = 32768 with d = 2048 are 13 teraflops for the products alone. A
call that takes longer than ``--seconds`` is not repeated. The last line is one JSON object. The goals: tiled at most
4 times the three products, and less than 2 GiB at n = m = 32768, d = 256. In the JSON the products have a ratio to
themselves too: how far it is from 1 tells how noisy the machine was.

Ours, two CPU cores (jax 0.10.2, PyTorch 2.13.0), in 5 minutes; the products' ratio to themselves was 0.96 to 1.02.
The broadcast form in PyTorch took 255 times the products at n = 256, d = 256 (1.03 GiB) and does not fit
6 GiB beyond; n = m = 32768 with d = 2048 is left out by the time limit:

=======  =====  ==========  ==================  ==================
n = m    d      3 products  dense               tiled
=======  =====  ==========  ==================  ==================
256      256    1.1 ms      2.01x, 0.02 GiB     2.18x, 0.02 GiB
1024     256    9.2 ms      4.97x, 0.09 GiB     3.87x, 0.02 GiB
4096     256    0.26 s      4.31x, 1.17 GiB     2.64x, 0.04 GiB
8192     256    0.90 s      5.28x, 4.62 GiB     2.37x, 0.06 GiB
32768    256    16.1 s      left out            2.69x, 0.21 GiB
256      2048   5.1 ms      3.08x, 0.03 GiB     3.12x, 0.04 GiB
1024     2048   68 ms       3.61x, 0.15 GiB     3.49x, 0.07 GiB
4096     2048   1.31 s      3.12x, 1.37 GiB     3.48x, 0.21 GiB
8192     2048   5.72 s      3.22x, 4.95 GiB     2.78x, 0.40 GiB
=======  =====  ==========  ==================  ==================
"""

import gc
import importlib.util
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from dalib.core.checks import InputError, input_error
from dalib.discrepancy import MULTIPLIERS, mk_mmd
from dalib.discrepancy.tiled import DENSE_ROWS, tile_rows
from experiments.speed.turns import peak_memory, reset_peak_memory

SLAB = 4096
"""Rows of a product at a time: the product of 32768 rows is the work of eight slabs and need not be held whole."""


def inputs(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussian samples, the second shifted by 0.1 in every coordinate."""
    x, y = np.random.default_rng(0).standard_normal((2, rows, width), dtype=np.float32)
    return x, y + np.float32(0.1)


def products(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The three Gram products, in slabs of rows above :data:`SLAB`."""
    first, second = jnp.asarray(x), jnp.asarray(y)
    slab = min(SLAB, len(x))

    def product(a: jax.Array, start: jax.Array, b: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(a, start, slab)
        return jnp.matmul(rows, b.T, precision="highest")

    compiled = jax.jit(product).lower(first, jnp.int32(0), second).compile()

    def run() -> float:
        for a, b in ((first, first), (second, second), (first, second)):
            for start in range(0, len(x), slab):
                jax.block_until_ready(compiled(a, jnp.int32(start), b))
        return 0.0

    return run


def ours(tile: int | None) -> Callable[[np.ndarray, np.ndarray], Callable[[], float]]:
    """``mk_mmd`` with its gradients, by one choice of ``tile``."""

    def prepare(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
        arrays = jnp.asarray(x), jnp.asarray(y)
        compiled = (
            jax.jit(jax.value_and_grad(lambda x, y: mk_mmd(x, y, tile=tile), argnums=(0, 1))).lower(*arrays).compile()
        )
        return lambda: float(jax.block_until_ready(compiled(*arrays))[0])

    return prepare


def broadcast(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The same number in torch from all differences at once, with autograd."""
    import torch  # type: ignore[import-not-found, unused-ignore]

    first, second = (torch.tensor(z, requires_grad=True) for z in (x, y))
    n = len(x)
    weights = torch.full((2 * n, 2 * n), -1 / n**2)
    weights[:n, :n] = weights[n:, n:] = 1 / (n * (n - 1))
    weights.fill_diagonal_(0)

    def run() -> float:
        first.grad = second.grad = None
        pooled = torch.cat([first, second])
        squared = ((pooled[:, None] - pooled[None]) ** 2).sum(2)
        variance = squared.detach().mean()
        kernels = sum(torch.exp(-squared / (2 * alpha * variance)) for alpha in MULTIPLIERS)
        value = (weights * kernels).sum()
        value.backward()
        return float(value.detach())

    return run


def tiled(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The tiles that are chosen automatically for large samples, also where the dense form would be."""
    return ours(tile_rows(DENSE_ROWS, DENSE_ROWS, None))(x, y)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray], Callable[[], float]]] = {
    "products": products,
    "dense": ours(0),
    "tiled": tiled,
    "torch": broadcast,
}


GIB = 2**30
SWEEP = 2.5
"""About how many times the three products the tiled form takes, to tell what fits the time limit."""


@dataclass(frozen=True)
class Benchmark:
    """What to measure."""

    rows: tuple[int, ...] = (256, 1024, 4096, 8192, 32768)
    """n = m, one line each."""
    widths: tuple[int, ...] = (256, 2048)
    """d, one block of lines each."""
    seconds: float = 3.0
    """Repeats a form for about this long and takes the fastest."""
    memory_limit: float = 6.0
    """GiB that a form may need by its own arithmetic; others are left out."""
    time_limit: float = 200.0
    """Seconds that one call may be expected to take; others are left out."""


def main(benchmark: Benchmark) -> dict[str, Any]:
    """Measures all forms, prints the table while it grows, and returns what the last line holds."""
    for name, sizes in (("rows", benchmark.rows), ("widths", benchmark.widths)):
        if not sizes or min(sizes) < 2:
            raise input_error(name, got=sizes, expected="one or more numbers ≥ 2")
    device = jax.devices()[0]
    print(
        f"{device.platform} ({device.device_kind}), jax {jax.__version__}; value + gradient; time / peak memory in GiB"
    )
    print(f"{'n = m':>6} {'d':>5}  {'3 products':>12}  {'dense':>22}  {'tiled':>22}  {'torch, broadcast':>22}")
    results = []
    for width in benchmark.widths:
        for rows in benchmark.rows:
            results.append(measure_all(benchmark, rows, width, rate(results)))
            print(line(results[-1]), flush=True)
    measured = [entry["tiled"] for entry in results if entry["tiled"]]
    summary = {
        "benchmark": "discrepancy",
        "platform": device.platform,
        "jax": jax.__version__,
        "settings": asdict(benchmark),
        "results": results,
        "worst_tiled_ratio": max((form["ratio"] for form in measured), default=None),
        "worst_tiled_gib": max((form["gib"] for form in measured), default=None),
    }
    print(json.dumps(summary))
    return summary


def rate(results: list[dict[str, Any]]) -> float:
    """Seconds for each product of two numbers, by the largest three products so far; 0 before any."""
    known = [(e["rows"] ** 2 * e["width"], e["products"]["seconds"]) for e in results if e["products"]]
    return max(known)[1] / max(known)[0] if known else 0.0


def measure_all(benchmark: Benchmark, rows: int, width: int, seconds_each: float = 0.0) -> dict[str, Any]:
    """All forms at one size: seconds, GiB and the ratio to the three products; None for what is left out."""
    entry: dict[str, Any] = {"rows": rows, "width": width}
    if SWEEP * seconds_each * rows**2 * width > benchmark.time_limit:
        return entry | dict.fromkeys(FORMS)
    for form in FORMS:
        if form == "torch" and importlib.util.find_spec("torch") is None:
            entry[form] = None
        elif expected_bytes(form, rows, width) > benchmark.memory_limit * GIB:
            entry[form] = None
        else:
            entry[form] = in_fresh_process(form, rows, width, benchmark.seconds)
    values = [entry[form]["value"] for form in ("dense", "tiled", "torch") if entry[form]]
    if values and np.ptp(values) > 1e-4 * abs(values[0]) + 1e-6:
        raise RuntimeError(f"n = {rows}, d = {width}: the forms disagree on the value: {values}")
    return entry


def expected_bytes(form: str, rows: int, width: int) -> float:
    """Rough need of a form: inputs and gradients, and what it holds per pair of rows."""
    linear = 4 * 4 * rows * width
    pairs = {"products": 4 * min(rows, SLAB) * rows, "dense": 80 * rows**2, "tiled": 0.0}
    return linear + (pairs[form] if form in pairs else 3 * 4 * (2 * rows) ** 2 * width)


def in_fresh_process(form: str, rows: int, width: int, seconds: float) -> dict[str, float]:
    """Measures one form in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=worker, args=(sender, form, rows, width, seconds))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{form} at n = {rows}, d = {width} ended with exit code {process.exitcode}") from None
    finally:
        process.join()


def worker(connection: Connection, form: str, rows: int, width: int, seconds: float) -> None:
    """Runs one form until ``seconds`` are over and sends the fastest time, the peak memory and the value."""
    run = FORMS[form](*inputs(rows, width))
    gc.collect()
    before = reset_peak_memory()
    start = time.perf_counter()
    value = run()  # the first call may still allocate and warm caches: a short one counts for memory alone
    first = time.perf_counter() - start
    peak = peak_memory() - before
    times: dict[str, list[float]] = {"form": [first] if first > seconds else [], "products": []}
    # In turn, so that whatever else the machine does slows both.
    yardstick, end = products(*inputs(rows, width)), time.perf_counter() + seconds
    while not times["products"] or time.perf_counter() < end:
        for name, call in (("products", yardstick), ("form", run)):
            if name == "form" and first > seconds:
                continue
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    fastest = {name: min(of_name) for name, of_name in times.items()}
    ratio = fastest["form"] / fastest["products"]
    connection.send({"seconds": fastest["form"], "ratio": ratio, "gib": max(peak, 0) / GIB, "value": value})


def line(entry: dict[str, Any]) -> str:
    """One line of the table."""

    def cell(form: str) -> str:
        found = entry[form]
        return "-" if found is None else f"{found['seconds']:.3g} s {found['ratio']:.2f}x {found['gib']:.2f}"

    product = f"{entry['products']['seconds']:.3g} s" if entry["products"] else "-"
    cells = "  ".join(f"{cell(form):>22}" for form in ("dense", "tiled", "torch"))
    return f"{entry['rows']:>6} {entry['width']:>5}  {product:>12}  {cells}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Benchmark, description=(__doc__ or "").split("\n\nOurs")[0]))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
