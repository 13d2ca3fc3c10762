"""What the machine can do at best, measured in this process: matrix products and copies of large arrays."""

import time
from collections.abc import Callable
from typing import Any

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
