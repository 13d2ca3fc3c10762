"""What a run starts from and what it leaves: initial weights, scores, predictions and saved models."""

import hashlib
import io
import json
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import InputError, input_error
from dalib.core.files import checksum, write_atomically
from dalib.core.provenance import provenance
from dalib.core.types import Array, PyTree
from dalib.data import Domain
from dalib.encoders import Net
from dalib.encoders.pretrained import load_variables, save_variables
from dalib.evaluate.scores import confusion_matrix
from dalib.methods import Method
from dalib.run.config import ClosedForm, Experiment, asdict
from dalib.run.evaluation import Predict, predictions

# Where a run begins that needs a net trained on the source: the weights of the source-only run of the same seed.


FREE = (
    *("method", "method_options", "batch_norm", "recipe", "steps", "augment"),
    *("log_every", "evaluate_every", "save_every", "keep"),
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
    if method.needs.start == "scratch":
        if folder is not None:
            raise input_error("start", got=folder, expected=f"None: {experiment.method} starts from scratch")
        return None
    if folder is None:
        raise input_error(
            "start",
            got="None",
            expected=f"the folder of a finished source_only run: {experiment.method} starts from its net",
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


# What a run leaves: confusion matrix, features for pictures, predictions, weights; and which data it was of.


PICTURE_ROWS = 400
TARGET_FILE = "target.safetensors"
"""What predicts on the target, where ``weights.safetensors`` does not: statistics or heads of its own."""


def outcome_file(labelled: bool) -> str:
    """The file that a finished run has next to its weights: of a target with or without labels."""
    return "final.npz" if labelled else "predictions.npz"


def write_outcome(
    folder: Path,
    *,
    predictors: tuple[Predict, Predict],
    variables: PyTree,
    on_target: PyTree | None = None,
    domains: Any,
    labelled: bool,
    kind: str = "classification",
    mesh: Mesh | None = None,
    writes: bool = True,
) -> dict[str, Any]:
    """Writes :func:`outcome_file` and ``weights.safetensors``; gives the checksum of each for the record's end.

    Args:
        folder: the run folder.
        predictors: on source and on target.
        variables: the net's, with the source's batch statistics.
        on_target: what predicts on the target where ``variables`` does not; goes into :data:`TARGET_FILE`.
        domains: source and target.
        labelled: whether the target's test split has labels.
        kind: what is predicted, "classification" or "regression".
        mesh: of the devices that predict.
        writes: False on all but one of several processes, which take part in the predictions only.
    """
    source, target = domains
    if kind == "regression":
        data = _numbers(predictors, source, target, mesh, labelled)
    else:
        data = _final(predictors, source, target, mesh) if labelled else _predictions(predictors[1], target, mesh)
    if not writes:
        return {}
    files = [folder / outcome_file(labelled), folder / "weights.safetensors"]
    write_atomically(files[0], data)
    save_variables(files[1], variables)
    if on_target is not None:
        files.append(folder / TARGET_FILE)
        save_variables(files[2], on_target)
    return {file.name: checksum(file) for file in files}


def faults(folder: Path, end: Mapping[str, Any], outcome: str = "") -> list[str]:
    """What is wrong with the files of a finished run: missing, or not those that its record's "end" line describes.

    Args:
        folder: the run folder.
        end: that line; runs of before it had checksums are only asked for ``outcome``.
        outcome: name of the file with the result, if it is known.
    """
    found = []
    for name, wanted in (end.get("files") or ({outcome: {}} if outcome else {})).items():
        file = folder / name
        if not file.is_file():
            found.append(f"{name} is missing")
        elif wanted and file.stat().st_size != wanted["bytes"]:
            found.append(f"{name} has {file.stat().st_size} of {wanted['bytes']} bytes")
        elif wanted and checksum(file) != wanted:
            found.append(f"{name} has another checksum")
    return found


def _final(predictors: tuple[Predict, Predict], source: Domain, target: Domain, mesh: Mesh | None) -> bytes:
    """Confusion matrix on the target's test split, and features of both test splits for the pictures."""
    arrays: dict[str, np.ndarray] = {}
    for side, domain, predict in zip(("source", "target"), (source, target), predictors, strict=True):
        features, logits = predictions(predict, domain, "test", mesh, of=lambda x: (x.features, x.logits))
        labels, predicted = domain.labels("test"), np.asarray(logits.argmax(-1), np.int32)
        rows = np.random.default_rng(0).permutation(len(labels))[:PICTURE_ROWS]
        arrays[f"features_{side}"] = np.asarray(features[rows], np.float32)
        arrays[f"labels_{side}"] = labels[rows]
        arrays[f"predictions_{side}"] = predicted[rows]
    return packed({"confusion": confusion_matrix(labels, predicted, logits.shape[-1]), **arrays})


def _predictions(on_target: Predict, target: Domain, mesh: Mesh | None) -> bytes:
    """For a target without labels: ``probabilities`` ``[n, C]`` and ``predictions`` ``[n]`` of its test split."""
    logits = np.asarray(predictions(on_target, target, "test", mesh), np.float32)
    probabilities = np.asarray(jax.nn.softmax(logits))
    return packed({"probabilities": probabilities, "predictions": probabilities.argmax(1).astype(np.int32)})


def _numbers(
    predictors: tuple[Predict, Predict], source: Domain, target: Domain, mesh: Mesh | None, known: bool
) -> bytes:
    """Of a regression: ``predictions`` ``[n, k]`` of the target's test split, where known its ``labels``, and as for
    classes features of both test splits for the pictures, with their labels and predictions."""
    arrays: dict[str, np.ndarray] = {}
    for side, domain, predict in zip(("source", "target"), (source, target), predictors, strict=True):
        features, found = predictions(predict, domain, "test", mesh, of=lambda x: (x.features, x.logits))
        predicted, labels = np.asarray(found, np.float32), domain.labels("test")
        labels = labels.reshape(len(labels), -1)
        rows = np.random.default_rng(0).permutation(len(labels))[:PICTURE_ROWS]
        arrays[f"features_{side}"] = np.asarray(features[rows], np.float32)
        arrays[f"labels_{side}"] = labels[rows]
        arrays[f"predictions_{side}"] = predicted[rows]
    if not known:
        return packed({"predictions": predicted})
    return packed({"predictions": predicted, "labels": labels, **arrays})


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a compressed ``.npz``."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def configuration(
    experiment: Experiment | ClosedForm, class_names: Sequence[str], data: Mapping[str, str], *, command: str
) -> dict[str, Any]:
    """What ``config.json`` says of any run: what was asked, of which data, and which code and packages did it."""
    return {
        "experiment": asdict(experiment),
        "name": experiment.name,
        "task": experiment.task,
        "seed": experiment.seed,
        "class_names": class_names,
        "data": data,
        "command": command,
        **provenance(),
    }


def fingerprints(domains: Iterable[Domain]) -> dict[str, str]:
    """Of each domain: name with the shape of an example, and fingerprint."""
    return dict(_fingerprint(domain) for domain in domains)


_prints: dict[int, tuple[str, str]] = {}


def _fingerprint(domain: Domain) -> tuple[str, str]:
    """Computed once per object, and forgotten with it: a table that held domains would keep their data in memory."""
    if id(domain) not in _prints:
        shape = np.shape(domain.split("train").__getitems__([0])[0][0])
        name = f"{domain.name} {'×'.join(map(str, shape))}"
        _prints[id(domain)] = (name, domain.fingerprint())
        weakref.finalize(domain, _prints.pop, id(domain), None)
    return _prints[id(domain)]
