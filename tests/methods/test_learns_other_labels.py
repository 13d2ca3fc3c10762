"""Partial, open-set and universal methods where the two domains have different classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders import MLP, Classifier
from dalib.methods import dann, iwan, pada, source_only
from tests.methods.seeds import Shift, scores

pytestmark = pytest.mark.slow

SMALL = {"hidden": (32,)}


def partial_rows(key, rows, *, gap, classes):
    """Classes along the first coordinate; the second tells them apart better, by ``gap``. The outer two are 2 and 3."""
    k = jax.random.split(key)
    labels = (jnp.arange(rows) % classes).astype(jnp.int32)
    centres = jnp.array([[-1.5, -1.0], [1.5, 1.0], [-4.5, 1.0], [4.5, -1.0]]) * jnp.array([[1.0, gap]])
    return centres[labels] + jax.random.normal(k[0], (rows, 2)) * jnp.array([[0.7, 0.25]]), labels


# The target has two of four classes, and the cue that is best in the source says nothing there.
PARTIAL = Shift(
    lambda key, rows: partial_rows(key, rows, gap=1.0, classes=4),
    lambda key, rows: partial_rows(key, rows, gap=0.0, classes=2),
    Classifier(MLP((16,)), 4),
    seeds=8,
)


@pytest.mark.parametrize("name", ["pada", "iwan"])
def test_outlier_classes_of_the_source_count_less(name):
    # PADA looks at the target every 500 steps of runs many times as long; this one has 300.
    method = {"pada": pada(refresh_every=25, **SMALL), "iwan": iwan(**SMALL)}[name]
    plain, unweighted, adapted = (scores(m, PARTIAL) for m in (source_only(), dann(**SMALL), method))
    print(name, np.round([plain, unweighted, adapted], 3))
    assert adapted.mean() > plain.mean() + 0.04
    assert adapted.mean() > unweighted.mean() + 0.04, "no better than DANN, which aligns the outliers too"
