"""Our side of the step's benchmark: a jitted step of :mod:`dalib.train` on a batch that is on the device.

Also the machine's ceilings in this process: rates of matrix products and of copies of large arrays.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.speed.encoders import fill
from experiments.speed.turns import Built

SIDE = 2048
MEBIBYTES = 256


def fastest(call: Callable[[], Any], *, seconds: float = 1.0, least: int = 3) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    call()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def ceilings(dtypes: tuple[str, ...]) -> dict[str, float]:
    """Floating-point operations and bytes a second.

    Returns:
        ``flops/<dtype>`` of a product of two matrices of 2048², the better of XLA's and (where it is installed, on a
        CPU) PyTorch's, and ``bytes`` read and written by an addition to an array of 256 MiB in place.
    """
    import importlib.util

    import jax
    import jax.numpy as jnp

    found: dict[str, float] = {}
    for dtype in dtypes:
        a = jnp.full((SIDE, SIDE), 0.5, dtype)
        product = jax.jit(lambda a: a @ a)
        found[f"flops/{dtype}"] = 2 * SIDE**3 / fastest(lambda a=a, f=product: jax.block_until_ready(f(a)))  # type: ignore[misc]
        if jax.default_backend() == "cpu" and importlib.util.find_spec("torch") is not None:
            import torch  # type: ignore[import-not-found, unused-ignore]

            b = torch.full((SIDE, SIDE), 0.5, dtype=getattr(torch, dtype))
            theirs = 2 * SIDE**3 / fastest(lambda b=b: b @ b)  # type: ignore[misc]
            found[f"flops/{dtype}"] = max(found[f"flops/{dtype}"], theirs)
    # In place: a new array of this size would be given fresh pages at every call, which takes longer than the addition.
    holder = [jnp.ones(MEBIBYTES * 2**18)]
    add = jax.jit(lambda x: x + 1.0, donate_argnums=0)

    def call() -> None:
        holder[0] = jax.block_until_ready(add(holder[0]))

    found["bytes"] = 2 * holder[0].nbytes / fastest(call)
    return found


NOTHING = "nothing"
"""The step with a term that costs nothing: the mean of the target's features, so that both domains go through."""
WIDTH = 256
"""Of the bottleneck."""


def arrays(benchmark: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of source and target ``[batch, side, side, 3]`` and labels ``[batch]``."""
    random = np.random.default_rng(0)
    shape = (2, benchmark.batch, benchmark.image_size, benchmark.image_size, 3)
    source, target = random.normal(size=shape).astype(np.float32)
    return source, target, random.integers(0, benchmark.classes, benchmark.batch).astype(np.int32)


def our_step(
    benchmark: Any, method: str, dtype: str, *, encoder: Any = None, shapes: bool = False
) -> tuple[Any, Any, Any]:
    """A jitted step, a first state (or its shapes alone) and a batch on the device."""
    import jax
    import jax.numpy as jnp

    from dalib import methods, train
    from dalib.core.types import Batch, Source, Target
    from dalib.encoders import Bottleneck, make_classifier
    from dalib.encoders.registry import make_encoder
    from dalib.tasks import classification

    known: dict[str, Callable[[], Any]] = {
        "dann": methods.dann,
        "dan": methods.dan,
        "deep_coral": lambda: methods.deep_coral(layer="features"),
        NOTHING: lambda: methods.term(NOTHING, lambda view: view.target.features.mean()),
    }
    chosen = known[method]()
    compute = None if dtype == "float32" else jnp.dtype(dtype)
    net = make_classifier(
        make_encoder(benchmark.encoder, dtype=compute) if encoder is None else encoder,
        benchmark.classes,
        Bottleneck(WIDTH, dtype=compute),
    )
    optimizer = train.make_optimizer(
        learning_rate=0.01, nesterov=True, weight_decay=1e-3, multipliers={} if encoder else {"encoder": 0.1}
    )
    source, target, labels = arrays(benchmark)
    if encoder is not None:
        random = np.random.default_rng(0)
        source, target = random.normal(size=(2, benchmark.batch, 2048)).astype(np.float32)
    batch = Batch(Source(jnp.asarray(source), jnp.asarray(labels)), Target(jnp.asarray(target)))
    variables = jax.eval_shape(net.init, jax.random.key(0), batch.source.inputs)

    def init(key: jax.Array, variables: Any) -> Any:
        return train.init_state(
            key, net, chosen, optimizer, batch.source.inputs, batch_norm="joint", variables=variables
        )

    make = jax.eval_shape if shapes else lambda function, key, like: jax.jit(function)(key, fill(like))
    state = make(init, jax.random.key(0), variables)
    forward = train.make_forward(net, "joint")
    step = train.make_step(chosen, forward, optimizer, total_steps=10**4, task=classification(benchmark.classes))
    return step, state, batch


def ours(benchmark: Any) -> Built:
    """Our steps, compiled; the device, ceilings, operations, seconds of compilation and of alignment as facts."""
    import jax

    calls: dict[str, Callable[[], Any]] = {}
    operations, traffic, compilation = {}, {}, {}

    def caller(compiled: Any, state: Any, batch: Any) -> Callable[[], Any]:
        holder = [state]

        def call() -> None:
            holder[0], metrics = compiled(holder[0], batch)
            jax.block_until_ready((holder[0], metrics))

        return call

    for dtype in benchmark.dtypes:
        for method in benchmark.methods:
            step, state, batch = our_step(benchmark, method, dtype)
            lowered = step.lower(state, batch)
            # Before any rewriting by the compiler, so that the form of a convolution does not count.
            operations[f"{method} {dtype}"] = flops(benchmark, method, dtype)
            began = time.perf_counter()
            compiled = lowered.compile()
            compilation[f"{method} {dtype}"] = time.perf_counter() - began
            traffic[f"{method} {dtype}"] = float(compiled.cost_analysis()["bytes accessed"])
            calls[f"{method} {dtype}"] = caller(compiled, state, batch)
            calls[f"{method} {dtype}"]()
    device = jax.devices()[0]
    facts = {
        "device": f"{device.platform} ({device.device_kind})",
        "ceilings": ceilings(benchmark.dtypes),
        "operations": operations,
        "bytes": traffic,
        "compilation_s": compilation,
        "alignment_s": {method: alignment(benchmark, method) for method in benchmark.methods},
    }
    return calls, facts, lambda: None


def flops(benchmark: Any, method: str, dtype: str) -> float:
    """Floating-point operations of the step with plain convolutions, by the compiler's count."""
    from dalib.core.platform import tracing_for

    with tracing_for("gpu"):
        step, state, batch = our_step(benchmark, method, dtype, shapes=True)
        return float(step.lower(state, batch).cost_analysis()["flops"])


def alignment(benchmark: Any, method: str) -> float:
    """Seconds that the method's term and its own parameters add to a step on frozen features of width 2048."""
    import jax

    from dalib.encoders import MLP

    sides = {name: list(our_step(benchmark, name, "float32", encoder=MLP(()))) for name in (method, NOTHING)}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(40):
        for name, side in sides.items():
            step, state, batch = side
            start = time.perf_counter()
            side[1] = jax.block_until_ready(step(state, batch))[0]
            if turn >= 5:
                times[name].append(time.perf_counter() - start)
    return statistics.median(times[method]) - statistics.median(times[NOTHING])


def first_step(benchmark: Any, cache: str) -> Built:
    """Compiles and runs one step of the first method."""
    import jax

    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    step, state, batch = our_step(benchmark, benchmark.methods[0], benchmark.dtypes[0])
    jax.block_until_ready(step(state, batch))
    return {}, None, lambda: None
