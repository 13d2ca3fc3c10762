"""Every encoder, bottleneck and head in one table, read off the code.

    dalib encoders                                  # all of them; half a minute, since each is traced once
    dalib encoders --encoder resnet50 vit_b16       # some
    dalib encoders --encoder own_package.nets:make  # one of your own
    dalib encoders --json

Width is that of the features; parameters are counted without bottleneck and head, on the inputs that are named.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import Outputs
from dalib.encoders import BOTTLENECKS, HEADS, as_encoder
from dalib.encoders.pretrained.manifest import manifest
from dalib.run.cli.main import main
from dalib.run.registry import ENCODERS, make_encoder

FORMS: tuple[tuple[str, tuple[int, ...], Any], ...] = (
    ("images 224×224×3", (224, 224, 3), jnp.float32),
    ("tokens", (16,), jnp.int32),
    ("series 128×3", (128, 3), jnp.float32),
    ("waveforms", (16_000,), jnp.float32),
    ("vectors of 64", (64,), jnp.float32),
)
"""Inputs that an encoder is tried with, in turn."""
USUAL = {
    "lenet": ("images 28×28×1", (28, 28, 1), jnp.float32),
    "dtn": ("images 32×32×3", (32, 32, 3), jnp.float32),
    "mlp": ("vectors of 64", (64,), jnp.float32),
    **{f"cifar_resnet{depth}": ("images 32×32×3", (32, 32, 3), jnp.float32) for depth in (20, 32, 44, 56)},
}
"""Inputs of encoders that are made for others than the first that they take."""


@dataclass(frozen=True)
class Options:
    """Options of ``dalib encoders``."""

    encoder: tuple[str, ...] = ()
    """Only these; package.module:factory is one of your own. Default: dalib's and those of installed packages."""
    json: bool = False
    """Print a JSON object with the lists encoders, bottlenecks and heads."""


class Row(NamedTuple):
    """What the table says of one encoder."""

    name: str
    inputs: str
    width: int
    parameters: int
    weights: str


def row_of(name: str) -> Row:
    """Traces an encoder once, on shapes alone.

    Raises:
        InputError: for an unknown name, or an encoder that takes none of :data:`FORMS`.
    """
    choose("encoder", name, ENCODERS)
    encoder = make_encoder(name)
    refusals = []
    for inputs, shape, dtype in (USUAL[name],) if name in USUAL else FORMS:
        sample = jax.ShapeDtypeStruct((2, *shape), dtype)
        try:
            outputs, variables = jax.eval_shape(_traced(encoder), jax.random.key(0), sample)
            width = outputs.features.shape[-1]
        except Exception as error:  # a net of another package may refuse in any way
            refusals.append(f"{inputs}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        parameters = sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {})))
        weights = [entry.name for entry in manifest().values() if entry.encoder == name]
        return Row(name, inputs, width, parameters, ", ".join(weights))
    said = "".join(f"\n    {line}" for line in refusals)
    raise input_error("encoder", got=f"{name}, which takes none of these inputs:{said}", expected="one of them")


def _traced(encoder: Any) -> Callable[[jax.Array, jax.Array], tuple[Outputs, Any]]:
    """``(key, inputs) -> (outputs, variables)``; a Linen module gives both in one pass."""
    if isinstance(encoder, nn.Module):
        return lambda key, x: encoder.init_with_output(key, x, train=False)
    net = as_encoder(encoder)

    def run(key: jax.Array, x: jax.Array) -> tuple[Outputs, Any]:
        variables = net.init(key, x)
        return net.apply(variables["params"], variables.get("batch_stats", {}), x)[0], variables

    return run


def parts(table: dict[str, Any]) -> dict[str, str]:
    """Bottlenecks or heads by name, with the fields that can be set."""
    found = {}
    for name, factory in table.items():
        built, preset = getattr(factory, "func", factory), getattr(factory, "keywords", {})
        known = fields(built) if is_dataclass(built) else ()
        shown = [f.name for f in known if f.name not in ("name", "parent", "dtype", "num_classes", "bn_momentum")]
        found[name] = ", ".join(f"{field}={preset[field]}" if field in preset else field for field in shown)
    return found


def show(options: Options) -> None:
    """Prints the table, line by line as it comes, or one JSON object."""
    names = options.encoder or tuple(ENCODERS)
    rows, faults = [], []
    width = max(map(len, names))
    for name in names:
        try:
            row = row_of(name)
        except InputError as error:
            faults.append(str(error))
            continue
        rows.append(row)
        if not options.json:
            if len(rows) == 1:
                print(f"{'encoder':<{width}}  {'inputs':<18} {'width':>5} {'parameters':>12}  published weights")
            numbers = f"{row.width:>5} {row.parameters:>12,}"
            print(f"{row.name:<{width}}  {row.inputs:<18} {numbers}  {row.weights}".rstrip(), flush=True)
    bottlenecks, heads = parts(BOTTLENECKS), parts(HEADS)
    if options.json:
        whole = {"encoders": [row._asdict() for row in rows], "bottlenecks": bottlenecks, "heads": heads}
        print(json.dumps(whole, ensure_ascii=False, indent=1))
    elif not options.encoder:
        for title, table in (("bottlenecks", bottlenecks), ("heads", heads)):
            print(f"\n{title}")
            for name, known in table.items():
                print(f"{name:<{width}}  {known}".rstrip())
    if faults:
        raise InputError("\n".join(faults))


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return main(show, Options, __doc__ or "", arguments)
