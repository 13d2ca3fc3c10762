"""scikit-learn's face of dalib: ``fit(X, y, X_target=…)``, ``predict``, and everything that takes an estimator.

    model = DomainAdaptationClassifier("dann", steps=500).fit(X, y, X_target=X_new)
    model.predict(X_new)

Rows are vectors ``[n, d]``: arrays, pandas frames of numbers, or sparse matrices (made dense). Labels of the target are
never asked for. skada's form works too: rows of both domains in one ``X`` and ``sample_domain`` ``[n]``, positive for
source and negative for target rows; labels of target rows are then not looked at.

Without target rows a net is trained on the source alone, and a closed-form method adapts nothing. The numbers are those
of ``dalib adapt`` on the same rows, to the bit: of nets with ``holdout=0.2``, of closed-form methods with any.
"""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from dalib.core.checks import InputError, choose, input_error
from dalib.data.readers.user_files import Raw
from dalib.methods import METHODS
from dalib.methods.classic import CLASSIC
from dalib.run.own.closed_form import CLASSIFIERS
from dalib.run.own.inputs import View, arrays, pretrained
from dalib.run.own.memory import Fit, Rows, fit_closed_form, fit_net
from dalib.run.own.options import Own
from dalib.train.devices.processes import run_mesh

SPARSE = ("csr", "csc")


class _Adapting(BaseEstimator):
    """Common parts of classifier and regressor: checking, splitting and training."""

    def _rows(self, X: Any, y: Any, X_target: Any, sample_domain: Any, numeric: bool) -> tuple[Any, Any, Any]:
        """Return source rows, their labels, and target rows, in float64; None for no target."""
        X, y = validate_data(
            self, X, y, accept_sparse=SPARSE, dtype=np.float64, y_numeric=numeric, multi_output=numeric
        )
        X = _dense(X)
        if sample_domain is not None:
            if X_target is not None:
                raise input_error("sample_domain", got="together with X_target", expected="one of the two")
            # skada's convention: positive source, negative target; 0 has no meaning there.
            side = np.asarray(sample_domain)
            if side.shape != (len(X),) or not (side > 0).any() or not (side < 0).any() or (side == 0).any():
                got = f"{side.shape} with values {np.unique(side)[:5].tolist()}"
                expected = f"({len(X)},) whole numbers, positive for source and negative for target rows, some of each"
                raise input_error("sample_domain", got=got, expected=expected)
            return X[side > 0], y[side > 0], X[side < 0]
        if X_target is None:
            return X, y, None
        X_target = validate_data(self, X_target, accept_sparse=SPARSE, dtype=np.float64, reset=False)
        return X, y, _dense(X_target)

    def _options(self, method: str, least: int, **own: Any) -> Own:
        """Return the command's options for these arguments."""
        if self.batch_size < 1:
            raise input_error("batch_size", got=self.batch_size, expected="an integer ≥ 1")
        # The same texts as on the command line, so that both are checked by one parser.
        values = [f"{method}.{name}={json.dumps(value)}" for name, value in (self.method_options or {}).items()]
        fields = [f"{name}={json.dumps(value)}" for name, value in (self.encoder_options or {}).items()]
        every = _cadence(self.steps)
        mesh = run_mesh()
        devices = 1 if mesh is None else mesh.size
        size = min(self.batch_size, least)
        # A domain that is smaller than a batch gives what the devices divide evenly.
        size = size if size == self.batch_size else max(size // devices * devices, 1)
        chosen: dict[str, Any] = {
            **{"source": ("source",), "target": "target", "method": (method,), "options": tuple(values)},
            **{"baseline": False, "report": False, "encoder": self.encoder, "encoder_options": tuple(fields)},
            **{"steps": self.steps, "batch_size": size, "scale": self.scale},
            **{"holdout": self.holdout, "preset": self.preset, "seeds": self.seed + 1},
            **{"evaluate_every": every, "save_every": every, **own},
        }
        return Own(**chosen)

    def _train(self, X: np.ndarray, labels: Any, X_target: np.ndarray | None, **own: Any) -> Fit:
        if len(X) < 2:
            raise InputError(f"X: got 1 sample\n  expected: at least 2 samples to train a net (n_samples = {len(X)})")
        method = self.method
        if X_target is None:
            # Nothing reads the target of a source-only run; it may only not be the source in the same order.
            method, X_target = "source_only", X[::-1] if len(np.unique(X, axis=0)) > 1 else X + 1
        options = self._options(method, min(len(X), len(X_target)), **own)
        folder = None if self.folder is None else Path(self.folder)
        return fit_net(options, _as_read(X, labels, X_target), seed=self.seed, folder=folder)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class DomainAdaptationClassifier(ClassifierMixin, _Adapting):
    """Classifier that adapts from labelled source rows to target rows without labels.

    Args:
        method: a method of ``dalib methods``: of nets (dann, dan, mcc …) or in closed form (coral, tca, ot …).
        encoder: net, for methods of nets.
        classifier: on top of a closed-form method: 1nn, or svm and logreg with C chosen on the source.
        method_options: hyper-parameters of the method, ``{"weight": 0.5}``.
        encoder_options: fields of the encoder, ``{"widths": [64]}``.
        steps: training steps.
        batch_size: examples of each domain in a step; less where a domain has fewer.
        scale: none, source (mean 0 and deviation 1 over the source) or domain (over each domain by itself).
        holdout: share of every class kept from a net's training to score the source in the run's record.
        preset: recipe of a published protocol.
        seed: of initial weights, batches and dropout.
        folder: keeps the run's records there; a killed ``fit`` goes on from its last checkpoint.

    Attributes:
        classes_: ``[C]`` labels in the order of the columns of ``predict_proba``.
        n_features_in_: columns of ``X``.
    """

    def __init__(
        self,
        method: str = "dann",
        *,
        encoder: str = "mlp",
        classifier: str = "logreg",
        method_options: dict[str, Any] | None = None,
        encoder_options: dict[str, Any] | None = None,
        steps: int = 1000,
        batch_size: int = 32,
        scale: str = "source",
        holdout: float = 0.0,
        preset: str = "",
        seed: int = 0,
        folder: str | None = None,
    ) -> None:
        self.method = method
        self.encoder = encoder
        self.classifier = classifier
        self.method_options = method_options
        self.encoder_options = encoder_options
        self.steps = steps
        self.batch_size = batch_size
        self.scale = scale
        self.holdout = holdout
        self.preset = preset
        self.seed = seed
        self.folder = folder

    def fit(self, X: Any, y: Any, X_target: Any = None, sample_domain: Any = None) -> Self:
        """Train on source rows ``X`` ``[n, d]`` with labels ``y`` ``[n]`` and target rows ``X_target`` ``[m, d]``.

        Raises an InputError (a ValueError) for an unknown name, a number out of range, or data that do not fit.
        """
        choose("method", self.method, {**METHODS, **CLASSIC})
        X, y, X_target = self._rows(X, y, X_target, sample_domain, numeric=False)
        check_classification_targets(y)
        # The command reads labels as texts; codes keep their order and any type of label.
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y: got one class, {self.classes_[0]!r}\n  expected: at least two")
        labels = [str(code) for code in codes]
        self._fit: Fit | None = None
        self._closed: Rows | None = None
        self._refit: Any = None
        if self.method in CLASSIC:
            choose("classifier", self.classifier, CLASSIFIERS)
            self._closed = _as_read(X, labels, X if X_target is None else X_target)
            self._closed_form()
        else:
            self._fit = self._train(X, labels, X_target)
        return self

    def _closed_form(self) -> Any:
        """Return the fitted closed form; fit it again after the estimator was pickled, since it holds functions."""
        if self._refit is None:
            assert self._closed is not None
            arguments = self.method_options or {}
            self._refit = fit_closed_form(self.method, arguments, self.classifier, self.scale, self._closed)
        return self._refit

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_refit": None}

    def _target_rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "classes_")
        return _dense(validate_data(self, X, accept_sparse=SPARSE, dtype=np.float64, reset=False))

    def predict(self, X: Any, sample_domain: Any = None) -> np.ndarray:
        """Predict labels ``[n]`` of target rows ``X``; ``sample_domain`` is taken and not needed."""
        rows = self._target_rows(X)
        # The net may have more outputs than there are classes: only those of ``classes_`` count.
        if self._fit is not None:
            return self.classes_[self._fit.logits(rows)[:, : len(self.classes_)].argmax(1)]
        return self.classes_[np.asarray(self._closed_form()(rows), np.int64)]

    @available_if(lambda self: self.method not in CLASSIC)
    def predict_proba(self, X: Any, sample_domain: Any = None) -> np.ndarray:
        """Return probabilities ``[n, C]``, the softmax of the net's logits; closed-form methods have none."""
        rows = self._target_rows(X)
        assert self._fit is not None
        logits = self._fit.logits(rows)[:, : len(self.classes_)].astype(np.float64)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


class DomainAdaptationRegressor(RegressorMixin, _Adapting):
    """Regressor that adapts from labelled source rows to target rows without labels.

    Args:
        method: source_only, or a method for real-valued labels (rsd, dare_gram, dd …).
        encoder, method_options, encoder_options, steps, batch_size, scale, holdout, preset, seed, folder: as in
            :class:`DomainAdaptationClassifier`.
        scale_targets: source trains on labels of mean 0 and deviation 1, none on labels as they come. Predictions are
            in the labels' own unit in both cases.

    Attributes:
        n_features_in_: columns of ``X``.
    """

    def __init__(
        self,
        method: str = "dare_gram",
        *,
        encoder: str = "mlp",
        method_options: dict[str, Any] | None = None,
        encoder_options: dict[str, Any] | None = None,
        steps: int = 1000,
        batch_size: int = 32,
        scale: str = "source",
        scale_targets: str = "source",
        holdout: float = 0.0,
        preset: str = "",
        seed: int = 0,
        folder: str | None = None,
    ) -> None:
        self.method = method
        self.encoder = encoder
        self.method_options = method_options
        self.encoder_options = encoder_options
        self.steps = steps
        self.batch_size = batch_size
        self.scale = scale
        self.scale_targets = scale_targets
        self.holdout = holdout
        self.preset = preset
        self.seed = seed
        self.folder = folder

    def fit(self, X: Any, y: Any, X_target: Any = None, sample_domain: Any = None) -> Self:
        """Train on source rows ``X`` ``[n, d]`` with ``y`` ``[n]`` or ``[n, k]`` and target rows ``X_target``.

        Errors are those of :class:`DomainAdaptationClassifier`.
        """
        X, y, X_target = self._rows(X, y, X_target, sample_domain, numeric=True)
        # The shape of ``y`` is the shape of predictions.
        y = np.asarray(y, np.float32)
        self._flat = y.ndim == 1
        self._fit = self._train(X, y, X_target, task="regression", scale_targets=self.scale_targets)
        return self

    def predict(self, X: Any, sample_domain: Any = None) -> np.ndarray:
        """Predict numbers ``[n]`` or ``[n, k]``, as ``y`` was, of target rows; ``sample_domain`` is not needed."""
        check_is_fitted(self, "_fit")
        rows = _dense(validate_data(self, X, accept_sparse=SPARSE, dtype=np.float64, reset=False))
        found = self._fit.logits(rows)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Features ``[n, f]`` of images by a pretrained encoder; nothing is fitted.

    Args:
        encoder: by name, with published weights.
        weights: default, a name of ``dalib weights list``, or a file.
        encoder_options: fields of the encoder.
    """

    def __init__(
        self,
        encoder: str = "mobilenet_v2",
        *,
        weights: str = "default",
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.weights = weights
        self.encoder_options = encoder_options

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the weights, so that an unknown encoder or weights are an InputError here."""
        self._load()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return features ``[n, f]`` float32 of images ``[n, h, w, c]`` in 0 … 255, uint8; else an InputError."""
        images = np.asarray(X)
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3):
            got = f"shape {images.shape}, {images.dtype}"
            raise input_error("X", got=got, expected="images [n, h, w, 1 or 3] of whole numbers 0 … 255, uint8")
        view = View("images", images.shape[1], 0, "none", "", False, self._load(), True)
        return arrays("X", Raw("images", images, None), view)

    def _load(self) -> Any:
        return pretrained(self.encoder, self.weights, self.encoder_options or {})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


def _as_read(X: np.ndarray, labels: Any, X_target: np.ndarray) -> Rows:
    """Take rows in float32, as the command reads files: scales are learnt after that rounding."""
    return Rows(np.asarray(X, np.float32), labels, np.asarray(X_target, np.float32))


def _dense(X: Any) -> np.ndarray:
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X)


def _cadence(steps: int) -> int:
    """Return one evaluation, after the last step: a multiple of 20, the steps between two lines of the record."""
    return 20 * -(-steps // 20)
