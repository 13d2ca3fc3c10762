"""Equinox modules as pure functions. Equinox is an optional dependency (extra ``equinox``).

An Equinox module sees one example; a pass maps it over the batch with ``jax.vmap``, on the axis name that its BatchNorm
layers ask for. Parameters are its floating arrays, by their path in the module.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs, PyTree
from dalib.encoders.net import Encoder, Variables, as_outputs, lookup, nested

Path = tuple[str, ...]


class Layout(NamedTuple):
    """Paths of the leaves of a module and of its State by position, read once from their shapes."""

    structure: Any  # of the module, with StateIndex objects as leaves
    fixed: dict[int, Any]  # leaves that are no arrays
    params: dict[int, Path]  # of each array that is trained
    constants: dict[int, Path]  # of each array that is not
    modes: dict[int, bool]  # leaves ``inference``, and whether each is BatchNorm's
    state_structure: Any  # of the State; None for a module without one
    states: dict[int, Path | None]  # of each leaf of the State; None for a counter of BatchNorm
    norms: dict[Path, float]  # momentum of each BatchNorm
    axis: Any  # name of the batch axis
    takes_key: bool  # whether a call takes ``key``


def from_equinox(net: Any, state: Any = None, *, channels_first: bool = False) -> Encoder:
    """Make an encoder of an Equinox module, from one example to features ``[d]``.

    The module is called as ``module(x)``; with a state as ``module(x, state)``, and then returns ``(features, state)``.
    It also gets ``key=`` where its call takes one. BatchNorm must be of mode "batch". Its counter is left out: an
    evaluation normalises by the plain running statistics, as in Flax. A trained module's come in debiased.

    Args:
        net: a module; or a factory ``key -> module`` or ``key -> (module, state)``, such as
            ``equinox.nn.make_with_state(Net)``. A module starts with the weights it has, at every key.
        state: of a module that has one; None makes it where the module still holds its initial state.
        channels_first: whether an image ``[h, w, c]`` enters the module as ``[c, h, w]``, as Equinox's convolutions
            want it.

    Raises:
        InputError: when equinox is not installed, for another object, or for BatchNorm of another mode or axis.
    """
    eqx = _equinox()
    if not callable(net):
        raise input_error("net", got=type(net).__name__, expected="an equinox.Module with a call, or a factory of one")

    def make(key: Array) -> tuple[Any, Any]:
        made = (net, state) if isinstance(net, eqx.Module) else net(key)
        module, own = made if isinstance(made, tuple) else (made, None)
        if not isinstance(module, eqx.Module):
            raise input_error("net", got=type(module).__name__, expected="an equinox.Module, or a factory of one")
        holds_state = any(isinstance(leaf, eqx.nn.StateIndex) for _, leaf in _leaves(eqx, module))
        return eqx.nn.make_with_state(lambda: module)() if own is None and holds_state else (module, own)

    # Read once from shapes: what is trained, what is state, and which flags a pass has to set.
    layout = _layout(eqx, *eqx.filter_eval_shape(make, jax.random.key(0)))

    def init(key: Array, inputs: Array) -> Variables:
        del inputs
        module, own = make(key)
        # Trained arrays are parameters; all other arrays travel with the batch statistics.
        leaves = [leaf for _, leaf in _leaves(eqx, module)]
        stats = {path: leaves[i] for i, path in layout.constants.items()}
        if own is not None:
            found = jax.tree.leaves(_debiased(eqx, module, own))
            stats |= {path: found[i] for i, path in layout.states.items() if path is not None}
        params = nested({path: leaves[i] for i, path in layout.params.items()})
        return {"params": params, **({"batch_stats": nested(stats)} if stats else {})}

    def called(params: PyTree, stats: PyTree, inputs: Array, key: Array | None, by_batch: bool) -> tuple[Any, PyTree]:
        module = _module(layout, params, stats, dropout=key is not None, by_batch=by_batch)
        own = _state(layout, stats)

        def one(x: Array, key: Array | None) -> tuple[Any, Any]:
            x = jnp.moveaxis(x, -1, 0) if channels_first else x
            settings = {"key": key} if layout.takes_key else {}
            # A State may be used once; this is a fresh one for each trace.
            return (module(x, **settings), None) if own is None else module(x, own, **settings)

        # Each example draws its own dropout; the batch axis has a name, over which BatchNorm takes its means.
        keys = None if key is None else jax.random.split(key, inputs.shape[0])
        result, after = jax.vmap(one, out_axes=(0, None), axis_name=layout.axis)(inputs, keys)
        found = jax.tree.leaves(after)
        kept = {path: lookup(stats, path) for path in layout.constants.values()}
        return result, nested(kept | {path: found[i] for i, path in layout.states.items() if path is not None})

    def apply(
        params: PyTree, stats: PyTree, inputs: Array, *, key: Array | None = None, by_batch: bool = False
    ) -> tuple[Outputs, PyTree]:
        result, changed = called(params, stats, inputs, key, by_batch)
        return as_outputs(result), changed if by_batch else stats

    def statistics(params: PyTree, stats: PyTree, inputs: Array) -> PyTree:
        # The momentum m is static: from old = 0 the new value is (1 - m) times the batch's.
        empty = _map_norms(layout, stats, lambda m, x: jnp.zeros_like(x))
        return _map_norms(layout, called(params, empty, inputs, None, True)[1], lambda m, x: x / (1 - m))

    return Encoder(init, apply, statistics)


def _equinox() -> Any:
    try:
        import equinox
    except ImportError as error:
        raise input_error(
            "equinox", got="no such package", expected="equinox", todo="pip install 'dalib-jax[equinox]'"
        ) from error
    return equinox


def _leaves(eqx: Any, tree: Any, kind: Any = None) -> list[tuple[Path, Any]]:
    """List leaves with their paths; objects of ``kind`` (StateIndex by default) count as leaves."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: isinstance(x, kind or eqx.nn.StateIndex))
    return [(tuple(jax.tree_util.keystr((part,), simple=True) for part in path), leaf) for path, leaf in found]


def _layout(eqx: Any, module: Any, state: Any) -> Layout:
    """Read the layout from a module and State of ``jax.ShapeDtypeStruct``."""
    # Refused here, at building time: another mode or axis would change training without a word.
    norms = {p: x for p, x in _leaves(eqx, module, eqx.nn.BatchNorm) if isinstance(x, eqx.nn.BatchNorm)}
    for path, layer in norms.items():
        if layer.mode != "batch":
            raise input_error(
                f"BatchNorm {'.'.join(path)}",
                got=f"mode {layer.mode!r}, which trains by running statistics",
                expected='mode "batch"',
                todo='build it as equinox.nn.BatchNorm(…, mode="batch")',
            )
    axes = {layer.axis_name for layer in norms.values()}
    if len(axes) > 1 or not all(isinstance(axis, str) for axis in axes):
        raise input_error("axis_name of BatchNorm", got=sorted(map(str, axes)), expected="one name in all layers")
    leaves = _leaves(eqx, module)
    arrays = {i: leaf for i, (_, leaf) in enumerate(leaves) if isinstance(leaf, jax.ShapeDtypeStruct)}
    trained = {i for i, leaf in arrays.items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    return Layout(
        structure=jax.tree.structure(module, is_leaf=lambda x: isinstance(x, eqx.nn.StateIndex)),
        fixed={i: leaf for i, (_, leaf) in enumerate(leaves) if i not in arrays},
        params={i: leaves[i][0] for i in arrays if i in trained},
        constants={i: leaves[i][0] for i in arrays if i not in trained},
        modes={i: path[:-1] in norms for i, (path, leaf) in enumerate(leaves) if path[-1:] == ("inference",)},
        state_structure=None if state is None else jax.tree.structure(state),
        states={} if state is None else _state_paths(eqx, leaves, state, set(norms)),
        norms={path: layer.momentum for path, layer in norms.items()},
        axis=axes.pop() if axes else "batch",
        takes_key="key" in inspect.signature(type(module).__call__).parameters,
    )


def _state_paths(eqx: Any, leaves: list[tuple[Path, Any]], state: Any, norms: set[Path]) -> dict[int, Path | None]:
    numbered = jax.tree.unflatten(jax.tree.structure(state), range(len(jax.tree.leaves(state))))
    paths: dict[int, Path | None] = {}
    for path, index in leaves:
        if not isinstance(index, eqx.nn.StateIndex):
            continue
        # BatchNorm's moments get names as in Flax; its counter has no place among the statistics.
        for inner, position in _leaves(eqx, numbered.get(index)):
            if path[:-1] not in norms:
                paths[position] = path + inner
            elif path[-1] == "batch_state_index":
                paths[position] = (*path[:-1], ("mean", "var")[int(inner[0])])
            else:
                paths[position] = None
    return paths


def _debiased(eqx: Any, module: Any, state: Any) -> Any:
    """Return the State with Equinox's statistics for evaluation; the given State stays usable."""
    state = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(state))
    for _, layer in _leaves(eqx, module, eqx.nn.BatchNorm):
        if isinstance(layer, eqx.nn.BatchNorm):
            count = state.get(layer.batch_counter)
            scale = jnp.where(count == 0, 1, 1 - layer.momentum**count)
            mean, var = state.get(layer.batch_state_index)
            state = state.set(layer.batch_state_index, (mean / scale, var / scale))
    return state


def _module(layout: Layout, params: PyTree, stats: PyTree, *, dropout: bool, by_batch: bool) -> Any:
    leaves = dict(layout.fixed)
    leaves |= {i: not (by_batch if of_norm else dropout) for i, of_norm in layout.modes.items()}
    leaves |= {i: lookup(params, path) for i, path in layout.params.items()}
    leaves |= {i: lookup(stats, path) for i, path in layout.constants.items()}
    return jax.tree.unflatten(layout.structure, [leaves[i] for i in range(len(leaves))])


def _state(layout: Layout, stats: PyTree) -> Any:
    if layout.state_structure is None:
        return None
    # A counter of 0 makes Equinox evaluate by the plain running statistics.
    paths = [layout.states[i] for i in sorted(layout.states)]
    leaves = [jnp.int32(0) if path is None else lookup(stats, path) for path in paths]
    return jax.tree.unflatten(layout.state_structure, leaves)


def _map_norms(layout: Layout, stats: PyTree, function: Callable[[float, Array], Array]) -> PyTree:
    """Apply ``(momentum, value) -> value`` to mean and variance of every BatchNorm."""
    paths = [*layout.constants.values(), *(path for path in layout.states.values() if path is not None)]
    values = {path: lookup(stats, path) for path in paths}
    changed = {(*at, name): m for at, m in layout.norms.items() for name in ("mean", "var")}
    return nested({path: function(changed[path], x) if path in changed else x for path, x in values.items()})
