"""Closed-form methods on features: fitted once, scored once, with the same run records as nets."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from dalib.core.files import checksum, write_atomically
from dalib.core.locks import hold, release
from dalib.data import UNLABELLED, Domain, check_distinct, match_classes
from dalib.evaluate.scores import Scores, confusion_matrix
from dalib.methods.classic import CLASSIC, Fitted, nearest_neighbour
from dalib.run.artefacts import configuration, faults
from dalib.run.config import ClosedForm
from dalib.train import open_record

WEIGHTING = ("kliep", "ulsif", "odds")
"""Methods that weight source rows, which 1-NN cannot use."""
PICTURE_ROWS = 400
Predict = Callable[[np.ndarray], np.ndarray]


def nearest(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Predict:
    """1-nearest-neighbour; takes no weights."""
    if weights is not None:
        raise input_error("classifier", got="1nn for a method that weights source rows", expected="svm or logreg")
    return lambda rows: nearest_neighbour(x, y, rows)


def linear_svm(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, C: float = 1.0) -> Predict:
    """Linear support vector machine, one against one; from the Gram matrix, which is faster for long rows."""
    from sklearn.svm import SVC

    machine = SVC(C=C, kernel="precomputed").fit(x @ x.T, y, sample_weight=weights)
    return lambda rows: machine.predict(rows @ x.T)


def logistic_regression(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, C: float = 1.0) -> Predict:
    """Multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=2000).fit(x, y, sample_weight=weights).predict


CLASSIFIERS: dict[str, Callable[..., Predict]] = {
    "1nn": nearest,
    "svm": linear_svm,
    "logreg": logistic_regression,
}
"""``(x [n, d], labels [n], weights [n] or None, C=1.0) -> (rows [m, d] -> labels [m])``, by name; 1nn has no C."""
CHOICES_OF_C = tuple(10.0**k for k in range(-4, 4))
FOLDS, CHOSEN_ON = 5, 2000


def choose_c(classifier: str, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    """Choose C by cross-validation on labelled source rows: of those that score best the nearest to 1.

    Args:
        classifier: svm or logreg.
        x: ``[n, d]``, as the method mapped them; of more than 2,000 rows a share of each class is drawn, always the
            same.
        y: ``[n]``.
        weights: ``[n]``, which also weigh the rows that are predicted.

    Returns:
        ``C`` and its ``accuracy``; C = 1 alone where a class has a single row, which can't be left out.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    # Cross-validation costs the square of the rows; a share that keeps the classes' proportions decides as well.
    if len(y) > CHOSEN_ON and np.bincount(y).max() > 1:
        try:
            rows = train_test_split(np.arange(len(y)), train_size=CHOSEN_ON, stratify=y, random_state=0)[0]
        except ValueError:  # a class with a single row, or more classes than rows to draw
            rows = np.random.default_rng(0).permutation(len(y))[:CHOSEN_ON]
        x, y, weights = x[rows], y[rows], None if weights is None else weights[rows]
    smallest = int(np.bincount(y)[np.unique(y)].min())
    if smallest < 2 or len(np.unique(y)) < 2:
        return {"C": 1.0}
    if x.shape[1] > len(x):
        # A linear classifier sees inner products alone: as many columns as rows hold them all.
        values, vectors = np.linalg.eigh(x.astype(np.float64) @ x.T.astype(np.float64))
        x = vectors * np.sqrt(np.maximum(values, 0))
    # Rows are weighed in the count as in the fit, since the target has more of some of them.
    folds = list(StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=0).split(x, y))
    each = np.ones(len(y)) if weights is None else weights
    right = np.zeros(len(CHOICES_OF_C))
    for train, test in folds:
        own = None if weights is None else weights[train]
        for i, C in enumerate(CHOICES_OF_C):
            predicted = CLASSIFIERS[classifier](x[train], y[train], own, C=C)(x[test])
            right[i] += (each[test] * (predicted == y[test])).sum()
    # Sums of weights in another order may differ in the last digit, which must not decide.
    best = min(np.flatnonzero(right >= right.max() * (1 - 1e-9)), key=lambda i: abs(np.log10(CHOICES_OF_C[i])))
    return {"C": CHOICES_OF_C[best], "accuracy": float(right[best] / each.sum())}


def fit_rows(
    method: str,
    method_options: Mapping[str, Any],
    classifier: str,
    choices: Mapping[str, Any],
    x: np.ndarray,
    y: np.ndarray,
    target: np.ndarray,
) -> tuple[Fitted, Predict, dict[str, Any]]:
    """Fit a closed-form method, or none for source_only, and a classifier on the mapped source rows.

    Args:
        method, method_options: of :data:`CLASSIC`.
        classifier: of :data:`CLASSIFIERS`.
        choices: its options; ``C="source"`` chooses C by :func:`choose_c`.
        x, y: source rows ``[n, d]`` and labels ``[n]``.
        target: rows ``[m, d]``.

    Returns:
        The method's maps, the classifier of mapped rows, and numbers for the record.
    """
    fitted = Fitted(x, target, np.asarray, np.asarray)
    if method != "source_only":
        fitted = CLASSIC[method](**method_options).fit(x, y, target)
    info = {name: value for name, value in fitted.info.items() if isinstance(value, bool | int | float)}
    # C is chosen on mapped source rows: labels of the target choose nothing.
    if choices.get("C") == "source":
        info |= choose_c(classifier, fitted.source, y, fitted.weights)
        choices = {**choices, "C": info["C"]}
    return fitted, CLASSIFIERS[classifier](fitted.source, y, fitted.weights, **choices), info


def run_classic(experiment: ClosedForm, source: Domain, target: Domain, folder: Path, *, command: str = "") -> Path:
    """Fit on all source rows with labels and all target rows without, and score on the target's split ``test``.

    Args:
        experiment: the method and its classifier; ``source`` and ``target`` are the domains' names.
        source: rows of both splits are used.
        target: its labels enter the score alone.
        folder: the run folder; a finished one is left as it is.
        command: for the record.

    Returns:
        The run folder: ``config.json``, ``record.jsonl`` and ``final.npz``, or ``predictions.npz`` for a target
        without labels.
    """
    # All is checked before the folder is made.
    target = match_classes(source, target, relation=experiment.relation)
    check_distinct(source, target)
    data = {domain.name: domain.fingerprint() for domain in (source, target)}
    record = open_record(folder, configuration(experiment, source.class_names, data, command=command))
    if (end := record.end()) is not None and not faults(folder, end):
        return folder
    # One writer a folder from here on; a broken-off run leaves nothing to go on from, so it begins anew.
    hold(folder)
    record.cut_after(-1)
    began = time.monotonic()
    # Of a domain with one pool for both splits the rows are read once.
    parts = [_rows(source, split) for split in {id(source.split(name)): name for name in ("train", "test")}.values()]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    # The fit sees the target's pool without labels; what is predicted is its test.
    unread, (rows, labels) = _rows(target, "train")[0], _rows(target, "test")
    fitted, predict, info = fit_rows(
        experiment.method,
        dict(experiment.method_options),
        experiment.classifier,
        dict(experiment.classifier_options),
        *(x, y, unread),
    )
    mapped = fitted.transform_target(rows)
    predicted = predict(mapped).astype(np.int32)
    record.write("fitted", 0, **info)
    # The result first and the "end" line last: a run with that line has all its files.
    file = io.BytesIO()
    if (labels == UNLABELLED).any():
        np.savez_compressed(file, predictions=predicted)
        written = write_atomically(folder / "predictions.npz", file.getvalue())
    else:
        classes = len(source.class_names)
        counts = confusion_matrix(labels, predicted, classes)
        metrics = Scores(counts).metrics()
        record.write("evaluate", 0, domain=target.name, split="test", oracle=True, metrics=metrics)
        pick = [np.random.default_rng(0).permutation(n)[:PICTURE_ROWS] for n in (len(y), len(labels))]
        np.savez_compressed(
            file,
            confusion=counts,
            features_source=np.asarray(fitted.source[pick[0]], np.float32),
            labels_source=y[pick[0]],
            features_target=np.asarray(mapped[pick[1]], np.float32),
            labels_target=labels[pick[1]],
            predictions_target=predicted[pick[1]],
        )
        written = write_atomically(folder / "final.npz", file.getvalue())
    files = {written.name: checksum(written)}
    record.write("end", 0, seconds=round(time.monotonic() - began, 3), files=files)
    release(folder)
    return folder


def _rows(domain: Domain, split: str) -> tuple[np.ndarray, np.ndarray]:
    records = domain.split(split)
    x, y = records.__getitems__(range(len(records)))
    return np.asarray(x), y
