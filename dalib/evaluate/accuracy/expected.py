"""Expected accuracy of a model on the target: all estimators in one call, and their common verdict."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dalib.core.checks import choose
from dalib.evaluate.accuracy import estimators as e
from dalib.evaluate.accuracy.calibration import source_temperature
from dalib.evaluate.accuracy.estimate import Estimate, undefined
from dalib.evaluate.validators.evidence import Evidence
from dalib.evaluate.validators.registry import SOURCE, WEIGHTED
from dalib.evaluate.validators.scoring import doubts

APART = 0.1
"""Spread of the estimates above which they count as disagreeing."""


class Model(NamedTuple):
    """Input of an estimator: evidence, the source's temperature, and evidence on the other seeds."""

    evidence: Evidence
    temperature: float
    peers: tuple[Evidence, ...] = ()

    @property
    def calibrated(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source logits and target logits over the temperature, with the source's labels between them."""
        own = self.evidence
        return own.source_logits / self.temperature, own.source_labels, own.target_logits / self.temperature


class Estimator(NamedTuple):
    """One estimator ``Model -> Estimate``; ``summary`` names its premise, ``collapse`` is "sees" or "blind".

    ``needs`` are fields of :class:`~dalib.evaluate.validators.Evidence` apart from ``target_logits``.
    """

    summary: str
    needs: tuple[str, ...]
    estimate: Callable[[Model], Estimate]
    collapse: str


def _weighted(model: Model) -> Estimate:
    found = e.importance_weighted(model.evidence.weights, model.evidence.wrong, seed=model.evidence.seed)
    return found._replace(note=doubts(model.evidence.weights))


def _seeds(model: Model) -> Estimate:
    return e.agreement_of_seeds([own.target_logits for own in (model.evidence, *model.peers)], seed=model.evidence.seed)


ESTIMATORS: dict[str, Estimator] = {
    "atc": Estimator(
        "share above the source's threshold of sureness; sure is right equally often",
        SOURCE,
        lambda m: e.thresholded_confidence(*m.calibrated, seed=m.evidence.seed),
        "blind",
    ),
    "doc": Estimator(
        "source accuracy less the drop of confidence; equal over-confidence",
        SOURCE,
        lambda m: e.difference_of_confidences(*m.calibrated, seed=m.evidence.seed),
        "blind",
    ),
    "gde": Estimator("agreement of seeds; their ensemble is calibrated", (), _seeds, "blind"),
    "cot": Estimator(
        "transport of predictions to the source's labels; equal class frequencies",
        SOURCE,
        lambda m: e.transport(*m.calibrated, seed=m.evidence.seed),
        "sees",
    ),
    "nuclear": Estimator(
        "source accuracy less the drop of the nuclear norm; balanced classes",
        SOURCE,
        lambda m: e.nuclear_norm(*m.calibrated, seed=m.evidence.seed),
        "sees",
    ),
    "weighted": Estimator("source accuracy weighted by density ratios; covariate shift", WEIGHTED, _weighted, "blind"),
    "label_shift": Estimator(
        "the source's recalls under the estimated class frequencies; label shift",
        SOURCE,
        lambda m: e.label_shifted(
            m.evidence.source_logits, m.evidence.source_labels, m.evidence.target_logits, seed=m.evidence.seed
        ),
        "blind",
    ),
}
"""By name."""


class Expected(NamedTuple):
    """The estimators' common verdict.

    Attributes:
        value: their median; NaN where there is none.
        low: the lower of their median lower end and the least of them, so that disagreement widens the interval.
        high: the same upwards.
        estimates: by name, undefined ones included.
        warning: disagreement, or a collapse of the model; else empty.
    """

    value: float
    low: float
    high: float
    estimates: dict[str, Estimate]
    warning: str = ""


def expected_accuracy(
    evidence: Evidence, *, peers: Sequence[Evidence] = (), names: Sequence[str] | None = None
) -> Expected:
    """Predict the accuracy on the target by estimators ``names`` (None: all), without the target's labels.

    ``evidence`` is best with held-out source examples and features; ``peers`` are evidence on the same method's other
    seeds, on the same target examples. An unknown name raises an InputError.
    """
    chosen = {name: choose("estimator", name, ESTIMATORS) for name in (ESTIMATORS if names is None else names)}
    known = not evidence.lacks(SOURCE)
    temperature = source_temperature(evidence.source_logits, evidence.source_labels) if known else 1.0
    model = Model(evidence, temperature, tuple(peers))
    found = {}
    # Every estimator reports, so that a reader sees which ones could not be computed.
    for name, estimator in chosen.items():
        lacking = evidence.lacks(estimator.needs)
        found[name] = undefined("not kept: " + ", ".join(lacking)) if lacking else estimator.estimate(model)
    # The verdict leaves out estimators blind to a collapse, and ratios that say little (a note).
    collapsed = evidence.spread.collapsed
    read = {
        name: estimate
        for name, estimate in found.items()
        if np.isfinite(estimate.value) and not estimate.note and not (collapsed and chosen[name].collapse == "blind")
    }
    if not read:
        none = float("nan")
        return Expected(none, none, none, found, f"collapsed: {collapsed}" if collapsed else "no estimator applies")
    values, lows, highs = (np.array([getattr(x, end) for x in read.values()]) for end in ("value", "low", "high"))
    # The interval holds every estimate, so that disagreement widens it.
    low, high = min(np.median(lows), values.min()), max(np.median(highs), values.max())
    return Expected(float(np.median(values)), float(low), float(high), found, _warning(read, collapsed))


def _warning(read: dict[str, Estimate], collapsed: str) -> str:
    least, most = (pick(read, key=lambda name: read[name].value) for pick in (min, max))
    parts = [f"collapsed: {collapsed}"] if collapsed else []
    if read[most].value - read[least].value > APART:
        parts.append(f"estimators disagree: {read[least].value:.2f} ({least}) to {read[most].value:.2f} ({most})")
    return "; ".join(parts)
