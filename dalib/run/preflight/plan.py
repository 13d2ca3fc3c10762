"""Plan of a preflight: one experiment's own training step, on shapes alone."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import Batch, Source, Target
from dalib.encoders import Net
from dalib.run.config import Experiment, Recipe, flat
from dalib.run.preflight.chips import parse_topology
from dalib.run.program import make_parts
from dalib.run.registry import METHODS
from dalib.train import TrainState, fully_sharded, make_step
from dalib.train.devices.sharding import batch_sharding, replicated

EFFORTS: dict[str, dict[str, Any]] = {"full": {}, "quick": {"exec_time_optimization_effort": -1.0}}
"""Options of the compiler."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class Plan(NamedTuple):
    """One program to compile, in JSON's types: it travels to a process of its own.

    Attributes:
        topology: as :func:`~dalib.run.preflight.chips.parse_topology` reads it.
        encoder, method, bottleneck, optimizer: names of the tables.
        batch: examples of each domain in a step, over all chips: the step sees twice as many.
        dtype: "fp32" or "bf16", what encoder and bottleneck compute in; parameters stay float32.
        fsdp: split parameters and optimiser state over the chips.
        classes: C.
        image_size, channels: of images.
        length: of rows of tokens, series or waveforms, or the width of vectors.
        target_size: examples in the target's training split, for methods that keep something for each of them.
        encoder_options, method_options: by name.
        effort: "full", or "quick": the compiler spends the least on speed. It was seen to be six times faster then, to
            use between 1 % more and 24 % less memory, and to send the same.
    """

    topology: str
    encoder: str
    method: str
    batch: int
    dtype: str = "fp32"
    fsdp: bool = False
    bottleneck: str = "linear-bn-relu"
    optimizer: str = "sgd"
    classes: int = 31
    image_size: int = 224
    channels: int = 3
    length: int = 128
    target_size: int = 10_000
    encoder_options: dict[str, Any] = {}
    method_options: dict[str, Any] = {}
    effort: str = "full"


class Step(NamedTuple):
    """A jitted step with the shapes and places of its arguments.

    Attributes:
        step: ``(state, batch) -> (state, metrics)``, jitted, nothing traced yet.
        state, batch: of ``jax.ShapeDtypeStruct``.
        state_places, batch_places: trees of ``NamedSharding`` of the same form.
    """

    step: Any
    state: TrainState
    batch: Batch
    state_places: TrainState
    batch_places: Batch


def experiment_of(plan: Plan) -> Experiment:
    """Make the experiment of a plan's step; an unknown name raises an InputError with the nearest ones."""
    dtype = choose("dtype", plan.dtype, DTYPES)
    method = choose("method", plan.method, METHODS)(**plan.method_options)
    # float32 is every net's default, and no field then: the step is the one that a plain run compiles.
    narrow = {} if dtype == "float32" else {"dtype": dtype}
    return Experiment(
        benchmark="preflight",
        source="source",
        target="target",
        method=plan.method,
        seed=0,
        steps=1000,
        batch_size=plan.batch,
        encoder=plan.encoder,
        bottleneck=plan.bottleneck,
        batch_norm=method.needs.batch_norm,
        recipe=Recipe(optimizer=plan.optimizer),
        encoder_options=flat({**narrow, **plan.encoder_options}),
        bottleneck_options=flat(narrow if plan.bottleneck != "none" else {}),
        method_options=flat(plan.method_options),
    )


def inputs_of(plan: Plan, net: Net) -> jax.ShapeDtypeStruct:
    """Return one domain's inputs: of images, tokens, series, waveforms and vectors the first that the net takes.

    Raises:
        InputError: when it takes none of them; the message says what it says to each.
    """
    side = plan.image_size
    forms = {
        "images": ((side, side, plan.channels), jnp.float32),
        "tokens": ((plan.length,), jnp.int32),
        "series": ((plan.length, plan.channels), jnp.float32),
        "rows": ((plan.length,), jnp.float32),
    }
    # Nets name no input form, so they are tried on shapes; a refusal costs no computation.
    refusals = []
    for name, (shape, dtype) in forms.items():
        probe = jax.ShapeDtypeStruct((2, *shape), dtype)
        try:
            jax.eval_shape(lambda x: net.init(jax.random.key(0), x), probe)
        except InputError as error:
            refusals.append(f"  {name} {[2, *shape]}: {str(error).splitlines()[0]}")
            continue
        return jax.ShapeDtypeStruct((plan.batch, *shape), dtype)
    raise InputError(
        f"encoder: {plan.encoder!r} takes none of these inputs\n" + "\n".join(refusals) + "\n  what to do: set "
        "--image-size and --channels, or --length (tokens, steps, samples, or the width of vectors)"
    )


def check_batch(plan: Plan, devices: int) -> None:
    """Check that a batch divides evenly among the devices.

    Raises:
        InputError: with the nearest batch that does.
    """
    if plan.batch < 1 or plan.batch % devices:
        nearest = max(round(plan.batch / devices), 1) * devices
        raise input_error(
            "batch",
            got=f"{plan.batch} examples of each domain for {devices} devices",
            expected=f"a multiple of {devices}",
            todo=f"the nearest is --batch {nearest}",
        )


def build(plan: Plan, mesh: Mesh) -> Step:
    """Build a plan's step for a mesh. Call it, and lower its step, while tracing for the mesh's platform."""
    check_batch(plan, mesh.size)
    parts = make_parts(experiment_of(plan), plan.classes)
    inputs = inputs_of(plan, parts.net)
    numbers = jax.ShapeDtypeStruct((plan.batch,), np.int32)  # labels and rows
    batch = Batch(Source(*cast(Any, (inputs, numbers, numbers))), Target(*cast(Any, (inputs, numbers))))
    init = partial(parts.init, target_size=plan.target_size)
    state = jax.eval_shape(init, jax.random.key(0), inputs)
    places = fully_sharded(mesh, state) if plan.fsdp else None
    step = make_step(parts.method, parts.forward, parts.optimizer, mesh=mesh, state_sharding=places, **parts.settings)
    if places is None:
        places = jax.tree.map(lambda _: replicated(mesh), state)
    return Step(step, state, batch, places, jax.tree.map(lambda _: batch_sharding(mesh), batch))


def check(plan: Plan) -> None:
    """Check what can be checked without compiling, so that no process is started in vain."""
    topology = parse_topology(plan.topology)
    choose("effort", plan.effort, EFFORTS)
    experiment_of(plan).check()
    if topology.devices:
        check_batch(plan, topology.devices)
