"""Amazon reviews: division by text, the domains of a task, and the command on a made-up benchmark."""

import dataclasses
import json

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.benchmarks import BENCHMARKS
from dalib.report import load_runs
from dalib.run.config import Recipe
from experiments.amazon_reviews import Amazon, amazon, experiments
from experiments.inputs import amazon as amazon_data
from experiments.inputs.amazon import divide, reader, stated
from experiments.ledger.published import load


def reviews(name="books", n=40, repeats=4):
    """n reviews, negative ones first; the last ``repeats`` are copies of earlier ones of their class."""
    texts = [f"{('bad', 'good')[i >= n // 2]} {name} number {i}" for i in range(n)]
    texts[-repeats:] = texts[n // 2 : n // 2 + repeats]
    return texts, np.array([int(i >= n // 2) for i in range(n)], np.int32)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder of four small domains, read as if the manifest said so."""
    for name in amazon_data.FOUR:
        texts, labels = reviews(name)
        rows = [{"text": text, "label": int(label)} for text, label in zip(texts, labels, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    old = BENCHMARKS["amazon_reviews"]
    counts = {name: {"all": np.array([20, 20])} for name in amazon_data.FOUR}
    facts = dataclasses.replace(old.facts, counts=counts, fingerprints={})
    monkeypatch.setitem(BENCHMARKS, "amazon_reviews", dataclasses.replace(old, manifest=facts))
    monkeypatch.setattr(amazon_data, "LABELLED", 20)
    monkeypatch.setattr(amazon_data, "VALIDATION", 8)
    return tmp_path


def test_no_text_is_on_both_sides(monkeypatch):
    monkeypatch.setattr(amazon_data, "LABELLED", 20)
    monkeypatch.setattr(amazon_data, "VALIDATION", 8)
    texts, labels = reviews()
    found = divide(texts, labels, "dann")
    assert np.bincount(labels[found.train]).tolist() == [10, 10]
    kept = [texts[i] for i in [*found.train, *found.test]]
    assert len(kept) == len(set(kept)) == len(set(texts)) and (found.held == found.test).all()
    whole = divide(texts, labels, "hatn")
    assert len(whole.unlabelled) == len(whole.test) == 40
    assert not {texts[i] for i in whole.train} & {texts[i] for i in whole.held}
    assert sorted([*whole.train, *whole.held]) == list(range(40)) and len(whole.held) >= 8
    again = divide(texts, labels, "dann")
    np.testing.assert_array_equal(found.train, again.train)
    with pytest.raises(InputError, match="distinct texts"):
        divide(texts[:10], labels[:10], "dann")


def test_scales_of_a_task(small):
    todo = experiments(Amazon(source="books", target="dvd", form="counts", seeds=1, method=("source_only",)))
    read = lambda scale: reader(  # noqa: E731
        form="counts", split="dann", scale=scale, weights="", max_length=8, data_dir=small
    )(todo)(todo[0])
    several = experiments(Amazon(target="dvd", form="counts", seeds=1, method=("source_only",), oracle=False))
    wider = reader(form="counts", split="dann", scale="none", weights="", max_length=8, data_dir=small)(several)
    assert wider(several[0])[0].fingerprint() == read("none")[0].fingerprint()
    plain, (by_source, theirs), (own, other) = (read(scale) for scale in ("none", "source", "domain"))
    rows = lambda domain, split: domain.split(split).__getitems__(range(len(domain.split(split))))[0]  # noqa: E731
    x, t = rows(plain[0], "train"), rows(plain[1], "test")
    spread = np.where(x.std(0) > 0, x.std(0), 1)
    np.testing.assert_allclose(rows(by_source, "train"), (x - x.mean(0)) / spread, atol=1e-5)
    np.testing.assert_allclose(rows(theirs, "test"), (t - x.mean(0)) / spread, atol=1e-5)
    np.testing.assert_allclose(rows(own, "test"), (rows(plain[0], "test") - x.mean(0)) / spread, atol=1e-5)
    u = rows(plain[1], "train")
    np.testing.assert_allclose(rows(other, "test"), (t - u.mean(0)) / np.where(u.std(0) > 0, u.std(0), 1), atol=1e-5)


def test_fine_tuning_has_a_recipe_of_its_own_unless_one_is_given():
    given = {"source": "books", "target": "dvd", "seeds": 1, "method": ("dann",), "oracle": False}
    recipe = experiments(Amazon(form="tokens", **given))[0].recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.encoder_multiplier) == ("adamw", 5e-4, 0.1)
    own = Recipe(learning_rate=0.02)
    assert experiments(Amazon(form="tokens", recipe=own, **given))[0].recipe == own
    assert experiments(Amazon(form="counts", **given))[0].recipe.optimizer == "sgd"


def test_published_counts_are_the_form_of_the_published_rows():
    variants = {number.variant for number in load() if number.benchmark == "amazon_reviews"}
    assert dict(stated("published", "dann", 256))["variant"] in variants
    assert not {dict(stated(form, "dann", 256))["variant"] for form in ("minilm", "counts", "tokens")} & variants


def test_the_published_counts_are_read_as_they_are(tmp_path, monkeypatch):
    for name in ("books", "dvd"):
        (tmp_path / f"{name}_train.svmlight").write_text("-1 0:2 7:1\n1 4999:3\n-1 1:1\n1 2:1\n")
        (tmp_path / f"{name}_test.svmlight").write_text(f"-1 0:{len(name)}\n1 3:1\n")
    old = BENCHMARKS["amazon_features"]
    counts = {name: {"train": np.array([2, 2]), "test": np.array([1, 1])} for name in amazon_data.FOUR}
    facts = dataclasses.replace(old.facts, counts=counts, fingerprints={})
    monkeypatch.setitem(BENCHMARKS, "amazon_features", dataclasses.replace(old, manifest=facts))
    todo = experiments(Amazon(source="books", target="dvd", form="published", seeds=1, method=("dann",)))
    read = reader(form="published", split="dann", scale="none", weights="", max_length=8, data_dir=tmp_path)
    source, target = read(todo)(todo[0])
    x, y = source.split("train").__getitems__(range(4))
    assert x.shape == (4, 5000) and x.dtype == np.float32 and y.tolist() == [0, 1, 0, 1]
    assert (x[0, 0], x[0, 7], x[1, 4999]) == (2, 1, 3)
    assert target.split("test").__getitems__([0])[0][0, 0] == 3


def test_options_that_contradict_one_another():
    with pytest.raises(InputError, match="their own split"):
        experiments(Amazon(form="published", split="hatn"))
    with pytest.raises(InputError, match="scale"):
        experiments(Amazon(scale="l1-domain"))
    assert len(experiments(Amazon(method=("dann",), seeds=1, oracle=False))) == 12
    assert len(experiments(Amazon(method=("dann",), seeds=1, video=True, split="hatn"))) == 20
    some = experiments(Amazon(method=("dann",), seeds=1, oracle=False, domains=("books", "kitchen")))
    assert {run.task for run in some} == {"books → kitchen", "kitchen → books"}
    with pytest.raises(InputError, match="did you mean 'books'"):
        experiments(Amazon(domains=("book",)))
    mine = experiments(Amazon(method=("dann",), seeds=1, options=("dann.hidden=[7]",)))
    assert dict(mine[0].method_options) == {"hidden": (7,)}


@pytest.mark.slow
def test_the_command_on_counts(small):
    options = Amazon(
        source="books",
        target="kitchen",
        form="counts",
        method=("source_only", "dann"),
        seeds=1,
        steps=60,
        batch_size=8,
        recipe=Recipe(learning_rate=0.1),
        log_every=20,
        evaluate_every=60,
        save_every=60,
        data_dir=small,
        out=small / "out",
    )
    amazon(options)
    runs = {run.name: run for run in load_runs(small / "out")}
    assert set(runs) == {"source_only", "dann", "oracle"} and all(run.finished for run in runs.values())
    accuracy = [event for event in runs["source_only"].evaluations if event.oracle][-1].metrics["accuracy"]
    assert accuracy > 0.9  # "good" and "bad" are in every domain
