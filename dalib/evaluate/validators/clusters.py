"""Agreement of predicted classes with a clustering of the features: validators that catch a collapse.

Features are ``[n, d]`` of target examples, predictions classes ``[n]``; an InputError is raised for other shapes,
features that are not finite, or fewer examples than classes.
"""

from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.evaluate.inputs import classes_of, matrix


class Agreement(NamedTuple):
    """Measures of agreement of two partitions of the same examples, each 1 for identical ones.

    Attributes:
        ami: adjusted mutual information, about 0 for random partitions (arithmetic mean of entropies).
        v_measure: harmonic mean of homogeneity and completeness, in [0, 1].
        ari: adjusted Rand index.
        fmi: Fowlkes–Mallows index, in [0, 1].
    """

    ami: float
    v_measure: float
    ari: float
    fmi: float


def agreement(predictions: Any, clusters: Any) -> Agreement:
    """Compare two partitions by scikit-learn's measures."""
    from sklearn import metrics

    a, b = np.asarray(predictions), np.asarray(clusters)
    if a.ndim != 1 or a.shape != b.shape or not len(a) or a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise input_error(
            "predictions", got=f"{a.dtype}{a.shape} and {b.dtype}{b.shape}", expected="two integer vectors [n]"
        )
    return Agreement(
        float(metrics.adjusted_mutual_info_score(a, b, average_method="arithmetic")),
        float(metrics.v_measure_score(a, b)),
        float(metrics.adjusted_rand_score(a, b)),
        float(metrics.fowlkes_mallows_score(a, b)),
    )


def class_agreement(
    features: Any, predictions: Any, num_classes: int, *, seed: int = 0, start: str = "random"
) -> Agreement:
    """ClassAMI and its relatives: predicted classes against k-means of the rows of unit length with K = C.

    ``start`` of k-means is "random", the best of ten by ``seed``, or "classes", once from the mean rows of the
    predicted classes. Logits can take the place of features. Musgrave, Belongie, Lim 2022, arXiv 2208.07360.
    """
    return agreement(predictions, clusters(features, predictions, num_classes, seed=seed, start=start))


def clusters(features: Any, predictions: Any, num_classes: int, *, seed: int = 0, start: str = "random") -> np.ndarray:
    """Return the clusters ``[n]`` of :func:`class_agreement`."""
    from sklearn.cluster import KMeans

    choose("start", start, dict.fromkeys(("random", "classes")))
    x = matrix("features", features, least=num_classes)
    y = classes_of("predictions", predictions, classes=num_classes, rows=len(x))
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    if start == "random":
        return KMeans(num_classes, n_init=10, random_state=seed).fit_predict(x)
    member = np.eye(num_classes)[y]
    # A class without rows starts at the origin.
    means = member.T @ x / np.maximum(member.sum(0), 1)[:, None]
    return KMeans(num_classes, init=means, n_init=1).fit_predict(x)


def silhouette(features: Any, predictions: Any) -> float:
    """Mean silhouette of the rows under their predicted classes, in [−1, 1]; NaN unless 2 … n − 1 classes occur.

    Rousseeuw, Journal of Computational and Applied Mathematics 1987.
    """
    from sklearn.metrics import silhouette_score

    x = matrix("features", features)
    y = classes_of("predictions", predictions, classes=np.iinfo(np.int32).max, rows=len(x))
    return float(silhouette_score(x, y)) if 2 <= len(np.unique(y)) < len(y) else float("nan")
