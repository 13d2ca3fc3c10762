"""Every validator by name, with its needs, its range, and its reaction to a collapse."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dalib.evaluate.validators import consensus, domains, features, predictions, risk
from dalib.evaluate.validators.clusters import agreement, silhouette
from dalib.evaluate.validators.evidence import Evidence

SOURCE = ("source_logits", "source_labels")
WEIGHTED = (*SOURCE, "source_features", "train_features", "target_features")
BOTH = ("source_features", "target_features")
CLUSTERED = ("target_features",)


class Validator(NamedTuple):
    """One score; **larger is better** in all of them, risks and distances enter with a minus sign.

    Attributes:
        summary: what it is.
        score: ``Evidence -> number``, NaN where it is not defined; None for a score among candidates.
        needs: fields of :class:`Evidence` apart from ``target_logits``.
        range: from and to, in words.
        bounds: the same for n target examples, C classes, d features.
        collapse: "sees", "blind" or "rewards": its reaction to a model that predicts one class.
        among: ``candidates -> [M]``: of a score that compares candidates.
        least: candidates that it needs to mean something.
        balanced: whether it presumes classes of equal frequency; partial, open and long-tailed targets have none.
    """

    summary: str
    score: Callable[[Evidence], float] | None
    needs: tuple[str, ...]
    range: str
    bounds: Callable[[int, int, int], tuple[float, float]]
    collapse: str
    among: Callable[[Sequence[Evidence]], np.ndarray] | None = None
    least: int = 1
    balanced: bool = False


def _of(function: Callable[..., float], *names: str) -> Callable[[Evidence], float]:
    return lambda e: function(*(getattr(e, name) for name in names))


def _agreement(name: str) -> Callable[[Evidence], float]:
    def score(e: Evidence) -> float:
        # One predicted class agrees with one cluster perfectly; that is no merit.
        return getattr(agreement(e.predictions, e.clusters), name) if e.spread.predicted > 1 else 0.0

    return score


def _fixed(low: float, high: float) -> Callable[[int, int, int], tuple[float, float]]:
    return lambda n, c, d: (low, high)


def _mixval(candidates: Sequence[Evidence]) -> np.ndarray:
    pairs = [consensus.mix_accuracy(e.target_logits, e.mixed_logits, e.partners) for e in candidates]
    value = consensus.mean_rank([[p.intra for p in pairs], [p.inter for p in pairs]])
    return np.where([np.isnan(p.intra + p.inter) for p in pairs], np.nan, value)


def _ensemble(candidates: Sequence[Evidence]) -> np.ndarray:
    return consensus.ensemble_agreement([e.target_logits for e in candidates])


SHARE, BELOW_ZERO = _fixed(0, 1), _fixed(-np.inf, 0)
_log, _root = np.log, np.sqrt

VALIDATORS: dict[str, Validator] = {
    "source_accuracy": Validator(
        "accuracy on held-out source examples", _of(risk.source_accuracy, *SOURCE), SOURCE, "0 to 1", SHARE, "blind"
    ),
    "iwcv": Validator(
        "−importance-weighted risk",
        _of(lambda w, wrong: -risk.importance_weighted_risk(w, wrong), "weights", "wrong"),
        WEIGHTED,
        "−∞ to 0",
        BELOW_ZERO,
        "blind",
    ),
    "dev": Validator(
        "−DEV's risk: importance-weighted, with a control variate",
        _of(lambda w, wrong: -risk.dev_risk(w, wrong).value, "weights", "wrong"),
        WEIGHTED,
        "unbounded",
        _fixed(-np.inf, np.inf),
        "blind",
    ),
    "devn": Validator(
        "−DEV's risk with weights over their maximum",
        _of(lambda w, wrong: -risk.dev_risk(w, wrong, normalise=True).value, "weights", "wrong"),
        WEIGHTED,
        "unbounded",
        _fixed(-np.inf, np.inf),
        "blind",
    ),
    "entropy": Validator(
        "−mean entropy of the predictions",
        _of(predictions.entropy, "target_logits"),
        (),
        "−ln C to 0",
        lambda n, c, d: (-_log(c), 0),
        "blind",
    ),
    "diversity": Validator(
        "entropy of the mean prediction",
        _of(predictions.diversity, "target_logits"),
        (),
        "0 to ln C",
        lambda n, c, d: (0, _log(c)),
        "sees",
        balanced=True,
    ),
    "im": Validator(
        "mutual information, diversity − mean entropy",
        _of(predictions.mutual_information, "target_logits"),
        (),
        "0 to ln C",
        lambda n, c, d: (0, _log(c)),
        "sees",
        balanced=True,
    ),
    "bnm": Validator(
        "nuclear norm of the predictions, normalised",
        _of(predictions.nuclear, "target_logits"),
        (),
        "1/√(C · min(n, C)) to 1",
        lambda n, c, d: (1 / _root(c * min(n, c)), 1),
        "sees",
        balanced=True,
    ),
    "fbnm": Validator(
        "fast nuclear norm over n; depends on n",
        _of(predictions.fast_nuclear, "target_logits"),
        (),
        "0 to √(min(n, C)/n)",
        lambda n, c, d: (0, _root(min(n, c) / n)),
        "sees",
        balanced=True,
    ),
    "mcc": Validator(
        "−class confusion",
        _of(predictions.confusion, "target_logits"),
        (),
        "−(C − 1)/C to 0",
        lambda n, c, d: (-(c - 1) / c, 0),
        "blind",
    ),
    "snd": Validator(
        "soft neighbourhood density of the predictions; depends on n, poor for selection",
        lambda e: features.neighbourhood_density(predictions.softmax(e.target_logits)),
        (),
        "0 to ln(n − 1)",
        lambda n, c, d: (0, _log(n - 1)),
        "rewards",
    ),
    "corr_c": Validator(
        "tr(PᵀP)/‖PᵀP‖_F",
        lambda e: predictions.corr_c(predictions.softmax(e.target_logits)),
        (),
        "1 to √C",
        lambda n, c, d: (1, _root(c)),
        "sees",
        balanced=True,
    ),
    "rankme": Validator(
        "effective rank of the target's features",
        _of(features.rank_me, "target_features"),
        CLUSTERED,
        "1 to min(n, d)",
        lambda n, c, d: (0, min(n, d)),
        "sees",
    ),
    "mano": Validator(
        "4-norm of the predictions",
        _of(predictions.mano, "target_logits"),
        (),
        "1/C to C^(−1/4)",
        lambda n, c, d: (1 / c, c**-0.25),
        "blind",
    ),
    "ami": Validator(
        "ClassAMI: predictions against clusters of the features, adjusted mutual information",
        _agreement("ami"),
        CLUSTERED,
        "about 0 (chance) to 1",
        _fixed(-1, 1),
        "sees",
    ),
    "ari": Validator(
        "the same by the adjusted Rand index", _agreement("ari"), CLUSTERED, "−½ to 1", _fixed(-0.5, 1), "sees"
    ),
    "v_measure": Validator(
        "the same by homogeneity and completeness", _agreement("v_measure"), CLUSTERED, "0 to 1", SHARE, "sees"
    ),
    "fmi": Validator("the same by pairs (Fowlkes, Mallows)", _agreement("fmi"), CLUSTERED, "0 to 1", SHARE, "sees"),
    "silhouette": Validator(
        "silhouette of the features under the predictions",
        _of(silhouette, "target_features", "predictions"),
        CLUSTERED,
        "−1 to 1; undefined with one class",
        _fixed(-1, 1),
        "sees",
    ),
    "knn_domain": Validator(
        "−share of rows with a nearest neighbour of their own domain; poor for selection",
        _of(domains.nearest_domain, *BOTH),
        BOTH,
        "−1 to 0",
        _fixed(-1, 0),
        "rewards",
    ),
    "mmd": Validator(
        "−MMD² of the features; poor for selection", _of(domains.mmd, *BOTH), BOTH, "−2 to 0", _fixed(-2, 0), "rewards"
    ),
    "coral": Validator(
        "−CORAL of the features; poor for selection", _of(domains.coral, *BOTH), BOTH, "−∞ to 0", BELOW_ZERO, "rewards"
    ),
    "a_distance": Validator(
        "−proxy A-distance of the features; poor for selection",
        lambda e: -domains.proxy_a_distance(e.source_features, e.target_features, seed=e.seed),
        BOTH,
        "−2 to 2",
        _fixed(-2, 2),
        "rewards",
    ),
    "reverse": Validator(
        "reverse validation on features: pseudo-labelled target to held-out source",
        _of(consensus.reverse_accuracy, "target_features", "predictions", "source_features", "source_labels"),
        (*SOURCE, *BOTH),
        "0 to 1",
        SHARE,
        "sees",
    ),
    "transfer_score": Validator(
        "spread of the head's weights, clusters of the features, mutual information",
        lambda e: features.transfer_score(e.head, e.target_features, e.target_logits, seed=e.seed),
        ("head", "target_features"),
        "−π² to 2",
        _fixed(-(np.pi**2), 2),
        "sees",
    ),
    "ensv": Validator(
        "EnsV: agreement with the mean prediction of all candidates, which should differ",
        None,
        (),
        "0 to 1",
        SHARE,
        "blind",
        _ensemble,
        least=5,
    ),
    "mixval": Validator(
        "MixVal: mean rank of the accuracies on mixtures within and across predicted classes",
        None,
        ("mixed_logits", "partners"),
        "0 (last) to 1 (first)",
        SHARE,
        "blind",
        _mixval,
        least=2,
    ),
}
"""By name, in no order of trust."""

PRIMARY = ("ami", "v_measure", "im", "bnm")
"""Our choice: clusters of the features first, then scores of predictions that see a collapse."""
