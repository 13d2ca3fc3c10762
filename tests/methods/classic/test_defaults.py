"""With its defaults no method falls below the unadapted classifier by more than chance, on rows of any form."""

import numpy as np
import pytest

from dalib.methods.classic import CLASSIC
from dalib.run.own.closed_form import CLASSIFIERS

N, D, CLASSES = 120, 12, 4
# Pooled over two seeds, two standard deviations of the difference of two accuracies near 85 %.
CHANCE = 2 * np.sqrt(2 * 0.85 * 0.15 / (2 * N))


def rows(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four classes in both domains, whose target is turned by 0.4 in every pair of columns and moved a little."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLASSES, D))
    centres *= 2.6 / np.linalg.norm(centres, axis=1, keepdims=True)
    y = np.arange(N) % CLASSES
    spread = np.linspace(1.1, 0.4, D)
    source, target = (centres[y] + rng.normal(size=(N, D)) * spread for _ in range(2))
    cosine, sine = np.cos(0.4), np.sin(0.4)
    turn = np.kron(np.eye(D // 2), np.array([[cosine, sine], [-sine, cosine]]))
    return y, source, target @ turn + 0.2


FORMS = {
    "unit": lambda x, source: x / np.linalg.norm(x, axis=1, keepdims=True),
    # Measurements in units of their own, far from zero.
    "raw": lambda x, source: 100 * x + 1000,
    "standardised": lambda x, source: (x - source.mean(0)) / source.std(0),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", sorted(CLASSIC))
def test_defaults_leave_the_unadapted_accuracy_by_no_more_than_chance(name, form):
    before, after = [], []
    for seed in range(2):
        y, source, target = rows(seed)
        xs, xt = (FORMS[form](x, source) for x in (source, target))
        fitted = CLASSIC[name]().fit(xs, y, xt)
        # Raw rows put a linear machine's C out of range, so it sees them standardised; 1-NN takes them as they are.
        classify = CLASSIFIERS["1nn" if fitted.weights is None else "logreg"]
        if fitted.weights is not None:
            xs, xt = (FORMS["standardised"](x, xs) for x in (xs, xt))
            fitted = fitted._replace(source=xs, target=xt)
        before.append((classify(xs, y, None)(xt) == y).mean())
        after.append((classify(fitted.source, y, fitted.weights)(fitted.target) == y).mean())
    assert np.mean(after) > np.mean(before) - CHANCE, (before, after)


def test_what_was_harmful_is_seen_by_this_test():
    y, source, target = rows(0)
    raw = [FORMS["raw"](x, source) for x in (source, target)]
    moved = CLASSIC["coral"](form="paper").fit(raw[0], y, raw[1])
    classify = CLASSIFIERS["1nn"]
    before = (classify(raw[0], y, None)(raw[1]) == y).mean()
    assert (classify(moved.source, y, None)(moved.target) == y).mean() < before - CHANCE


def test_coral_changes_rows_of_length_one_as_it_changes_others():
    """ε in units of the data would outweigh their variances of 1/d and leave the rows as they are."""
    y, source, target = rows(0)
    xs, xt = (FORMS["unit"](x, source) for x in (source, target))
    for scale in (1.0, 100.0):
        moved = CLASSIC["coral"]().fit(scale * xs, y, scale * xt).source / scale
        assert np.abs(moved - xs).max() > 0.1
        np.testing.assert_allclose(moved, CLASSIC["coral"]().fit(xs, y, xt).source, rtol=1e-9, atol=1e-9)
    assert np.abs(CLASSIC["coral"](form="paper").fit(xs, y, xt).source - xs).max() < 0.1


@pytest.mark.parametrize("form", FORMS)
def test_transport_keeps_the_spread_of_the_target(form):
    """With entropy 1 every source row moves to about the target's mean, and a regularised classifier sees nothing."""
    y, source, target = rows(0)
    xs, xt = (FORMS[form](x, source) for x in (source, target))

    def share(**options) -> float:
        moved = CLASSIC["ot"](**options).fit(xs, y, xt).source
        return moved.var(0).sum() / xt.var(0).sum()

    assert share() > 0.4 and share(entropy=1.0) < 0.05
