"""Validators of the target's predictions alone, from logits ``[n, C]``; larger is better.

None of them can tell a good model from one with permuted classes. All compute in float64 and raise an InputError for
anything but finite ``[n, C]`` logits with C ≥ 2. Classes of about equal frequency are presumed by :func:`diversity`,
:func:`mutual_information`, :func:`nuclear`, :func:`fast_nuclear` and :func:`corr_c`.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.evaluate.inputs import class_scores, entropy_of, log_softmax, matrix, softmax


def entropy(logits: Any) -> float:
    """``−mean H(p)``, from −ln C to 0. It does not see a collapse."""
    return float(-entropy_of(softmax(class_scores("logits", logits))).mean())


def diversity(logits: Any) -> float:
    """``H(p̄)``, from 0 (collapsed) to ln C."""
    return float(entropy_of(softmax(class_scores("logits", logits)).mean(0)))


def mutual_information(logits: Any) -> float:
    """IM: ``H(p̄) − mean H(p)``, from 0 (collapsed, or uniform) to ln C (Shi, Sha, ICML 2012)."""
    return diversity(logits) + entropy(logits)


def nuclear(logits: Any) -> float:
    """BNM, normalised: ``‖P‖_* / √(min(n, C) · n)``, from 1/√(C · min(n, C)) to 1.

    Times √(min(n, C) / n) it is the usual ‖P‖_* / n, which compares at one n only. Cui et al., CVPR 2020, arXiv
    2003.12237; as a validator Musgrave et al. 2022, arXiv 2208.07360.
    """
    p = softmax(class_scores("logits", logits))
    return float(np.linalg.svd(p, compute_uv=False).sum() / np.sqrt(min(p.shape) * len(p)))


def fast_nuclear(logits: Any) -> float:
    """FBNM: sum of the min(n, C) largest column norms of P over n, from 0 to √(min(n, C) / n).

    It depends on n, and needs no singular values. Cui et al. 2021, arXiv 2107.06154.
    """
    p = softmax(class_scores("logits", logits))
    return float(np.sort(np.linalg.norm(p, axis=0))[::-1][: min(p.shape)].sum() / len(p))


def confusion(logits: Any, *, temperature: float = 1.0) -> float:
    """MCC: ``−(ΣM − tr M)/C`` of the class confusion M, from −(C − 1)/C to 0; ``temperature`` T > 0 is of the softmax.

    A class without any probability adds 0, so a collapse is not seen. (The training loss :func:`dalib.discrepancy.mcc`
    counts such a class as confused, its limit.) Jin, Wang, Long, Wang, ECCV 2020, arXiv 1912.03699.
    """
    if not temperature > 0:
        raise input_error("temperature", got=temperature, expected="a number > 0")
    p = softmax(class_scores("logits", logits) / temperature)
    # Sure rows count up to twice as much, as in the training loss.
    weights = 1 + np.exp(-entropy_of(p))
    m = p.T @ (p * (weights / weights.mean())[:, None])
    rows = m.sum(1, keepdims=True)
    m = m / np.where(rows > 0, rows, 1)
    return float(-(m.sum() - np.trace(m)) / len(m))


def corr_c(probabilities: Any) -> float:
    """Corr-C, ``tr(PᵀP) / ‖PᵀP‖_F`` of softmax outputs P ``[n, C]``: 1 (all in one class) to √C (sure and balanced).

    Rows must be non-negative and sum to 1. Tu, Deng, Gedeon, Zheng 2023, "Assessing model out-of-distribution
    generalization with softmax prediction probability baselines and a correlation method"; code of MixVal and EnsV
    takes the minimum instead.
    """
    p = matrix("probabilities", probabilities)
    if (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-4):
        raise input_error("probabilities", got="rows that are no distributions", expected="rows that sum to 1")
    product = p.T @ p
    return float(np.trace(product) / np.linalg.norm(product))


NORMALISERS = ("softmax", "taylor", "auto")
SWITCH = 5.0
"""Above this −mean ln p the logits count as calibrated well enough for a softmax."""
LARGEST = 0.9
"""Share of one predicted class above which a model counts as collapsed."""


def mano(logits: Any, *, normaliser: str = "softmax", order: float = 4.0) -> float:
    """MaNo: ``(mean over rows and classes of q^4)^{1/4}``, from 1/C to C^{−1/4}. It does not see a collapse.

    ``normaliser`` makes q of the logits: "softmax"; "taylor", 1 + z + z²/2 over its sum, not monotone below −1; "auto",
    the paper's rule: taylor where −mean ln p is at most 5. ``order`` is of the norm. Xie, Odonnat, Feofanov et al.,
    NeurIPS 2024, arXiv 2405.18979.
    """
    choose("normaliser", normaliser, dict.fromkeys(NORMALISERS))
    z = class_scores("logits", logits)
    log_p = log_softmax(z)
    if normaliser == "taylor" or (normaliser == "auto" and -log_p.mean() <= SWITCH):
        q = 1 + z + z**2 / 2  # at least 1/2
        q = q / q.sum(1, keepdims=True)
    else:
        q = np.exp(log_p)
    return float((q**order).mean() ** (1 / order))


class Spread(NamedTuple):
    """Spread of predictions over classes: share of the ``largest``, number ``predicted``, ``possible`` min(n, C)."""

    largest: float
    predicted: int
    possible: int

    @property
    def collapsed(self) -> str:
        """The reason to call this a collapse; empty if it is none."""
        if self.largest > LARGEST:
            return f"one class holds {self.largest:.0%} of the target"
        if self.predicted < self.possible / 4:
            return f"{self.predicted} of {self.possible} classes are predicted"
        return ""


def spread(logits: Any) -> Spread:
    """The collapse guard of every validator: collapsed above 90 % in one class, or below C/4 predicted classes."""
    z = class_scores("logits", logits)
    counts = np.bincount(z.argmax(1), minlength=z.shape[1])
    return Spread(float(counts.max() / len(z)), int((counts > 0).sum()), min(z.shape))
