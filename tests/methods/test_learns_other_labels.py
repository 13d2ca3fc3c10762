"""Partial, open-set and universal methods where the two domains have different classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders import MLP, Classifier
from dalib.methods import dann, iwan, osbp, ovanet, pada, source_only
from dalib.methods.label_sets.open_set import with_rejection
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


def known_and_unknown(logits, labels, known):
    """Share right of each class, ``[known + 1]``; the last class is the unknown one."""
    right = logits.argmax(-1) == labels
    return jnp.stack([jnp.where(labels == c, right, 0).sum() / (labels == c).sum() for c in range(known + 1)])


def hos(logits, labels):
    """2 · OS* · UNK / (OS* + UNK) of two known classes."""
    of = known_and_unknown(logits, labels, 2)
    known, unknown = of[:2].mean(), of[2]
    return 2 * known * unknown / jnp.maximum(known + unknown, 1e-9)


def private(key, rows, *, shift, classes):
    """Two classes as in the alignment tests, shifted; the third, unknown one has a third coordinate of its own."""
    k = jax.random.split(key, 2)
    labels = (jnp.arange(rows) % classes).astype(jnp.int32)
    sign, unknown = 2.0 * labels - 1, labels == 2
    first = jnp.where(unknown, 1.5 * jax.random.normal(k[1], (rows,)), 1.5 * sign)
    x = jnp.stack([first, jnp.where(unknown, 0, sign) + shift, 3.0 * unknown], 1)
    return x + jax.random.normal(k[0], (rows, 3)) * jnp.array([[0.7, 0.25, 0.25]]), labels


PRIVATE = Shift(
    lambda key, rows: private(key, rows, shift=0.0, classes=2),
    lambda key, rows: private(key, rows, shift=-1.0, classes=3),
    Classifier(MLP((16,)), 2),
    score=hos,
)


def test_osbp_finds_what_only_the_target_has():
    rejecting = scores(with_rejection(source_only()), PRIVATE)
    adapted = scores(osbp(), PRIVATE._replace(net=Classifier(MLP((16,)), 3)))
    print("osbp", np.round([rejecting, adapted], 3))
    assert adapted.mean() > rejecting.mean() + 0.1


def ring(key, rows, *, degrees, classes):
    """Five known classes on a circle, the sixth, unknown one in its middle."""
    labels = (jnp.arange(rows) % classes).astype(jnp.int32)
    angle = 2 * jnp.pi / 5 * labels + jnp.deg2rad(degrees)
    centres = 2 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1) * (labels < 5)[:, None]
    return centres + 0.3 * jax.random.normal(key, (rows, 2)), labels


# Turned by 22 of the 36 degrees to the next class: known rows come near to where a threshold rejects.
RING = Shift(
    lambda key, rows: ring(key, rows, degrees=0.0, classes=5),
    lambda key, rows: ring(key, rows, degrees=22.0, classes=6),
    Classifier(MLP((32,)), 5),
    score=lambda logits, labels: known_and_unknown(logits, labels, 5).mean(),
)


def test_ovanet_needs_no_threshold():
    """The score is OS, the mean over the classes and the unknown one."""
    plain, rejecting, adapted = (scores(m, RING) for m in (source_only(), with_rejection(source_only()), ovanet()))
    print("ovanet", np.round([plain, rejecting, adapted], 3))
    assert adapted.mean() > plain.mean() + 0.05
    assert adapted.mean() > rejecting.mean() + 0.02
