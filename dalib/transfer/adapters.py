"""Adapters: a few new parameters that change the weights of a pretrained encoder, which itself stays frozen.

An :class:`Adapter` is a pair of pure functions on nested dicts of parameters; :func:`adapted` wraps an encoder of any
library in one. All of them change weights alone, so merging is exact and a merged net costs nothing extra.

The encoder's parameters become ``{"base": as they were, "adapter": the new ones}``. ``frozen=(BASE,)`` freezes the
base, so that the optimiser keeps state for the adapter alone. ``pattern`` is a regular expression of the parameters to
change; one that matches none is an InputError at ``init``.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.core.checks import check_positive, input_error
from dalib.core.types import Array, Outputs, PyTree
from dalib.encoders import Encoder

BASE = "^encoder/base/"
"""Regular expression of the parameters to freeze, as ``make_optimizer`` takes it."""
Flat = dict[str, Array]


class Adapter(NamedTuple):
    """A way to change weights by a few parameters; ``name`` is for messages and records.

    ``init`` is ``(key, params) -> own``: new parameters, at which ``merge`` gives ``params`` back to rounding.
    ``merge`` is ``(params, own) -> params``: the changed weights, of the same names and shapes.
    """

    name: str
    init: Callable[[Array, PyTree], PyTree]
    merge: Callable[[PyTree, PyTree], PyTree]


def flatten(params: PyTree) -> Flat:
    """Arrays by path, ``layer.kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def _changed(params: PyTree, change: Callable[[str, Array], Array]) -> PyTree:
    """Change every array of the tree by its path."""

    def at(path: Any, x: Array) -> Array:
        return change(jax.tree_util.keystr(path, simple=True, separator="."), x)

    return jax.tree_util.tree_map_with_path(at, params)


def _chosen(name: str, params: PyTree, pattern: str, fits: Callable[[Array], bool]) -> Flat:
    """Return the arrays that an adapter changes; an error names some of the others when there is none."""
    arrays = flatten(params)
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise input_error("pattern", got=f"{pattern!r} ({error})", expected="a regular expression") from None
    found = {path: x for path, x in arrays.items() if search(path) and fits(x)}
    if not found:
        expected = f"parameters for {name} among {', '.join(list(arrays)[:6])} …"
        raise input_error("pattern", got=f"{pattern!r}, which matches none", expected=expected)
    return found


def _is_kernel(x: Array) -> bool:
    return x.ndim >= 2


def _as_matrix(x: Array) -> tuple[int, int]:
    """Inputs and outputs of a kernel: the last axis is the output, in dense layers and convolutions."""
    return int(x.size // x.shape[-1]), int(x.shape[-1])


def lora(*, rank: int = 8, alpha: float = 16.0, pattern: str = "kernel$") -> Adapter:
    """Low-rank adaptation, W + (α / r) · A B with A ``[inputs, r]`` drawn and B ``[r, outputs]`` zero.

    A convolution's kernel ``[h, w, i, o]`` counts as a matrix ``[h·w·i, o]``. ``rank`` r is whole; ``alpha`` α > 0 is
    the scale of the change at rank 1; a pattern is for example ``(query|value).kernel``. Hu et al. 2021, "LoRA", eq. 3.
    """
    check_positive(rank=rank, alpha=alpha)
    if rank != int(rank):
        raise input_error("rank", got=rank, expected="a whole number ≥ 1")

    def merge(params: PyTree, own: PyTree) -> PyTree:
        def change(path: str, x: Array) -> Array:
            return x if path not in own else x + _low_rank(own[path], alpha / rank, x)

        return _changed(params, change)

    return Adapter("lora", partial(_init_low_rank, "lora", pattern, rank), merge)


def dora(*, rank: int = 8, alpha: float = 16.0, pattern: str = "kernel$") -> Adapter:
    """Weight-decomposed low-rank adaptation: m · V / ‖V‖ per output, V = W + (α / r) · A B, m starts at ‖W‖.

    The norm has no gradient, as in the authors' code; arguments are those of :func:`lora`. Liu et al. 2024, "DoRA", eq.
    5 and section 4.3.
    """
    low = lora(rank=rank, alpha=alpha, pattern=pattern)

    def init(key: Array, params: PyTree) -> PyTree:
        arrays = flatten(params)
        # The magnitude starts at the norm of the weights: at first nothing changes.
        own = low.init(key, params)
        return {path: {**parts, "magnitude": _norms(arrays[path])} for path, parts in own.items()}

    def merge(params: PyTree, own: PyTree) -> PyTree:
        def change(path: str, x: Array) -> Array:
            if path not in own:
                return x
            direction = x + _low_rank(own[path], alpha / rank, x)
            return _scaled(direction, own[path]["magnitude"] / jax.lax.stop_gradient(_norms(direction)))

        return _changed(params, change)

    return Adapter("dora", init, merge)


def bitfit(*, pattern: str = "bias$") -> Adapter:
    """Train the biases alone, as differences from those of the pretrained net.

    Ben Zaken, Ravfogel, Goldberg 2021, "BitFit".
    """

    def init(key: Array, params: PyTree) -> PyTree:
        del key
        return {path: jnp.zeros_like(x) for path, x in _chosen("bitfit", params, pattern, lambda x: True).items()}

    return Adapter("bitfit", init, lambda params, own: _changed(params, lambda path, x: x + own.get(path, 0)))


def ia3(*, pattern: str) -> Adapter:
    """(IA)³: one factor for each output of the chosen layers, 1 at the start; kernel and bias are scaled alike.

    Choose the kernels of keys, values and the first layer of the feed-forward net. Liu et al. 2022, "Few-shot
    parameter-efficient fine-tuning", eq. 2.
    """

    def init(key: Array, params: PyTree) -> PyTree:
        del key
        found = _chosen("ia3", params, pattern, _is_kernel)
        return {path: jnp.ones(x.shape[-1], x.dtype) for path, x in found.items()}

    def merge(params: PyTree, own: PyTree) -> PyTree:
        # An output is scaled as a whole, so its bias gets the kernel's factor.
        biases = {path.removesuffix("kernel") + "bias": factor for path, factor in own.items()}

        def change(path: str, x: Array) -> Array:
            factor = own.get(path, biases.get(path))
            return x if factor is None else _scaled(x, factor)

        return _changed(params, change)

    return Adapter("ia3", init, merge)


ADAPTERS: dict[str, Callable[..., Adapter]] = {"lora": lora, "dora": dora, "bitfit": bitfit, "ia3": ia3}
"""Every adapter by name; each is called with its options by keyword."""


def adapted(encoder: Encoder, adapter: Adapter) -> Encoder:
    """Return an encoder of any library (:func:`dalib.encoders.as_encoder`) with an adapter."""

    # Weights are merged at every pass: gradients reach the adapter through them, and the encoder needs no change.
    def weights(params: PyTree) -> PyTree:
        return adapter.merge(params["base"], params["adapter"])

    def init(key: Array, inputs: Array) -> dict[str, PyTree]:
        return with_adapter(encoder.init(key, inputs), adapter, jax.random.fold_in(key, 1))

    def apply(params: PyTree, stats: PyTree, inputs: Array, **how: Any) -> tuple[Outputs, PyTree]:
        return encoder.apply(weights(params), stats, inputs, **how)

    def statistics(params: PyTree, stats: PyTree, inputs: Array) -> PyTree:
        return encoder.statistics(weights(params), stats, inputs)

    # The adapter changes weights alone, so the form for populations is that of the encoder.
    def together() -> Encoder:
        assert encoder.for_population is not None
        return adapted(encoder.for_population(), adapter)

    return Encoder(init, apply, statistics, together if encoder.for_population else None)


def with_adapter(variables: Mapping[str, PyTree], adapter: Adapter, key: Array) -> dict[str, PyTree]:
    """Return the variables of an adapted encoder from those of the encoder alone, for example pretrained ones."""
    params = variables["params"]
    return {**variables, "params": {"base": params, "adapter": adapter.init(key, params)}}


def merged(variables: Mapping[str, PyTree], adapter: Adapter) -> dict[str, PyTree]:
    """Return the variables of the plain encoder that computes the same as the adapted one."""
    params = variables["params"]
    return {**variables, "params": adapter.merge(params["base"], params["adapter"])}


def trained_share(params: PyTree) -> float:
    """Share of an adapted encoder's parameters that is trained, in [0, 1]."""
    sizes = {name: sum(x.size for x in jax.tree.leaves(params[name])) for name in ("base", "adapter")}
    return sizes["adapter"] / (sizes["base"] + sizes["adapter"])


def _init_low_rank(name: str, pattern: str, rank: int, key: Array, params: PyTree) -> PyTree:
    """Draw A by He's uniform rule with a = √5, as in the reference code, and set B = 0, for every chosen kernel."""
    own = {}
    for i, (path, x) in enumerate(sorted(_chosen(name, params, pattern, _is_kernel).items())):
        inputs, outputs = _as_matrix(x)
        bound = inputs**-0.5
        # One key a kernel, in sorted order: the draw does not depend on the order of the dict.
        drawn = jax.random.uniform(jax.random.fold_in(key, i), (inputs, rank), x.dtype, -bound, bound)
        own[path] = {"a": drawn, "b": jnp.zeros((rank, outputs), x.dtype)}
    return own


def _low_rank(parts: PyTree, scale: float, x: Array) -> Array:
    return (scale * parts["a"] @ parts["b"]).reshape(x.shape)


def _scaled(x: Array, factors: Array) -> Array:
    return x * jnp.broadcast_to(factors, x.shape)


def _norms(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(x.ndim - 1))))
