"""One contract over all validators: bounds, guard, missing arrays, and that none moves with the order of the rows."""

import dataclasses

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate import TARGET_SCORES, VALIDATORS, Evidence
from dalib.evaluate.validators import PRIMARY, scores
from dalib.evaluate.validators.scoring import doubts
from tests.evaluate.validators.cases import evidence

ALL = [evidence(seed=s, noise=1 + s / 2) for s in range(3)]
SCORES = scores(ALL)


def test_there_are_enough_and_each_says_what_it_is():
    assert len(VALIDATORS) >= 22
    assert {*PRIMARY, *TARGET_SCORES} <= VALIDATORS.keys()
    for validator in VALIDATORS.values():
        assert validator.summary and validator.range and validator.collapse in ("sees", "blind", "rewards")
        assert (validator.score is None) != (validator.among is None)
        assert set(validator.needs) < {f.name for f in dataclasses.fields(Evidence)}


@pytest.mark.parametrize("name", VALIDATORS)
def test_bounds(name):
    for found, e in zip(SCORES, ALL, strict=True):
        low, high = VALIDATORS[name].bounds(*e.target_logits.shape, e.target_features.shape[1])
        assert found[name].state == "ok", found[name]
        assert low - 1e-6 <= found[name].value <= high + 1e-6


def test_a_worse_model_scores_lower():
    """Noise on the logits and features alone: what is about telling classes apart must fall."""
    told = (
        "source_accuracy",
        "iwcv",
        "dev",
        "devn",
        "ami",
        "ari",
        "v_measure",
        "fmi",
        "silhouette",
        "reverse",
        "mixval",
    )
    good, bad = scores([evidence(noise=0.3, n=200, m=200), evidence(noise=3, n=200, m=200)], told)
    for name in told:
        assert good[name].value > bad[name].value, name


def test_order_of_rows_does_not_count():
    e = ALL[0]
    order = np.random.default_rng(3).permutation(60)
    place = np.argsort(order)
    moved = dataclasses.replace(
        e,
        target_logits=e.target_logits[order],
        target_features=e.target_features[order],
        mixed_logits=e.mixed_logits[order],
        partners=place[e.partners[order]],
    )
    (a,), (b,) = scores([e]), scores([moved])
    for name in set(VALIDATORS) - {"transfer_score", "a_distance", "dev", "devn", "iwcv"}:  # these draw rows at random
        assert a[name].value == pytest.approx(b[name].value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("name", VALIDATORS)
def test_a_collapse_is_flagged_whatever_the_score(name):
    collapsed = np.zeros((60, 4)) + np.array([9.0, 0, 0, 0])
    (found,) = scores([dataclasses.replace(ALL[0], target_logits=collapsed, mixed_logits=collapsed)], [name])
    assert found[name].state in ("collapsed", "undefined") and "100%" in found[name].why
    if VALIDATORS[name].collapse == "sees" and name not in (
        "rankme",
        "transfer_score",
    ):  # these are of other arrays too
        assert found[name].state == "undefined" or found[name].value <= VALIDATORS[name].bounds(60, 4, 6)[0] + 1.01


@pytest.mark.parametrize("name", VALIDATORS)
def test_what_was_not_kept_is_named(name):
    (found,) = scores([Evidence(target_logits=ALL[0].target_logits)], [name])
    if VALIDATORS[name].needs:
        assert found[name].state == "missing" and all(need in found[name].why for need in VALIDATORS[name].needs)
    else:
        assert found[name].state == "ok"


def test_density_ratios_that_say_little_are_warned_of():
    (found,) = scores([evidence(shift=40.0, target_logits=ALL[0].target_logits)], ["dev"])
    assert found["dev"].state == "ok" and "separable" in found["dev"].why
    assert "effective sample of 1.0 of 50" in doubts(np.eye(50)[0] * 50)
    assert not doubts(np.ones(50))


def test_too_few_candidates_are_warned_of():
    assert "3 candidates; it needs 5" in SCORES[0]["ensv"].why and not SCORES[0]["mixval"].why


def test_evidence_has_no_place_for_target_labels():
    assert not any("label" in f.name and "source" not in f.name for f in dataclasses.fields(Evidence))
    with pytest.raises(TypeError):
        Evidence(target_logits=ALL[0].target_logits, target_labels=np.zeros(60, int))


@pytest.mark.parametrize(
    "changes",
    [
        {"target_features": np.ones((59, 6))},
        {"source_logits": np.ones((50, 3))},
        {"source_labels": np.full(50, 4)},
        {"source_labels": np.zeros(50)},
        {"train_features": np.ones((5, 7))},
        {"head": np.ones((6, 5))},
        {"partners": np.full(60, 60)},
        {"target_features": np.full((60, 6), np.inf)},
    ],
)
def test_arrays_that_do_not_belong_together(changes):
    with pytest.raises(InputError):
        evidence(**changes)


def test_unknown_name():
    with pytest.raises(InputError, match="did you mean"):
        scores(ALL, ["entropi"])
