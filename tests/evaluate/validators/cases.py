"""The constructed cases of the reference's sanity table, and evidence of a small trained model."""

import numpy as np

from dalib.evaluate import Evidence

N, K = 600, 10
TRUTH = np.arange(N) % K


def one_hot(labels, scale=1e4, classes=K):
    return scale * np.eye(classes)[labels]


CASES = {
    "balanced": one_hot(TRUTH),
    "permuted": one_hot((TRUTH + 3) % K),
    "collapsed": one_hot(np.zeros(N, int)),
    "uniform": np.zeros((N, K)),
    "soft": one_hot(TRUTH, 4.0),
    "lopsided": one_hot(np.where(np.arange(N) < 510, 0, 1 + np.arange(N) % 9)),
}


def evidence(n=60, m=50, classes=4, width=6, seed=0, noise=1.0, shift=0.5, **changes):
    """A linear model on noisy class directions; the target is shifted."""
    rng = np.random.default_rng(seed)

    def rows(count, move):
        labels = rng.integers(classes, size=count)
        return 3 * np.eye(classes, width)[labels] + noise * rng.normal(size=(count, width)) + move, labels

    (train, _), (source, y), (target, _) = rows(80, 0), rows(m, 0), rows(n, shift)
    head = np.eye(width, classes) + 0.1 * rng.normal(size=(width, classes))
    partners = rng.permutation(n)
    given = {
        "target_logits": target @ head,
        "target_features": target,
        "source_logits": source @ head,
        "source_labels": y,
        "source_features": source,
        "train_features": train,
        "head": head,
        "mixed_logits": (0.55 * target + 0.45 * target[partners]) @ head,
        "partners": partners,
    }
    return Evidence(**{**given, **changes})
