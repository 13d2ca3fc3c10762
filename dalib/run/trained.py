"""Finished runs as functions: a run folder's net, and the classes that it predicts."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.checks import input_error
from dalib.core.types import Outputs, PyTree
from dalib.encoders.checkpoints.array_files import read_safetensors
from dalib.encoders.checkpoints.variables import flatten
from dalib.encoders.pretrained import load_variables
from dalib.methods.view import NET_GROUPS
from dalib.run.artefacts import TARGET_FILE
from dalib.run.config import OPEN, Experiment, Recipe
from dalib.run.evaluation import EVALUATION_ROWS
from dalib.run.program import NAMED, Given, make_program


class Trained(NamedTuple):
    """The net of a finished run.

    Attributes:
        experiment: the run's configuration.
        class_names: of the logits' columns, with "unknown" after them where the method predicts it; none of a
            regression.
        variables: ``{"params", "batch_stats"}`` as arrays.
        shape: of one example.
        dtype: of the examples: "float32", or "int32" for tokens.
        given: the objects that the run was handed.
    """

    experiment: Experiment
    class_names: tuple[str, ...]
    variables: PyTree
    shape: tuple[int, ...]
    dtype: str = "float32"
    given: Given = NAMED

    def outputs(self, inputs: Any) -> Outputs:
        """Compute features ``[n, f]`` and logits ``[n, C]`` of ``inputs`` ``[n, …]``, as NumPy arrays.

        Rows go through in batches of one size, so that the outputs of a row do not depend on how many come with it.

        Raises:
            InputError: for no rows, or rows of another shape.
        """
        if len(inputs) == 0 or np.shape(inputs)[1:] != self.shape:
            raise input_error("inputs", got=f"an array of shape {np.shape(inputs)}", expected=("n ≥ 1", *self.shape))
        columns = _columns(self.experiment, self.class_names, flatten(self.variables))
        program = make_program(self.experiment, columns, self.given)
        model = {"shared": self.variables["batch_stats"]}
        parts = []
        for start in range(0, len(inputs), EVALUATION_ROWS):
            block = np.asarray(inputs[start : start + EVALUATION_ROWS], self.dtype)
            filled = np.concatenate([block, np.repeat(block[:1], EVALUATION_ROWS - len(block), axis=0)])
            found = program.predict_target(self.variables["params"], model, filled)
            parts.append(jax.tree.map(partial(_first, len(block)), found))
        return Outputs(*(jax.tree.map(lambda *x: np.concatenate(x), *field) for field in zip(*parts, strict=True)))


def load_run(folder: Path, shape: Sequence[int], dtype: str = "float32", given: Given = NAMED) -> Trained:
    """Load the net of a finished run.

    Args:
        folder: the run folder.
        shape: of one example as the net sees it.
        dtype: of the examples, "int32" for tokens.
        given: the method and net of a run that got objects, which no file can name.

    Raises:
        InputError: for a folder without a finished run of a net, damaged files, or weights that do not fit.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        experiment = experiment_of(config["experiment"])
        names = tuple(config["class_names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise input_error("run", got=f"{folder} ({error})", expected="the folder of a finished run of a net") from None
    # The file that predicts on the target, where the run has one; only it holds more than the net itself.
    own = folder / TARGET_FILE
    file = own if own.is_file() else folder / "weights.safetensors"
    program = make_program(experiment, _columns(experiment, names, read_safetensors(file)), given)
    sample = jax.ShapeDtypeStruct((experiment.batch_size, *shape), dtype)
    # Shapes alone: every value comes from the file, and what does not fit is named.
    state = jax.eval_shape(lambda key, x: program.init(key, x, target_size=1), jax.random.key(0), sample)
    params = {k: v for k, v in state.params.items() if own.is_file() or k in NET_GROUPS}
    stats = state.model.get("shared") or next(iter(state.model.values()))
    variables = load_variables(file, {"params": params, "batch_stats": stats})
    return Trained(experiment, names, jax.tree.map(jnp.asarray, variables), tuple(shape), dtype, given)


def _first(count: int, x: Any) -> np.ndarray:
    return np.asarray(x)[:count]


def _columns(experiment: Experiment, names: Sequence[str], arrays: Mapping[str, Any]) -> int:
    """Count the classes that the net was built for, or the numbers that a regression predicts."""
    if experiment.kind == "regression":
        biases = [x.shape[-1] for name, x in arrays.items() if name.startswith("params/head/") and x.ndim == 1]
        return biases[-1] if biases else 1
    return len(names) - (experiment.relation in OPEN)  # the last name is "unknown" then


def experiment_of(written: Mapping[str, Any]) -> Experiment:
    """Rebuild the experiment that ``config.json`` holds; the inverse of :func:`dalib.run.config.asdict`.

    Raises:
        TypeError, KeyError: for fields that no version of dalib wrote.
    """
    recipe = Recipe(**{k: _tuples(v) for k, v in written["recipe"].items()})
    return Experiment(**{k: _tuples(v) for k, v in written.items() if k != "recipe"}, recipe=recipe)


def _tuples(value: Any) -> Any:
    """Turn JSON's lists back into tuples."""
    return tuple(_tuples(x) for x in value) if isinstance(value, list) else value
