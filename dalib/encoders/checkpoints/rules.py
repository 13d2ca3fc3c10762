"""Rule tables: maps from names and layouts of a foreign checkpoint to variables of one of our nets.

A table is data: regular expressions, target paths, named transforms. :func:`assemble` applies it in total: every
foreign array is used by exactly one rule or ignored with a reason, every variable of the net is filled exactly once.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, unknown_name
from dalib.core.types import PyTree
from dalib.encoders.checkpoints.variables import at_most_a_screen, fill, flatten

LOG = logging.getLogger("dalib.encoders.checkpoints")
MARKS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module"})
"""Parts of names that torch's wrappers put in (data parallel, compiled and sharded modules), at any depth."""
FLOATS = tuple(np.dtype(kind) for kind in (np.float16, jnp.bfloat16, np.float64))
"""Other dtypes that a float32 variable takes: halves without loss, float64 rounded."""
Arrays = dict[str, np.ndarray]
Transform = Callable[[np.ndarray], np.ndarray | tuple[np.ndarray, ...]]


class Rule(NamedTuple):
    """One kind of foreign array and its target.

    ``pattern`` must match the whole foreign name; ``target`` is the path of our variable with references to its groups,
    ``params/layer\\1_\\2/conv1/kernel`` (several paths when the transform, a name of ``TRANSFORMS``, splits the array).
    """

    pattern: str
    target: str | tuple[str, ...]
    transform: str = "copy"


class Ignored(NamedTuple):
    """Foreign arrays that no variable of ours needs, and the reason."""

    pattern: str
    reason: str


class RuleTable(NamedTuple):
    """Rules for one layout of one family.

    ``version`` is counted up whenever the outcome changes; converted files carry it. The order of the rules does not
    matter, since exactly one may match. ``prepare`` is a step on all arrays before them, for what no rule can express.
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
"""Transforms by name, from an array to one array, or to a tuple with one for each target of the rule."""


def assemble(
    arrays: Mapping[str, np.ndarray], table: RuleTable, like: PyTree, *, without: Sequence[str] = ()
) -> PyTree:
    """Turn the arrays of a foreign checkpoint into variables of a net, in total.

    Wrappers' prefixes of names (``module.``, ``_orig_mod.``, ``model.`` …) are taken off where the table then knows
    more names. float64 is rounded to float32, and a warning of the logger counts how often.

    Args:
        arrays: foreign arrays by name.
        table: the rule table of their layout.
        like: ``jax.eval_shape(net.init, key, sample)``; the result is this tree with numpy arrays in it, which may be
            views of ``arrays`` (strided, memory-mapped).
        without: prefixes of targets to leave out, ``("params/head/",)`` for a net without the published head.

    Raises:
        InputError: for foreign arrays that no rule or more than one takes, variables that stay unfilled or would be
            filled twice, differences of shape or dtype, and values that are not finite. All are counted, the first of
            each kind listed.
    """
    wanted, skipped = flatten(like), tuple(without)
    foreign = _unwrapped(dict(arrays), table)
    found: Arrays = {}
    origin: dict[str, str] = {}
    blamed: set[str] = set()  # variables that another line of the list already explains
    problems: dict[str, list[str]] = {kind: [] for kind in ("names", "targets", "values", "unfilled")}
    rounded = 0
    for name, x in foreign.items():
        # One rule, or one reason to ignore it: anything else is told, never guessed.
        what = f"{name} {list(x.shape)} of the checkpoint"
        hits, passed = _hits(name, table)
        if len(hits) + len(passed) != 1:
            patterns = [rule.pattern for _, rule in hits] + [f"{entry.pattern} (ignored)" for entry in passed]
            how = f"matched more than once, by {' and '.join(patterns)}" if patterns else "not known to the rule table"
            problems["names"].append(f"{what}: {how}")
            continue
        if passed:
            continue
        match, rule = hits[0]
        paths = [match.expand(target) for target in ((rule.target,) if isinstance(rule.target, str) else rule.target)]
        if all(path.startswith(skipped) for path in paths):
            continue
        # Put through the rule's transform and into the variables' places.
        blamed.update(paths)
        parts = _apply(what, x, rule, len(paths), problems["values"])
        for path, part in zip(paths, parts, strict=bool(parts)):
            if path.startswith(skipped):
                continue
            if path in found:
                problems["targets"].append(f"{path} of the net: filled twice, from {origin[path]} and {name}")
            elif path not in wanted:
                problems["targets"].append(f"{what}: goes to {path}, which the net does not have")
            else:
                found[path], difference = _fitted(part, wanted[path])
                origin[path] = name
                rounded += part.dtype == np.float64
                if difference:
                    problems["values"].append(f"{path}: {difference} from {name} of the checkpoint, transformed")
    # What no array has filled, and no line above explains.
    problems["unfilled"] = [
        f"{path} {list(x.shape)} of the net: nothing in the checkpoint fills it"
        for path, x in wanted.items()
        if path not in found and path not in blamed and not path.startswith(skipped)
    ]
    if any(problems.values()):
        raise InputError(
            f"weights: the checkpoint does not fit the net by the rules {table.family!r} (version {table.version}):\n"
            + "".join(f"  {line}\n" for line in (*_prefix_of(foreign), *at_most_a_screen(problems)))
            + "  what to do: build the encoder that the checkpoint was made for, or name its own rule table"
        )
    if rounded:
        LOG.warning("weights: %d arrays of float64 are rounded to float32", rounded)
    return fill(like, found)


def _hits(name: str, table: RuleTable) -> tuple[list[tuple[re.Match[str], Rule]], list[Ignored]]:
    hits = [(match, rule) for rule in table.rules if (match := re.fullmatch(rule.pattern, name))]
    return hits, [entry for entry in table.ignored if re.fullmatch(entry.pattern, name)]


def _unwrapped(arrays: Arrays, table: RuleTable) -> Arrays:
    """Prepare the arrays for the table's rules, under those of their names that most rules know."""

    def known(prepared: Arrays) -> int:
        return sum(any(_hits(name, table)) for name in prepared)

    # Prefixes differ from one trainer to another, so each guess is scored by the names that the rules then know.
    best = fault = None
    score = -1
    for candidate in _renamed(arrays):
        try:
            prepared = candidate if table.prepare is None else table.prepare(candidate)
        except InputError as error:  # a preparation may refuse names that it does not know
            fault = fault or error
            continue
        if (count := known(prepared)) > score:
            best, score = prepared, count
        if count == len(prepared):
            break
    if best is None:
        assert fault is not None
        raise fault
    return best


def _renamed(arrays: Arrays) -> Iterator[Arrays]:
    """Yield the arrays under other names: without marks of torch's wrappers, and without the most common prefix."""
    yield arrays
    # Wrappers may be nested a few times; each turn takes one prefix off.
    for _ in range(4):
        plain = {".".join(part for part in name.split(".") if part not in MARKS): x for name, x in arrays.items()}
        if len(plain) == len(arrays) and plain.keys() != arrays.keys():
            yield plain
        first, count = _most_common_start(arrays)
        shorter = {name.removeprefix(first): x for name, x in arrays.items()}
        if 2 * count <= len(arrays) or len(shorter) < len(arrays) or "" in shorter:
            return
        arrays = shorter
        yield arrays


def _most_common_start(arrays: Arrays) -> tuple[str, int]:
    starts = Counter(name[: name.find(".") + 1] for name in arrays)
    del starts[""]
    return starts.most_common(1)[0] if starts else ("", 0)


def _prefix_of(arrays: Arrays) -> tuple[str, ...]:
    """Write a line with the prefix of all names, or of most of them."""
    first, count = _most_common_start(arrays)
    if len(arrays) < 2 or 2 * count <= len(arrays):
        return ()
    return (f"{'all' if count == len(arrays) else f'{count} of {len(arrays)}'} names begin with {first[:80]}",)


def _apply(what: str, x: np.ndarray, rule: Rule, parts: int, problems: list[str]) -> tuple[np.ndarray, ...]:
    if rule.transform not in TRANSFORMS:
        raise unknown_name("transform", rule.transform, TRANSFORMS)
    # A fault of the array is listed with the others; a fault of the table itself is an error of ours.
    try:
        out = TRANSFORMS[rule.transform](x)
    except (ValueError, IndexError) as error:
        problems.append(f"{what}: cannot be put through {rule.transform!r} ({error})")
        return ()
    out = out if isinstance(out, tuple) else (out,)
    if len(out) != parts:
        raise ValueError(f"rule {rule.pattern}: {rule.transform!r} gives {len(out)} arrays for {parts} targets")
    return out


def _fitted(x: np.ndarray, like: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the array in the variable's dtype, and its fault."""
    wanted = np.dtype(like.dtype)
    if x.shape != tuple(like.shape):
        return x, f"{list(like.shape)} in the net, {list(x.shape)}"
    if x.dtype != wanted and not (x.dtype in FLOATS and wanted == np.float32):
        return x, f"{like.dtype} in the net, {x.dtype}"
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is told here
        x = x.astype(wanted, copy=False)
    bad = 0 if wanted.kind in "biu" else int(x.size - np.isfinite(x).sum())
    return x, f"{bad} of {x.size} values are not finite," if bad else ""


# Rules for torch's usual layers: the same few lines of every convolutional family's table.
STEP_COUNTER = Ignored(r"(?:.*\.)?num_batches_tracked", "torch's count of steps, of no use with a fixed momentum")


def unused(foreign: str, reason: str) -> Ignored:
    """Ignore all arrays with names that begin with ``foreign``, a pattern, but for torch's step counters."""
    return Ignored(rf"(?!.*num_batches_tracked){foreign}.*", reason)


def convolution(foreign: str, ours: str, *, bias: bool = False) -> tuple[Rule, ...]:
    """Make a convolution's rules: ``foreign`` is a pattern, ``ours`` a path below ``params`` with group references."""
    return _two(foreign, ours, "kernel", "conv")[: 2 if bias else 1]


def _two(foreign: str, ours: str, kernel: str, transform: str = "copy") -> tuple[Rule, ...]:
    weight = Rule(rf"{foreign}\.weight", f"params/{ours}/{kernel}", transform)
    return (weight, Rule(rf"{foreign}\.bias", f"params/{ours}/bias"))


def linear(foreign: str, ours: str, *, transform: str = "linear") -> tuple[Rule, ...]:
    """Make rules for a linear layer with bias; ``"copy"`` is for kernels that are stored ``[in, out]``."""
    return _two(foreign, ours, "kernel", transform)


def pointwise(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Make rules for a 1×1 convolution with bias that is a linear layer here."""
    return _two(foreign, ours, "kernel", "pointwise")


def layer_norm_rules(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Make rules for LayerNorm."""
    return _two(foreign, ours, "scale")


def batch_norm_rules(foreign: str, ours: str, *, frozen: bool = False) -> tuple[Rule, ...]:
    """Make rules for BatchNorm; a frozen one keeps scale and bias with the statistics."""
    affine = "batch_stats" if frozen else "params"
    return (
        Rule(rf"{foreign}\.weight", f"{affine}/{ours}/scale"),
        Rule(rf"{foreign}\.bias", f"{affine}/{ours}/bias"),
        Rule(rf"{foreign}\.running_mean", f"batch_stats/{ours}/mean"),
        Rule(rf"{foreign}\.running_var", f"batch_stats/{ours}/var"),
    )
