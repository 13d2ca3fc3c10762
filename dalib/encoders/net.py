"""Nets as pure functions: the engine's view of modules of any library.

Dropout and batch statistics are chosen apart in every pass: ``key`` switches dropout on, ``by_batch`` makes BatchNorm
use the statistics of the batch and update the running ones. Batch statistics are nested dicts; a BatchNorm layer holds
``{"mean", "var"}``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dalib.core.types import Array, Outputs, PyTree

Variables = dict[str, PyTree]
"""``{"params": …}`` and, where a net has BatchNorm or other state, ``"batch_stats"``: nested dicts of arrays."""


class Encoder(NamedTuple):
    """A net from inputs to features.

    Attributes:
        init: ``(key, inputs) -> Variables``. Only the shape and dtype of ``inputs`` matter.
        apply: ``(params, stats, inputs, *, key=None, by_batch=False) -> (Outputs, new stats)``. Without a ``key``
            there is no dropout; with ``by_batch=False`` the statistics come back as they were.
        statistics: ``(params, stats, inputs) -> stats`` of this batch alone, without dropout.
        for_population: returns the form that is fast under ``vmap`` over parameters on a CPU; None means this one.
    """

    init: Callable[[Array, Array], Variables]
    apply: Callable[..., tuple[Outputs, PyTree]]
    statistics: Callable[[PyTree, PyTree, Array], PyTree]
    for_population: "Callable[[], Encoder] | None" = None


class Net(NamedTuple):
    """A classifier: encoder, bottleneck and head; ``params`` and ``batch_stats`` have these groups.

    Attributes (others: :class:`Encoder`):
        apply: its outputs have logits.
        init_head: ``(key, features) -> params`` of one more head of the same form.
        apply_head: ``(head params, features, key) -> logits`` of a head alone; ``key=None`` means no dropout.
        mixed: ``(params, stats, inputs, source_weight) -> (Outputs, moments)`` with every BatchNorm between the running
            statistics (1) and those of the batch (0), for test-time methods. The moments are the batch's own, in the
            form of ``stats``. None where the library does not offer it.
    """

    init: Callable[[Array, Array], Variables]
    apply: Callable[..., tuple[Outputs, PyTree]]
    statistics: Callable[[PyTree, PyTree, Array], PyTree]
    init_head: Callable[[Array, Array], PyTree]
    apply_head: Callable[[PyTree, Array, Array | None], Array]
    mixed: Callable[[PyTree, PyTree, Array, Any], tuple[Outputs, PyTree]] | None = None
    for_population: "Callable[[], Net] | None" = None


def population_form(net: Net) -> Net:
    """Return a net's form that is fast under ``vmap`` over parameters on a CPU; the net itself without another one."""
    return net if net.for_population is None else net.for_population()


def as_outputs(result: Any) -> Outputs:
    """Turn another library's result into ``Outputs``: an array is the features."""
    return result if isinstance(result, Outputs) else Outputs(result)


def nested(leaves: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """Nest values by path into dicts."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        place = tree
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return tree


def lookup(tree: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path of nested dicts."""
    for part in path:
        tree = tree[part]
    return tree
