"""Where a run begins that needs a net trained on the source: the weights of the source-only run beside it."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dalib.checks import InputError, input_error
from dalib.encoders import Net
from dalib.methods import Method
from dalib.types import Array, PyTree
from dalib.weights import load_variables
from experiments.config import Experiment, asdict

FREE = (
    *("method", "method_options", "batch_norm", "recipe", "steps", "augment"),
    *("log_every", "evaluate_every", "save_every"),
)
"""What may differ between a run and the source-only run that it starts from; data, net, batch size and seed may not."""


class Start(NamedTuple):
    """A finished source-only run.

    Attributes:
        weights: its ``weights.safetensors``.
        record: what the run that starts here keeps of it: ``{"run", "sha256"}``.
    """

    weights: Path
    record: dict[str, Any]

    def variables(self, net: Net, sample: Array) -> PyTree:
        """The variables ``{"params", "batch_stats"}`` of the net, or an InputError that lists what does not fit."""
        like = jax.eval_shape(lambda x: net.init(jax.random.key(0), x), jnp.asarray(sample))
        loaded = load_variables(self.weights, {"params": like["params"], "batch_stats": like.get("batch_stats", {})})
        return jax.tree.map(jnp.asarray, loaded)


def read_start(method: Method, experiment: Experiment, folder: Path | None) -> Start | None:
    """Finds the start of a run; None for a method that starts from scratch.

    Raises:
        InputError: for a folder where none belongs, a missing one where one is needed, a run that has not ended, or one
            of another source, net, batch size or seed.
    """
    if method.starts_from == "scratch":
        if folder is not None:
            raise input_error("start", got=folder, expected=f"None: {experiment.method} starts from scratch")
        return None
    if folder is None:
        raise input_error(
            "start",
            got="None",
            expected=f"the folder of a finished source_only run, from whose net {experiment.method} starts",
        )
    weights = folder / "weights.safetensors"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["experiment"]
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise input_error(
            "start", got=f"{folder} ({error})", expected="the folder of a finished source_only run"
        ) from None
    wanted = json.loads(json.dumps({**asdict(experiment), "method": "source_only"}))
    differences = [
        f"{name}: there {config.get(name)!r}, here {value!r}"
        for name, value in wanted.items()
        if name not in FREE and _parameters(name, config.get(name)) != _parameters(name, value)
    ]
    if config.get("method") != "source_only":
        differences.append(f"method: there {config.get('method')!r}, needed 'source_only'")
    if differences:
        raise InputError(f"start: {folder} is a run of another kind:\n" + "\n".join(f"  {d}" for d in differences))
    return Start(weights, {"run": str(Path(*folder.parts[-2:])), "sha256": digest})


def _parameters(name: str, value: Any) -> Any:
    """A field's value as far as it shapes the parameters: dropout does not, so the second stage may do without it."""
    return [pair for pair in value or [] if pair[0] != "dropout"] if name.endswith("_options") else value
