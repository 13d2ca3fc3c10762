"""Amazon reviews: sentiment across kinds of products, as text and as counts of 5,000 words and pairs."""

import gzip
import json
import re
import zlib
from pathlib import Path

import numpy as np

from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.domain import Domain, Split, pool
from dalib.data.readers.arrays import ArraySplit
from dalib.data.readers.raw_text import TextSplit

FEATURES = 5000
TEXT_LAYOUT = """
raw_data/<domain>/review_positive, review_negative      one review a line (the repository as cloned; HATN/raw_data)
or amazon_reviews_raw/<domain>.jsonl.gz (or .jsonl)     {"label": 0 or 1, "text": "…"} a line
<domain>: books, dvd, electronics, kitchen, video
"""
FEATURE_LAYOUT = """
<domain>_train.svmlight, <domain>_test.svmlight         labels -1 and 1, features 0 … 4999; in --data-dir, data/,
                                                        domain_adversarial_neural_network/data/ or amazon_features/
<domain>: books, dvd, electronics, kitchen
"""
TEXT_PLACES = ("", "amazon_reviews_raw", "amazon_reviews")
RAW_PLACES = ("raw_data", "HATN/raw_data", "amazon_reviews/raw_data", "amazon_reviews_raw", "amazon_reviews", "")
FEATURE_PLACES = ("", "data", "domain_adversarial_neural_network/data", "amazon_features")


def read_reviews(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read texts and labels (0 negative, 1 positive) of every domain, one pool each."""
    reading = Reading({}, [])
    for name in domains:
        try:
            texts, labels, faults = _reviews(data_dir, name)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            reading.faults.append(f"{name}: {error}")
            continue
        reading.faults.extend(f"{name}: {fault}" for fault in faults)
        if texts:
            split = TextSplit(tuple(texts), np.asarray(labels, np.int32))
            reading.domains[name] = pool(name, facts.classes[name], split)
        elif not faults:
            reading.faults.append(f"{name}: no {name}.jsonl.gz and no {name}/review_positive below {data_dir}")
    return reading


def _reviews(data_dir: Path, name: str) -> tuple[list[str], list[int], list[str]]:
    texts: list[str] = []
    labels: list[int] = []
    faults: list[str] = []
    # The one-file form first, then the folders of raw lines: whichever is there holds the whole domain.
    files = (data_dir / place / f"{name}{end}" for place in TEXT_PLACES for end in (".jsonl.gz", ".jsonl"))
    file = next((path for path in files if path.is_file()), None)
    if file is not None:
        for number, line in enumerate(_lines(file), 1):
            try:
                record = json.loads(line)
                text, label = record["text"], record["label"]
            except (ValueError, KeyError, TypeError):
                faults.append(f"{file.name}, line {number}: not an object with text and label")
                continue
            if label not in (0, 1) or not isinstance(text, str) or not text.strip():
                faults.append(f"{file.name}, line {number}: label {label!r}, or no text")
                continue
            texts.append(text)
            labels.append(int(label))
        return texts, labels, faults
    # One file for each label; half of them alone would be a domain of one class.
    folder = next(
        (data_dir / p / name for p in RAW_PLACES if (data_dir / p / name / "review_positive").is_file()), None
    )
    if folder is not None:
        for label, kind in ((1, "positive"), (0, "negative")):
            if not (folder / f"review_{kind}").is_file():
                faults.append(f"no file {folder / f'review_{kind}'}")
                continue
            found = _lines(folder / f"review_{kind}")
            texts += found
            labels += [label] * len(found)
    return texts, labels, faults


def _lines(file: Path) -> list[str]:
    """Read lines, split at ``\\n`` alone: the texts hold other control characters."""
    raw = file.read_bytes()
    text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8")
    return [line for line in text.split("\n") if line.strip()]


def read_counts(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read counts, uint8 ``[n, 5000]``, in the published train and test parts."""
    reading = Reading({}, [])
    for name in domains:
        # Each split may be in another place; a missing one is a fault and the other is still read.
        splits: dict[str, Split] = {}
        for split in ("train", "test"):
            places = [data_dir / place / f"{name}_{split}.svmlight" for place in FEATURE_PLACES]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                reading.faults.append(f"{name}: no {name}_{split}.svmlight below {data_dir}")
                continue
            try:
                x, y = read_svmlight(file)
            except (OSError, ValueError) as error:
                reading.faults.append(f"{name}, {split}: {error}")
                continue
            splits[split] = ArraySplit(x, y)
        if splits:
            reading.domains[name] = Domain(name, facts.classes[name], splits)
    return reading


def read_svmlight(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read counts uint8 ``[n, 5000]`` and labels (−1 becomes 0).

    Raises:
        ValueError: naming the first line that is not ``label index:count …``.
    """
    lines = [line for line in file.read_text(encoding="ascii").split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{file} without any line")
    x, y = np.zeros((len(lines), FEATURES), np.uint8), np.zeros(len(lines), np.int32)
    # Row by row, so that a fault names its line; the arrays are made once for all of them.
    for row, line in enumerate(lines):
        label, *pairs = line.split()
        try:
            table = np.array(" ".join(pairs).replace(":", " ").split(), np.int64).reshape(-1, 2)
            good = label in ("-1", "1", "+1") and (table >= 0).all() and (table < (FEATURES, 256)).all()
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"{file}, line {row + 1}: not a label (-1, 1) and pairs index:count: {line[:60]}")
        x[row, table[:, 0]] = table[:, 1]
        y[row] = label != "-1"
    return x, y


AMAZON_REVIEWS = Benchmark("amazon_reviews", "amazon_reviews", read_reviews, TEXT_LAYOUT)
AMAZON_FEATURES = Benchmark("amazon_features", "amazon_features", read_counts, FEATURE_LAYOUT)


LAYOUT = """
sorted_data_acl/<domain>/positive.review negative.review unlabeled.review      domain_sentiment_data.tar.gz unpacked;
                                                                               or <domain>/… in --data-dir
<domain>: books, dvd, electronics, kitchen_&_housewares (or kitchen)
"""
PLACES = ("sorted_data_acl", "amazon_multi_domain", "amazon_multi_domain/sorted_data_acl", "")
FOLDERS = {"kitchen": ("kitchen_&_housewares", "kitchen")}
NEUTRAL = 3.0
# The files look like XML but are not: texts hold bare ampersands and angle brackets, and there is no root.
REVIEW = re.compile(r"<review>(.*?)</review>", re.DOTALL)
FIELD = {name: re.compile(rf"<{name}>(.*?)</{name}>", re.DOTALL) for name in ("title", "rating", "review_text")}


def read_multi_domain(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read texts: the labelled reviews are ``train``, the others, labelled by their ratings, ``test``."""
    reading = Reading({}, [])
    for name in domains:
        places = [data_dir / place / folder for place in PLACES for folder in FOLDERS.get(name, (name,))]
        folder = next((place for place in places if (place / "positive.review").is_file()), None)
        if folder is None:
            reading.faults.append(f"{name}: no {name}/positive.review in {data_dir} or its {', '.join(PLACES[:-1])}")
            continue
        parts: dict[str, tuple[list[str], list[int]]] = {"train": ([], []), "test": ([], [])}
        # The published labels come with the file's name; the unlabelled file has ratings, and 3 stars say nothing.
        for part, file, label in (("train", "negative", 0), ("train", "positive", 1), ("test", "unlabeled", None)):
            try:
                reviews = read_multi_domain_reviews(folder / f"{file}.review")
            except OSError as error:
                reading.faults.append(f"{name}: {error}")
                continue
            for number, (text, rating) in enumerate(reviews, 1):
                if not text or (label is None and rating in (None, NEUTRAL)):
                    reading.faults.append(f"{name}, {file}.review, review {number}: no text, or rating {rating}")
                    continue
                parts[part][0].append(text)
                parts[part][1].append(int((rating or 0.0) > NEUTRAL) if label is None else label)
        splits: dict[str, Split] = {
            part: TextSplit(tuple(texts), np.asarray(labels, np.int32))
            for part, (texts, labels) in parts.items()
            if texts
        }
        if splits:
            reading.domains[name] = Domain(name, facts.classes[name], splits)
    return reading


def read_multi_domain_reviews(file: Path) -> list[tuple[str, float | None]]:
    """Read text (title and body on two lines; empty if there is neither) and rating of every review.

    Latin-1: every byte is a character, so that no stray byte of the scraped texts can stop the reading.
    """
    reviews = []
    for review in REVIEW.findall(file.read_text(encoding="latin-1")):
        found = {name: pattern.search(review) for name, pattern in FIELD.items()}
        title, rating, body = (match[1].strip() if match else "" for match in found.values())
        try:
            value: float | None = float(rating)
        except ValueError:
            value = None
        reviews.append((f"{title}\n{body}".strip(), value))
    return reviews


AMAZON_MULTI_DOMAIN = Benchmark("amazon_multi_domain", "amazon_multi_domain", read_multi_domain, LAYOUT)
