"""Every encoder, bottleneck and head in one table.

    dalib encoders                                  # all of them
    dalib encoders --encoder resnet50 vit_b16       # some
    dalib encoders --encoder own_package.nets:make  # one of your own
    dalib encoders --names                          # the names alone, at once
    dalib encoders --json

Width is that of the features; parameters are counted without bottleneck and head, on the inputs that are named. Numbers
of dalib's own nets are on record (``sizes.toml``); ``--trace`` measures them again, and those of others always are.
"""

import functools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import dalib

SIZES = Path(dalib.__file__).parent / "encoders" / "sizes.toml"
IMAGES, SERIES, VECTORS = "images 224×224×3", "series 128×3", "vectors of 64"
FORMS: dict[str, tuple[tuple[int, ...], str]] = {
    IMAGES: ((224, 224, 3), "float32"),
    "tokens": ((16,), "int32"),
    SERIES: ((128, 3), "float32"),
    "waveforms": ((16_000,), "float32"),
    VECTORS: ((64,), "float32"),
}
"""Inputs that an encoder is tried with, in turn: shape of an example and dtype."""
SMALL = "images 32×32×3"
USUAL: dict[str, tuple[str, tuple[int, ...], str]] = {
    "lenet": ("images 28×28×1", (28, 28, 1), "float32"),
    "mlp": (VECTORS, *FORMS[VECTORS]),
    **{name: (SMALL, (32, 32, 3), "float32") for name in ("dtn", *(f"cifar_resnet{n}" for n in (20, 32, 44, 56)))},
}
"""Inputs of encoders that are made for others than the first that they take."""


@dataclass(frozen=True)
class Options:
    """Options of ``dalib encoders``."""

    encoder: tuple[str, ...] = ()
    """Only these; package.module:factory is one of your own. Default: dalib's and those of installed packages."""
    names: bool = False
    """Print the names alone."""
    json: bool = False
    """Print a JSON object with the lists encoders, bottlenecks and heads."""
    trace: bool = False
    """Measure dalib's own nets again (on shapes, half a minute for all) instead of printing what is on record."""


class Row(NamedTuple):
    """The table's cells for one encoder."""

    name: str
    inputs: str
    width: int
    parameters: int
    weights: str


@functools.cache
def recorded() -> Mapping[str, list[Any]]:
    """Read inputs, width and number of parameters of dalib's own encoders by name, in the table's order."""
    return tomllib.loads(SIZES.read_text(encoding="utf-8"))


def row_of(name: str, *, trace: bool = False) -> Row:
    """Make the row of an encoder, from the record or traced on shapes alone.

    Raises:
        InputError: for an unknown name, or an encoder that takes none of :data:`FORMS`.
    """
    from dalib.core.checks import choose
    from dalib.encoders.pretrained.manifest import entries_of
    from dalib.run.registry import ENCODERS

    choose("encoder", name, ENCODERS)
    own = ENCODERS.origin(name) is None
    inputs, width, size = recorded()[name] if own and not trace and name in recorded() else traced(name)
    return Row(name, inputs, width, size, ", ".join(entry.name for entry in entries_of(name)))


def traced(name: str) -> tuple[str, int, int]:
    """Find an encoder's inputs, width and number of parameters in one trace."""
    import jax

    from dalib.core.checks import input_error
    from dalib.run.registry import make_encoder

    run, refusals = _run(make_encoder(name)), []
    # Nothing says what a net of another package takes, so each form is tried in turn.
    for inputs, shape, dtype in (USUAL[name],) if name in USUAL else [(form, *of) for form, of in FORMS.items()]:
        try:
            sample = jax.ShapeDtypeStruct((2, *shape), dtype)
            outputs, variables = jax.eval_shape(run, jax.random.key(0), sample)
            leaves = jax.tree.leaves(variables.get("params", {}))
            return inputs, outputs.features.shape[-1], sum(leaf.size for leaf in leaves)
        except Exception as error:  # a net of another package may refuse in any way
            refusals.append(f"{inputs}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    said = "".join(f"\n    {line}" for line in refusals)
    raise input_error("encoder", got=f"{name}, which takes none of these inputs:{said}", expected="one of them")


def _run(encoder: Any) -> Callable[[Any, Any], Any]:
    """Make ``(key, inputs) -> (outputs, variables)``; a Linen module gives both in one pass."""
    import flax.linen as nn

    from dalib.encoders import as_encoder

    if isinstance(encoder, nn.Module):
        return lambda key, x: encoder.init_with_output(key, x, train=False)
    net = as_encoder(encoder)

    def run(key: Any, x: Any) -> Any:
        variables = net.init(key, x)
        return net.apply(variables["params"], variables.get("batch_stats", {}), x)[0], variables

    return run


def parts(table: Mapping[str, Any]) -> dict[str, str]:
    """List bottlenecks or heads by name, with the fields that can be set."""
    found = {}
    for name, factory in table.items():
        built, preset = getattr(factory, "func", factory), getattr(factory, "keywords", {})
        known = fields(built) if is_dataclass(built) else ()
        shown = [f.name for f in known if f.name not in ("name", "parent", "dtype", "num_classes", "bn_momentum")]
        found[name] = ", ".join(f"{field}={preset[field]}" if field in preset else field for field in shown)
    return found


def names() -> list[str]:
    """List names of dalib's and installed packages' encoders; neither jax nor a net is imported."""
    points = metadata.entry_points(group="dalib.encoders")
    return list(dict.fromkeys((*recorded(), *(point.name for point in points))))


def show(options: Options) -> None:
    """Print the table, line by line as it comes, or one JSON object."""
    if options.names:
        print("\n".join(names()))
        return
    from dalib.core.checks import InputError
    from dalib.encoders import BOTTLENECKS, HEADS

    # A fault in one encoder must not hide the others: rows are printed at once, faults come last.
    chosen = options.encoder or tuple(names())
    rows, faults = [], []
    width = max(map(len, chosen))
    for name in chosen:
        try:
            row = row_of(name, trace=options.trace)
        except InputError as error:
            faults.append(str(error))
            continue
        rows.append(row)
        # Tracing may take seconds a net, so each row shows as soon as it is known.
        if not options.json:
            if len(rows) == 1:
                print(f"{'encoder':<{width}}  {'inputs':<18} {'width':>5} {'parameters':>12}  published weights")
            numbers = f"{row.width:>5} {row.parameters:>12,}"
            print(f"{row.name:<{width}}  {row.inputs:<18} {numbers}  {row.weights}".rstrip(), flush=True)
    tables = {"bottlenecks": parts(BOTTLENECKS), "heads": parts(HEADS)}
    if options.json:
        print(json.dumps({"encoders": [row._asdict() for row in rows], **tables}, ensure_ascii=False, indent=1))
    elif not options.encoder:
        for title, table in tables.items():
            print(f"\n{title}")
            for name, known in table.items():
                print(f"{name:<{width}}  {known}".rstrip())
    if faults:
        raise InputError("\n".join(faults))


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    if arguments is not None and list(arguments) == ["--names"]:
        show(Options(names=True))
        return 0
    from dalib.run.cli.main import main

    return main(show, Options, __doc__ or "", arguments)
