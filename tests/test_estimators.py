"""scikit-learn's face: its own checks, the command's numbers, both ways to say what is target, and pickles."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import check_estimator

from dalib.core.checks import InputError
from dalib.estimators import DomainAdaptationClassifier, DomainAdaptationRegressor
from dalib.run.own import adapt
from dalib.run.trained import load_run


def two_domains(n=120, shift=1.5):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = np.where(np.arange(n) % 2, "late", "early")
    x[:, 0] += 4 * (y == "late")
    return x, y, x[::-1] + np.float32(shift) * np.eye(6, dtype=np.float32)[1], y[::-1]


@pytest.fixture(scope="module")
def net():
    x, y, other, _ = two_domains()
    return DomainAdaptationClassifier("dann", steps=60).fit(x, y, X_target=other)


def test_a_net_adapts_and_survives_a_pickle(net):
    _, _, other, truth = two_domains()
    assert np.mean(net.predict(other) == truth) > 0.9
    assert net.classes_.tolist() == ["early", "late"]
    np.testing.assert_allclose(net.predict_proba(other).sum(1), 1, atol=1e-12)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(other), net.predict_proba(other))


def test_sample_domain_says_the_same_and_target_labels_are_not_looked_at(net):
    x, y, other, _ = two_domains()
    both, side = np.concatenate([x, other]), np.repeat([1, -2], len(x))
    labels = np.concatenate([y, np.full(len(x), "no label")])
    told = DomainAdaptationClassifier("dann", steps=60).fit(both, labels, sample_domain=side)
    np.testing.assert_array_equal(told.predict_proba(other), net.predict_proba(other))


def test_numbers_are_those_of_the_command(tmp_path):
    x, y, other, truth = two_domains()
    x, other = x.astype(float) / 3, other.astype(float) / 3  # the command reads float64 as float32
    np.savez(tmp_path / "source.npz", x=x, y=y)
    np.savez(tmp_path / "target.npz", x=other, y=truth)
    here = ["--source", str(tmp_path / "source.npz"), "--target", str(tmp_path / "target.npz")]
    run = ["--method", "mcd", "--seeds", "1", "--steps", "40", "--no-baseline", "--no-report"]
    cadence = ["--evaluate-every", "40", "--save-every", "40"]
    assert adapt.command([*here, *run, *cadence, "--out", str(tmp_path / "out")]) == 0
    theirs = tmp_path / "out" / "source-target" / "mcd" / "seed-0"
    model = DomainAdaptationClassifier("mcd", steps=40, holdout=0.2, folder=str(tmp_path / "kept"))
    model.fit(x, y, X_target=other)
    assert (tmp_path / "kept" / "mcd" / "weights.safetensors").read_bytes() == (
        theirs / "weights.safetensors"
    ).read_bytes()
    # MCD predicts with both of its classifiers, of which weights.safetensors holds one.
    with np.load(theirs / "final.npz") as final:
        confusion = final["confusion"]
    predicted = np.searchsorted(model.classes_, model.predict(other))
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (np.searchsorted(model.classes_, truth), predicted), 1)
    np.testing.assert_array_equal(counts, confusion)
    # Closed forms: rows in the same scale, C chosen on the source.
    classic = ["--method", "coral", "--classifier", "logreg", "--no-baseline", "--no-report", "--no-target-labels"]
    assert adapt.command([*here, *classic, "--out", str(tmp_path / "closed")]) == 0
    with np.load(tmp_path / "closed" / "source-target" / "coral+logreg" / "seed-0" / "predictions.npz") as found:
        closed = DomainAdaptationClassifier("coral", classifier="logreg").fit(x, y, X_target=other)
        np.testing.assert_array_equal(np.searchsorted(closed.classes_, closed.predict(other)), found["predictions"])
    loaded = load_run(theirs, (6,))
    assert loaded.class_names == ("early", "late")
    assert loaded.experiment.method == "mcd"


@pytest.mark.parametrize("method", ["coral", "ot"])
def test_closed_form_methods_adapt_and_survive_a_pickle(method):
    x, y, other, truth = two_domains()
    model = DomainAdaptationClassifier(method, classifier="1nn").fit(csr_matrix(x), y, X_target=other)
    assert np.mean(model.predict(other) == truth) > 0.9
    assert not hasattr(model, "predict_proba")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(other), model.predict(other))


def test_real_numbers_come_back_in_their_own_unit():
    x, _, other, _ = two_domains()
    model = DomainAdaptationRegressor("source_only", steps=150).fit(x, 1000 + 50 * x[:, 0], X_target=other)
    assert model.predict(other).shape == (120,)
    assert model.score(other, 1000 + 50 * other[:, 0]) > 0.8


def test_frames_pipelines_and_searches():
    x, y, _, _ = two_domains()
    frame = pd.DataFrame(x, columns=list("abcdef")).assign(kind=np.where(x[:, 2] > 0, "u", "v"))
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough")
    search = GridSearchCV(
        make_pipeline(columns, DomainAdaptationClassifier("coral")),
        {"domainadaptationclassifier__classifier": ["1nn", "logreg"]},
        cv=2,
    ).fit(frame, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "dannn"}, "dann"),
        ({"method": "coral", "classifier": "tree"}, "classifier"),
        ({"batch_size": 0}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"scale": "l1-domain"}, "scale"),
        ({"method_options": {"weigth": 1}}, "weight"),
    ],
)
def test_bad_arguments_are_one_error(arguments, said):
    x, y, other, _ = two_domains(20)
    with pytest.raises(InputError, match=said):
        DomainAdaptationClassifier(**arguments).fit(x, y, X_target=other)


def test_bad_domains_are_one_error():
    x, y, other, _ = two_domains(20)
    for arguments in ({"sample_domain": np.ones(20)}, {"sample_domain": -np.ones(20), "X_target": other}):
        with pytest.raises(InputError, match="sample_domain"):
            DomainAdaptationClassifier().fit(x, y, **arguments)


LONG = pytest.mark.skipif(
    "DALIB_LONG" not in os.environ, reason="DALIB_LONG=1 runs it: a hundred trainings, ten minutes"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [
        DomainAdaptationClassifier("coral"),
        pytest.param(DomainAdaptationClassifier(steps=200), marks=LONG),
        pytest.param(DomainAdaptationRegressor(steps=200), marks=LONG),
    ],
    ids=["coral", "dann", "regression"],
)
@pytest.mark.filterwarnings("ignore")
def test_all_of_scikit_learns_checks(estimator, monkeypatch):
    monkeypatch.setenv("DALIB_DEVICES", "1")  # many checks have fewer rows than a batch for eight devices
    check_estimator(estimator)
