"""What a run leaves behind: confusion matrix, features for pictures, predictions, weights; and which data it was of."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dalib.data import Domain
from dalib.files import write_atomically
from dalib.types import PyTree
from dalib.weights import save_variables
from experiments.inference import Predict, predictions

PICTURE_ROWS = 400


def outcome_file(labelled: bool) -> str:
    """The file that a finished run has beside its weights: of a target with or without labels."""
    return "final.npz" if labelled else "predictions.npz"


def write_outcome(
    folder: Path,
    *,
    predictors: tuple[Predict, Predict],
    variables: PyTree,
    domains: Any,
    labelled: bool,
    mesh: Mesh | None = None,
    writes: bool = True,
) -> None:
    """Writes :func:`outcome_file` and ``weights.safetensors``.

    Args:
        folder: the run folder.
        predictors: on source and on target.
        variables: the net's, with the source's batch statistics.
        domains: source and target.
        labelled: whether the target's test split has labels.
        mesh: of the devices that predict.
        writes: False on all but one of several processes, which take part in the predictions only.
    """
    source, target = domains
    data = _final(predictors, source, target, mesh) if labelled else _predictions(predictors[1], target, mesh)
    if writes:
        write_atomically(folder / outcome_file(labelled), data)
        save_variables(folder / "weights.safetensors", variables)


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
    confusion = np.zeros((logits.shape[-1],) * 2, np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return _packed({"confusion": confusion, **arrays})


def _predictions(on_target: Predict, target: Domain, mesh: Mesh | None) -> bytes:
    """For a target without labels: ``probabilities`` ``[n, C]`` and ``predictions`` ``[n]`` of its test split."""
    logits = np.asarray(predictions(on_target, target, "test", mesh), np.float32)
    probabilities = np.asarray(jax.nn.softmax(logits))
    return _packed({"probabilities": probabilities, "predictions": probabilities.argmax(1).astype(np.int32)})


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def fingerprints(domains: Iterable[Domain]) -> dict[str, str]:
    """Of each domain: name with the shape of an example, and fingerprint."""
    return dict(_fingerprint(domain) for domain in domains)


_prints: dict[int, tuple[Domain, tuple[str, str]]] = {}


def _fingerprint(domain: Domain) -> tuple[str, str]:
    """Computed once per object."""
    if id(domain) not in _prints:
        shape = np.shape(domain.split("train").__getitems__([0])[0][0])
        name = f"{domain.name} {'×'.join(map(str, shape))}"
        _prints[id(domain)] = (domain, (name, domain.fingerprint()))
    return _prints[id(domain)][1]
