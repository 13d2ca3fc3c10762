"""Evidence on a trained model: all that a validator may see. There is no place for target labels."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dalib.evaluate.inputs import class_scores, classes_of, matrix
from dalib.evaluate.validators.clusters import clusters
from dalib.evaluate.validators.predictions import Spread, spread
from dalib.evaluate.validators.risk import density_ratio


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Arrays of one model at one step; None was not kept, and scores that need it are left out.

    ``seed`` is of all random draws: k-means, halves, Hopkins' points. An InputError is raised for arrays that do not
    belong together, or are not finite.
    """

    target_logits: Any
    """``[n, C]`` of target examples."""
    target_features: Any = None
    """``[n, d]`` of the same."""
    source_logits: Any = None
    """``[m, C]`` of held-out source examples."""
    source_labels: Any = None
    """``[m]`` classes of the same."""
    source_features: Any = None
    """``[m, d]`` of the same."""
    train_features: Any = None
    """``[l, d]`` of source examples that were trained on, for the density ratio."""
    head: Any = None
    """``[e, C]`` weights of the last linear layer."""
    mixed_logits: Any = None
    """``[n, C]`` of mixtures 0.55 x_i + 0.45 x_partner of target examples."""
    partners: Any = None
    """``[n]`` the row that each was mixed with."""
    seed: int = 0

    def __post_init__(self) -> None:
        z = class_scores("target_logits", self.target_logits)
        n, classes = z.shape
        checked: dict[str, Any] = {"target_logits": z}
        m = d = None
        # The first array of a domain fixes its number of rows, the first features their width.
        for name in ("target_features", "source_logits", "source_features", "train_features"):
            if (x := getattr(self, name)) is None:
                continue
            rows = {"target_features": n, "train_features": None}.get(name, m)
            checked[name] = x = matrix(name, x, rows=rows, columns=classes if name == "source_logits" else d)
            m = len(x) if name.startswith("source") else m
            d = d if name == "source_logits" else x.shape[1]
        if self.source_labels is not None:
            checked["source_labels"] = classes_of("source_labels", self.source_labels, classes=classes, rows=m)
        if self.head is not None:
            checked["head"] = class_scores("head", self.head, classes=classes)
        if self.mixed_logits is not None:
            checked["mixed_logits"] = class_scores("mixed_logits", self.mixed_logits, rows=n, classes=classes)
        if self.partners is not None:
            checked["partners"] = classes_of("partners", self.partners, classes=n, rows=n)
        # Frozen to callers; the checked arrays take the place of the given ones.
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def lacks(self, needs: Sequence[str]) -> list[str]:
        """Return those of the fields ``needs`` that were not kept."""
        return [name for name in needs if getattr(self, name) is None]

    @functools.cached_property
    def predictions(self) -> np.ndarray:
        """Predicted classes ``[n]`` of the target."""
        return self.target_logits.argmax(1)

    @functools.cached_property
    def spread(self) -> Spread:
        """Spread of the predictions over the classes."""
        return spread(self.target_logits)

    @functools.cached_property
    def clusters(self) -> np.ndarray:
        """Clusters ``[n]`` of the target's features, from the mean rows of the predicted classes."""
        return clusters(self.target_features, self.predictions, self.target_logits.shape[1], start="classes")

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """Density ratios ``[m]`` of the held-out source examples."""
        return density_ratio(self.train_features, self.target_features, self.source_features, seed=self.seed)

    @functools.cached_property
    def wrong(self) -> np.ndarray:
        """0–1 losses ``[m]`` of the held-out source examples."""
        return (self.source_logits.argmax(1) != self.source_labels).astype(np.float64)


FIELDS = tuple(f.name for f in fields(Evidence))
