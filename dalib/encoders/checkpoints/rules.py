"""Rule tables: how the names and layouts of a foreign checkpoint become variables of one of our nets.

A table is data: regular expressions, target paths, named transforms. :func:`assemble` applies it in total: every
foreign array is used by exactly one rule or ignored with a reason, every variable of the net is filled exactly once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, unknown_name
from dalib.core.types import PyTree
from dalib.encoders.checkpoints.variables import fill, flatten

Arrays = dict[str, np.ndarray]
Transform = Callable[[np.ndarray], np.ndarray | tuple[np.ndarray, ...]]


class Rule(NamedTuple):
    """One kind of foreign array and where it goes.

    Attributes:
        pattern: regular expression that must match the whole foreign name.
        target: path of our variable, ``params/layer\\1_\\2/conv1/kernel``, with references to the pattern's groups;
            several paths when the transform splits the array.
        transform: name of an entry of ``TRANSFORMS``.
    """

    pattern: str
    target: str | tuple[str, ...]
    transform: str = "copy"


class Ignored(NamedTuple):
    """Foreign arrays that no variable of ours needs, and why."""

    pattern: str
    reason: str


class RuleTable(NamedTuple):
    """How one layout of one family is read.

    Attributes:
        family: the net's family, ``resnet``.
        version: counted up whenever the outcome changes; converted files carry it.
        rules: see :class:`Rule`; their order does not matter, since exactly one may match.
        ignored: see :class:`Ignored`.
        prepare: a step on all arrays before the rules, for what a rule cannot say (a common prefix, weight norm).
    """

    family: str
    version: int
    rules: tuple[Rule, ...]
    ignored: tuple[Ignored, ...] = ()
    prepare: Callable[[Arrays], Arrays] | None = None


def _convolution(x: np.ndarray) -> np.ndarray:
    """``[out, in / groups, *spatial]`` → ``[*spatial, in / groups, out]``, for any number of spatial axes."""
    return np.moveaxis(x, (0, 1), (-1, -2))


def _split_linear(parts: int) -> Transform:
    return lambda x: tuple(part.T for part in np.split(x, parts, axis=0))


TRANSFORMS: dict[str, Transform] = {
    "copy": lambda x: x,
    "conv": _convolution,
    "linear": lambda x: x.T,
    "squeeze": np.squeeze,
    # A 1×1 convolution [out, in, 1, 1] that is a linear layer here.
    "pointwise": lambda x: x.reshape(*x.shape[:2]).T,
    # One [3 d, d] matrix (or [3 d] bias) for query, key and value.
    "split_qkv_linear": _split_linear(3),
    "split3": lambda x: tuple(np.split(x, 3, axis=0)),
    # The same for matrices that are stored [in, out].
    "split3_columns": lambda x: tuple(np.split(x, 3, axis=-1)),
}
"""Transforms by name: an array in, one array out, or a tuple of as many as the rule has targets."""


def without_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """The arrays with ``prefix`` taken off every name that begins with it (``module.`` of torch's data parallel)."""
    return {name.removeprefix(prefix): x for name, x in arrays.items()}


def assemble(
    arrays: Mapping[str, np.ndarray], table: RuleTable, like: PyTree, *, without: Sequence[str] = ()
) -> PyTree:
    """Turns the arrays of a foreign checkpoint into variables of a net, in total.

    Args:
        arrays: foreign arrays by name.
        table: the rule table of their layout.
        like: ``jax.eval_shape(net.init, key, sample)``.
        without: prefixes of targets to leave out, ``("params/head/",)`` for a net without the published head.

    Returns:
        The tree of ``like`` with numpy arrays in it; they may be views of ``arrays`` (strided, memory-mapped).

    Raises:
        InputError: for foreign arrays that no rule or more than one takes, variables that stay unfilled or would be
            filled twice, and differences of shape or dtype. All are listed at once.
    """
    wanted = flatten(like)
    foreign = dict(arrays) if table.prepare is None else table.prepare(dict(arrays))
    found: Arrays = {}
    origin: dict[str, str] = {}
    blamed: set[str] = set()  # variables that another line of the list already explains
    problems: list[str] = []
    rules = [(re.compile(rule.pattern), rule) for rule in table.rules]
    ignored = [(re.compile(entry.pattern), entry) for entry in table.ignored]
    for name, x in foreign.items():
        hits = [(match, rule) for pattern, rule in rules if (match := pattern.fullmatch(name))]
        passed = [entry for pattern, entry in ignored if pattern.fullmatch(name)]
        if len(hits) + len(passed) != 1:
            patterns = [rule.pattern for _, rule in hits] + [f"{entry.pattern} (ignored)" for entry in passed]
            what = f"matched more than once, by {' and '.join(patterns)}" if patterns else "not known to the rule table"
            problems.append(f"{name} {list(x.shape)} of the checkpoint: {what}")
            continue
        if passed:
            continue
        match, rule = hits[0]
        targets = (rule.target,) if isinstance(rule.target, str) else rule.target
        paths = [match.expand(target) for target in targets]
        if all(path.startswith(tuple(without)) for path in paths):
            continue
        blamed.update(paths)
        for path, part in zip(paths, _apply(name, x, rule, len(paths), problems), strict=False):
            if path.startswith(tuple(without)):
                continue
            if path in found:
                problems.append(f"{path} of the net: filled twice, from {origin[path]} and {name}")
            elif path not in wanted:
                problems.append(
                    f"{name} {list(x.shape)} of the checkpoint: goes to {path}, which the net does not have"
                )
            else:
                if difference := _difference(part, wanted[path]):
                    problems.append(f"{path}: {difference} from {name} of the checkpoint, transformed")
                    part = np.zeros(0)
                found[path], origin[path] = part.astype(wanted[path].dtype, copy=False), name
    problems += [
        f"{path} {list(x.shape)} of the net: nothing in the checkpoint fills it"
        for path, x in wanted.items()
        if path not in found and path not in blamed and not path.startswith(tuple(without))
    ]
    if problems:
        raise InputError(
            f"weights: the checkpoint does not fit the net by the rules {table.family!r} (version {table.version}):\n"
            + "\n".join(f"  {p}" for p in sorted(problems))
            + "\n  what to do: build the encoder that the checkpoint was made for, or name its own rule table"
        )
    return fill(like, found)


def _apply(name: str, x: np.ndarray, rule: Rule, parts: int, problems: list[str]) -> tuple[np.ndarray, ...]:
    if rule.transform not in TRANSFORMS:
        raise unknown_name("transform", rule.transform, TRANSFORMS)
    try:
        out = TRANSFORMS[rule.transform](x)
    except (ValueError, IndexError) as error:
        problems.append(f"{name} {list(x.shape)} of the checkpoint: cannot be put through {rule.transform!r} ({error})")
        return ()
    out = out if isinstance(out, tuple) else (out,)
    if len(out) != parts:
        raise ValueError(f"rule {rule.pattern}: {rule.transform!r} gives {len(out)} arrays for {parts} targets")
    return out


def _difference(x: np.ndarray, like: np.ndarray) -> str:
    if x.shape != tuple(like.shape):
        return f"{list(like.shape)} in the net, {list(x.shape)}"
    return "" if _exact(x.dtype, np.dtype(like.dtype)) else f"{like.dtype} in the net, {x.dtype}"


def _exact(given: np.dtype, wanted: np.dtype) -> bool:
    """Whether every value of the given dtype is one of the wanted dtype, as half precision is of float32."""
    halves = (np.dtype(np.float16), np.dtype(jnp.bfloat16))
    return given == wanted or (given in halves and wanted == np.dtype(np.float32))


# Rules for torch's usual layers: the same few lines of every convolutional family's table.


STEP_COUNTER = Ignored(r"(?:.*\.)?num_batches_tracked", "torch's count of steps, of no use with a fixed momentum")


def unused(foreign: str, reason: str) -> Ignored:
    """All arrays whose names begin with ``foreign``, a pattern, but for torch's step counters."""
    return Ignored(rf"(?!.*num_batches_tracked){foreign}.*", reason)


def convolution(foreign: str, ours: str, *, bias: bool = False) -> tuple[Rule, ...]:
    """Rules for a convolution: ``foreign`` is a pattern, ``ours`` a path below ``params`` with group references."""
    kernel = Rule(rf"{foreign}\.weight", f"params/{ours}/kernel", "conv")
    return (kernel, Rule(rf"{foreign}\.bias", f"params/{ours}/bias")) if bias else (kernel,)


def linear(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Rules for a linear layer with bias."""
    return (
        Rule(rf"{foreign}\.weight", f"params/{ours}/kernel", "linear"),
        Rule(rf"{foreign}\.bias", f"params/{ours}/bias"),
    )


def pointwise(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Rules for a 1×1 convolution with bias that is a linear layer here."""
    return (
        Rule(rf"{foreign}\.weight", f"params/{ours}/kernel", "pointwise"),
        Rule(rf"{foreign}\.bias", f"params/{ours}/bias"),
    )


def batch_norm_rules(foreign: str, ours: str, *, frozen: bool = False) -> tuple[Rule, ...]:
    """Rules for BatchNorm; a frozen one keeps scale and bias with the statistics."""
    affine = "batch_stats" if frozen else "params"
    return (
        Rule(rf"{foreign}\.weight", f"{affine}/{ours}/scale"),
        Rule(rf"{foreign}\.bias", f"{affine}/{ours}/bias"),
        Rule(rf"{foreign}\.running_mean", f"batch_stats/{ours}/mean"),
        Rule(rf"{foreign}\.running_var", f"batch_stats/{ours}/var"),
    )
