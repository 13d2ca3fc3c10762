"""Flax NNX modules as pure functions.

An NNX module holds its variables and changes them in a call. Each pass here merges a fresh module from the structure
and the arrays it is given, calls it once, and reads the changed state back.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs, PyTree
from dalib.encoders.net import Encoder, Variables, as_outputs, lookup, nested

if TYPE_CHECKING:
    from flax import nnx

Path = tuple[str, ...]


def from_nnx(net: "nnx.Module | Callable[[nnx.Rngs], nnx.Module]") -> Encoder:
    """Make an encoder of an NNX module, ``module(inputs)`` to features ``[n, d]`` or ``Outputs``.

    ``nnx.Param`` is trained. BatchNorm's and all other variables are state, which changes in passes by batch only.
    The attributes ``deterministic`` and ``use_running_average`` are set before each call, so the module must not pass
    these flags to its layers itself.

    ``net`` is a factory ``nnx.Rngs -> module``, such as ``lambda rngs: Net(3, rngs=rngs)``; or a module, which starts
    with the weights it has, at every key. Anything else is an InputError.
    """
    from flax import nnx

    def make(key: Array) -> Any:
        module = net if isinstance(net, nnx.Module) else net(nnx.Rngs(key))
        if not isinstance(module, nnx.Module):
            raise input_error("net", got=type(module).__name__, expected="a flax.nnx.Module, or a factory of one")
        return module

    if not callable(net):
        raise input_error("net", got=type(net).__name__, expected="a flax.nnx.Module, or a factory of one")
    # Read once, on shapes: the structure, and for each variable whether it is trained, state or a random stream.
    graph, abstract = nnx.split(nnx.eval_shape(lambda: make(jax.random.key(0))))
    like = [(_strings(path), path, variable) for path, variable in nnx.to_flat_state(abstract)]
    if len({path for path, _, _ in like}) < len(like):
        raise input_error("net", got="two variables with one name", expected="names that differ as strings")
    trained = {path for path, _, variable in like if isinstance(variable, nnx.Param)}
    state = {path for path, _, variable in like if not isinstance(variable, nnx.Param | nnx.RngState)}

    def init(key: Array, inputs: Array) -> Variables:
        del inputs
        values = _values(nnx, make(key))
        params, stats = ({path: values[path] for path in paths} for paths in (sorted(trained), sorted(state)))
        return {"params": nested(params), **({"batch_stats": nested(stats)} if stats else {})}

    def merged(params: PyTree, stats: PyTree, key: Array | None, by_batch: bool) -> Any:
        # A fresh module for each pass, since a call changes the variables that a module holds.
        leaves = []
        for number, (name, path, variable) in enumerate(like):
            if isinstance(variable, nnx.RngState):
                value = _random(nnx, variable, key, number)
            else:
                value = lookup(params if name in trained else stats, name)
            leaves.append((path, variable.replace(value)))
        module = nnx.merge(graph, nnx.from_flat_state(leaves))
        # Dropout and statistics are two flags of the layers, set apart from one another.
        module.set_attributes(deterministic=key is None, raise_if_not_found=False)
        module.set_attributes(use_running_average=not by_batch, raise_if_not_found=False)
        return module

    def apply(
        params: PyTree, stats: PyTree, inputs: Array, *, key: Array | None = None, by_batch: bool = False
    ) -> tuple[Outputs, PyTree]:
        module = merged(params, stats, key, by_batch)
        outputs = as_outputs(module(inputs))
        return outputs, _state(nnx, module, state) if by_batch else stats

    def statistics(params: PyTree, stats: PyTree, inputs: Array) -> PyTree:
        module = merged(params, stats, None, True)
        # Momentum 0 makes the running statistics those of this batch.
        for _, layer in nnx.iter_modules(module):
            if isinstance(layer, nnx.BatchNorm):
                layer.momentum = 0.0
        module(inputs)
        return _state(nnx, module, state)

    return Encoder(init, apply, statistics)


def _strings(path: tuple[Any, ...]) -> Path:
    # Checkpoints and files of weights name variables by strings; NNX numbers the items of a list.
    return tuple(str(part) for part in path)


def _values(nnx: Any, module: Any) -> dict[Path, Any]:
    flat = nnx.to_flat_state(nnx.state(module))
    return {_strings(path): variable.get_value() for path, variable in flat}


def _state(nnx: Any, module: Any, paths: set[Path]) -> PyTree:
    values = _values(nnx, module)
    return nested({path: values[path] for path in sorted(paths)})


def _random(nnx: Any, variable: Any, key: Array | None, number: int) -> Any:
    """Make a stream's key or counter for one pass. Without a key nothing may draw, so any constant will do."""
    shape = variable.get_value().shape
    if not isinstance(variable, nnx.RngKey):
        return jnp.zeros(shape, variable.get_value().dtype)
    own = jax.random.key(0) if key is None else jax.random.fold_in(key, number)
    return jax.random.split(own, shape) if shape else own
