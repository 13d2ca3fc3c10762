"""Trace of a run's first step before its folder is made: shapes and options that do not fit cost no training."""

import re
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import InputError, input_error
from dalib.core.types import Batch, Source, Target
from dalib.data import Domain
from dalib.data.domain import as_labels
from dalib.run.cli.progress import say
from dalib.run.config import Experiment
from dalib.run.program import Program
from dalib.train import TrainState
from dalib.train.accumulate import check_statistics
from dalib.train.devices.processes import leads
from dalib.train.optimizer import parameter_names


def check_step(
    experiment: Experiment, program: Program, labelled: Domain, target: Domain, shots: tuple[Domain, int] | None = None
) -> None:
    """Trace the first state and the whole step of a run on shapes alone, once for each program and shape.

    Args:
        experiment: the run, for messages.
        program: its compiled pieces.
        labelled: the domain that it learns labels from.
        target: the domain without labels.
        shots: labelled target examples, and how many of them a batch has.

    Raises:
        InputError: for a step that cannot be traced, parameters of size 0, or statistics that parts of a batch lack.
    """
    # A batch as the stream would make it, in shapes alone.
    size = experiment.batch_size
    inputs, labels = _shapes(labelled, size)
    others, _ = _shapes(target, size)
    few = None if shots is None else Source(*_shapes(*shots), _rows(shots[1]))
    batch = Batch(Source(inputs, labels, _rows(size)), Target(others, _rows(size)), few)
    options = {"method": experiment.method_options, "encoder": experiment.encoder_options}
    try:
        # Errors of dalib already say what to do; any other comes from deep inside a net or a method.
        state = _traced(program.init, program.step, batch, len(target.split("train")))
    except InputError:
        raise
    except Exception as error:
        said = str(error).strip().split("\n")[0][:300]
        named = {kind: ", ".join(f"{name}={value}" for name, value in own) for kind, own in options.items()}
        given = "; ".join(f"{kind} {text or 'by default'}" for kind, text in named.items())
        raise input_error(
            f"step of {experiment.name} on {experiment.encoder}",
            got=f"{type(error).__name__} while it is traced: {said}",
            expected=f"a net and a method that fit examples of shape {inputs.shape[1:]}",
            todo=f"check the options ({given}) and the shape of the data",
        ) from error
    # Only the traced state tells whether the net normalises by batches, or has parameters at all.
    if experiment.accumulate > 1:
        check_statistics(state.model, experiment.batch_norm)
    _check_sizes(state, experiment)
    if (said := moving_statistics(state, experiment)) and leads():
        _warn(said)


def moving_statistics(state: TrainState, experiment: Experiment) -> str:
    """Write a warning where frozen normalisation layers go on collecting statistics; empty elsewhere.

    Freezing keeps parameters. Running means and variances are no parameters: they follow every training batch, so the
    frozen part of the net changes all the same.
    """
    frozen = experiment.frozen
    if not frozen or experiment.batch_norm == "frozen":
        return ""
    still = {n.rpartition("/")[0] for n in parameter_names(state.params) if any(re.search(p, n) for p in frozen)}
    # An adapted encoder has its own parameters one level deeper than its statistics.
    still |= {n.replace("encoder/base/", "encoder/", 1) for n in still}
    counted = {n.split("/", 1)[1].rpartition("/")[0] for n in parameter_names(state.model)}
    moving = sorted(still & counted)
    if not moving:
        return ""
    more = f" and {len(moving) - 1} other layers" if len(moving) > 1 else ""
    return (
        f"frozen: {moving[0]}{more} keep their parameters, and their BatchNorm statistics go on moving "
        f"(batch_norm {experiment.batch_norm})\n  what to do: --batch-norm frozen keeps the statistics as well"
    )


@lru_cache(maxsize=64)
def _traced(init: Any, step: Any, batch: Batch, target_size: int) -> TrainState:
    """Return the state's shapes; tracing a jitted step here is the trace that the run itself uses."""
    state: TrainState = jax.eval_shape(partial(init, target_size=target_size), jax.random.key(0), batch.source.inputs)
    jax.eval_shape(step, state, batch)
    return state


@lru_cache
def _warn(text: str) -> None:
    say(f"warning: {text}")


def _check_sizes(state: TrainState, experiment: Experiment) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    empty = [jax.tree_util.keystr(path, simple=True, separator="/") for path, leaf in leaves if 0 in leaf.shape]
    if empty:
        got = f"{empty[0]} without entries, of {experiment.encoder} and {experiment.name}"
        raise input_error("widths", got=got, expected="layers of width ≥ 1", todo="mend encoder and method options")


def _shapes(domain: Domain, size: int) -> tuple[Any, Any]:
    """Return inputs and labels of a batch, as shapes."""
    x, y = domain.split("train").__getitems__([0])
    like = jax.tree.map(jnp.asarray, (np.asarray(x), as_labels(y)))
    inputs, labels = (jax.ShapeDtypeStruct((size, *own.shape[1:]), own.dtype) for own in like)
    return inputs, labels


def _rows(size: int) -> Any:
    return jax.ShapeDtypeStruct((size,), jnp.int32)
