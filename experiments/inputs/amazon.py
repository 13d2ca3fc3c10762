"""Data of :mod:`experiments.amazon_reviews`: protocols' splits, and reviews as features, counts or tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.core.types import TextPreprocessing
from dalib.data import Domain, encode, from_arrays, load_tokenizer
from dalib.data.benchmarks import load as load_benchmark
from dalib.data.benchmarks.facts import AnyDomain
from dalib.encoders import load
from dalib.run.config import Experiment
from dalib.run.own.features import Pretrained, feature_function, text_features
from dalib.run.own.inputs import scaled

FOUR = ("books", "dvd", "electronics", "kitchen")
FIVE = (*FOUR, "video")
LABELLED = 2000
VALIDATION = 400
COUNTS = 5000
SPLITS = {
    "dann": "2,000 labelled source and 2,000 target reviews",
    "hatn": "5,600 labelled source and 6,000 target reviews",
}
"""Protocols; see :mod:`experiments.amazon_reviews`."""
SCALES = ("none", "source", "domain")
FORMS = {
    "minilm": "mean-pooled MiniLM-L6 features",
    "counts": "counts of the 5,000 most frequent words and word pairs",
    "published": "5,000 uni- and bigram counts",
    "tokens": "MiniLM-L6, fine-tuned",
}
"""Forms of a review that enter the net."""


class Reviews(NamedTuple):
    """One domain.

    Attributes:
        texts: n reviews.
        labels: int32 ``[n]``, 0 negative, 1 positive.
        train: rows to learn from as a source.
        held: rows that score it as a source.
        unlabelled: rows to adapt to as a target.
        test: rows that score it as a target.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    train: np.ndarray
    held: np.ndarray
    unlabelled: np.ndarray
    test: np.ndarray


def stated(form: str, split: str, max_length: int) -> tuple[tuple[str, str], ...]:
    """Return the record's facts of the data."""
    if form == "published":
        return (("split", "held out"), ("variant", f"{SPLITS['dann']}; {FORMS[form]}"))
    cut = f", {max_length} tokens" if form in ("minilm", "tokens") else ""
    variant = f"{SPLITS[split]} of HATN's files; {FORMS[form]}{cut}"
    return (("split", "held out" if split == "dann" else "transductive"), ("variant", variant))


def divide(texts: Sequence[str], labels: np.ndarray, split: str) -> Reviews:
    """Divides one domain by text, so that no text is on both sides; always the same way.

    Args:
        texts: n reviews.
        labels: ``[n]``.
        split: ``dann``: distinct texts only, 1,000 of each class to train on and the others to test; ``hatn``: all
            reviews, as target to train and to test on, as source without about 400 of them, which score the source.
    """
    choose("split", split, SPLITS)
    generator = np.random.default_rng(0)
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    distinct = generator.permutation(sorted(first.values()))
    each = LABELLED // 2 if split == "dann" else VALIDATION // 2
    by_class = [distinct[labels[distinct] == label] for label in (0, 1)]
    if min(map(len, by_class)) <= each:
        got = f"{min(map(len, by_class))} distinct texts of a class"
        raise input_error("reviews", got=got, expected=f"more than {each} of each class")
    drawn = np.sort(np.concatenate([own[:each] for own in by_class]))
    if split == "dann":
        others = np.setdiff1d(distinct, drawn)
        return Reviews(tuple(texts), labels, drawn, others, drawn, others)
    held = {texts[i] for i in drawn}
    rows = np.arange(len(texts))
    inside = np.array([text in held for text in texts])
    return Reviews(tuple(texts), labels, rows[~inside], rows[inside], rows, rows)


def read_reviews(data_dir: Path | None, domains: Sequence[str], split: str) -> dict[str, Reviews]:
    """The domains, checked against the manifest and divided.

    Raises:
        InputError: with everything that is wrong with the files.
    """
    found = {}
    for name, domain in load_benchmark("amazon_reviews", data_dir, domains=domains).items():
        assert isinstance(domain, Domain)
        records = domain.split("train")
        texts, labels = records.__getitems__(range(len(records)))
        found[name] = divide([str(text) for text in texts], np.asarray(labels, np.int32), split)
    return found


def reader(
    *,
    form: str,
    split: str,
    scale: str,
    weights: str,
    max_length: int,
    data_dir: Path | None,
    vocabulary: Sequence[str] = FOUR,
    report: Callable[[str], None] = lambda text: None,
) -> Callable[[Sequence[Experiment]], Callable[[Experiment], tuple[Domain, Domain]]]:
    """A reader for :func:`dalib.run.grid.run_grid`; arguments as in :class:`experiments.amazon_reviews.Amazon`.

    Counts are of the words of all domains in ``vocabulary``, whatever tasks are run.
    """

    def read(todo: Sequence[Experiment]) -> Callable[[Experiment], tuple[Domain, Domain]]:
        names = tuple(dict.fromkeys(name for e in todo for name in (e.source, e.target)))
        pairs: dict[tuple[str, str], tuple[Domain, Domain]] = {}
        if form == "published":
            whole = {n: _as_float(d) for n, d in load_benchmark("amazon_features", data_dir, domains=names).items()}
            return lambda e: (whole[e.source], whole[e.target])
        reviews = read_reviews(data_dir, vocabulary if form == "counts" else names, split)
        inputs = _inputs(form, reviews, weights, max_length, report)

        def domains(e: Experiment) -> tuple[Domain, Domain]:
            if (e.source, e.target) not in pairs:
                pairs[e.source, e.target] = _pair(e.source, e.target, reviews, inputs, scale)
            return pairs[e.source, e.target]

        return domains

    return read


def _pair(
    source: str, target: str, reviews: dict[str, Reviews], inputs: dict[str, np.ndarray], scale: str
) -> tuple[Domain, Domain]:
    """The two domains of a task; where target texts are held out, those that the source trains on are not tested on."""
    s, t = reviews[source], reviews[target]
    known = {s.texts[i] for i in s.train} if t.test is not t.unlabelled else set()
    test = np.array([i for i in t.test if t.texts[i] not in known])
    mine = [inputs[source][s.train], inputs[source][s.held]]
    theirs = [inputs[target][t.unlabelled], inputs[target][test]]
    if scale == "source":
        mine[:1], (mine[1], *theirs) = scaled(mine[:1], [mine[1], *theirs], "source")
    elif scale == "domain":
        mine, theirs = scaled([], mine, "domain")[1], scaled([], theirs, "domain")[1]
    return (
        _domain(source, mine[0], s.labels[s.train], mine[1], s.labels[s.held]),
        _domain(target, theirs[0], t.labels[t.unlabelled], theirs[1], t.labels[test]),
    )


def _domain(name: str, x: np.ndarray, y: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Domain:
    return from_arrays(name, {"train": (x, y), "test": (test, labels)}, class_names=("negative", "positive"))


def _as_float(domain: AnyDomain) -> Domain:
    assert isinstance(domain, Domain)
    splits = {}
    for name, records in domain.splits.items():
        x, y = records.__getitems__(range(len(records)))
        splits[name] = (np.asarray(x, np.float32), y)
    return from_arrays(domain.name, splits, class_names=domain.class_names)


def _inputs(
    form: str, reviews: dict[str, Reviews], weights: str, max_length: int, report: Callable[[str], None]
) -> dict[str, np.ndarray]:
    if form == "counts":
        return _counts(reviews)
    model = Pretrained(*load("minilm_l6", weights=weights))
    assert isinstance(model.preprocessing, TextPreprocessing)
    if not model.preprocessing.tokenizer:
        raise input_error("weights", got=weights, expected="weights that have tokeniser files beside them")
    tokenizer = load_tokenizer(model.preprocessing.tokenizer)
    length = min(max_length, model.preprocessing.max_length)
    ids = {name: encode(tokenizer, own.texts, max_length=length) for name, own in reviews.items()}
    if form == "tokens":
        return ids
    process = feature_function(model)

    def features(name: str) -> np.ndarray:
        def tell(done: int, of: int) -> None:
            report(f"features of {name}: {done}/{of}")

        return text_features(process, ids[name], tokenizer.pad_id, tell)

    return {name: features(name) for name in ids}


def _counts(reviews: dict[str, Reviews]) -> dict[str, np.ndarray]:
    """Counts ``[n, 5000]`` of the words and word pairs most frequent in the training texts of all these domains."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(ngram_range=(1, 2), max_features=COUNTS)
    counter.fit([own.texts[i] for own in reviews.values() for i in own.train])
    return {name: counter.transform(own.texts).toarray().astype(np.float32) for name, own in reviews.items()}
