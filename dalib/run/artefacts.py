"""Start weights of a run, and the files that it leaves: scores, predictions and saved models."""

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

# A run that needs a net trained on the source starts from the source-only run of the same seed.


FREE = (
    *("method", "method_options", "batch_norm", "recipe", "steps", "augment"),
    *("log_every", "evaluate_every", "save_every", "keep"),
)
"""Fields that may differ between a run and the source-only run of its start; data, net, batch size, seed may not."""


class Start(NamedTuple):
    """A finished source-only run.

    Attributes:
        weights: its ``weights.safetensors``.
        record: what the run that starts here keeps of it: ``{"run", "sha256"}``.
    """

    weights: Path
    record: dict[str, Any]

    def variables(self, net: Net, sample: Array) -> PyTree:
        """Read the net's variables ``{"params", "batch_stats"}``; an InputError lists what does not fit."""
        like = jax.eval_shape(lambda x: net.init(jax.random.key(0), x), jnp.asarray(sample))
        loaded = load_variables(self.weights, {"params": like["params"], "batch_stats": like.get("batch_stats", {})})
        return jax.tree.map(jnp.asarray, loaded)


def read_start(method: Method, experiment: Experiment, folder: Path | None) -> Start | None:
    """Find the start of a run; None for a method that starts from scratch.

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
    # Through JSON and back: tuples become lists there, and would differ from what the file holds.
    wanted = json.loads(json.dumps({**asdict(experiment), "method": "source_only"}))
    # All differences in one error: a run of another kind often differs in several fields.
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
    """Return what shapes the parameters in a field's value: dropout does not, so the second stage may do without it."""
    return [pair for pair in value or [] if pair[0] != "dropout"] if name.endswith("_options") else value


# Files of a finished run: confusion matrix, features for pictures, predictions, weights, and the data's fingerprints.


PICTURE_ROWS = 400
TARGET_FILE = "target.safetensors"
"""Variables that predict on the target, where they are not ``weights.safetensors``: statistics or heads of its own."""


def outcome_file(labelled: bool) -> str:
    """Name the result file of a finished run, for a target with or without labels."""
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
    """Write :func:`outcome_file` and ``weights.safetensors``; return their checksums for the record's end.

    Args:
        folder: the run folder.
        predictors: on source and on target.
        variables: the net's, with the source's batch statistics.
        on_target: variables that predict on the target, if others than ``variables``; they go into :data:`TARGET_FILE`.
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
    # Predictions above are collective, so every process computes them; one alone writes.
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
    """List faults in a finished run's files: missing ones, and those that its record's "end" line does not describe.

    Args:
        folder: the run folder.
        end: that line; older runs have no checksums in it, and only ``outcome`` is looked for.
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
    """Pack the confusion matrix on the target's test split, and the features of both test splits for the pictures."""
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
    """Pack ``probabilities`` ``[n, C]`` and ``predictions`` ``[n]`` of the test split of a target without labels."""
    logits = np.asarray(predictions(on_target, target, "test", mesh), np.float32)
    probabilities = np.asarray(jax.nn.softmax(logits))
    return packed({"probabilities": probabilities, "predictions": probabilities.argmax(1).astype(np.int32)})


def _numbers(
    predictors: tuple[Predict, Predict], source: Domain, target: Domain, mesh: Mesh | None, known: bool
) -> bytes:
    """Pack a regression's ``predictions`` ``[n, k]`` on the target's test split, with its ``labels`` where known.

    As for classes, features of both test splits are kept for the pictures, with labels and predictions."""
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
    """Make the content of ``config.json``: the request, the data's fingerprints, and versions of code and packages."""
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
    """Map each domain's name and example shape to its fingerprint."""
    return dict(_fingerprint(domain) for domain in domains)


_prints: dict[int, tuple[str, str]] = {}


def _fingerprint(domain: Domain) -> tuple[str, str]:
    """Compute it once per object and forget it with the object: a table of domains would keep their data in memory."""
    if id(domain) not in _prints:
        shape = np.shape(domain.split("train").__getitems__([0])[0][0])
        name = f"{domain.name} {'×'.join(map(str, shape))}"
        _prints[id(domain)] = (name, domain.fingerprint())
        weakref.finalize(domain, _prints.pop, id(domain), None)
    return _prints[id(domain)]
