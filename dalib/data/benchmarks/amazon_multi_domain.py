"""Amazon reviews as Blitzer, Dredze and Pereira published them: labelled reviews, and further ones with ratings."""

import re
from pathlib import Path

import numpy as np

from dalib.data.benchmarks.base import Benchmark
from dalib.data.benchmarks.facts import Facts
from dalib.data.benchmarks.reading import Reading
from dalib.data.domain import Domain, Split
from dalib.data.raw_text import TextSplit

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
    """Texts: the labelled reviews are ``train``, the others, labelled by their ratings, ``test``."""
    reading = Reading({}, [])
    for name in domains:
        places = [data_dir / place / folder for place in PLACES for folder in FOLDERS.get(name, (name,))]
        folder = next((place for place in places if (place / "positive.review").is_file()), None)
        if folder is None:
            reading.faults.append(f"{name}: no {name}/positive.review in {data_dir} or its {', '.join(PLACES[:-1])}")
            continue
        parts: dict[str, tuple[list[str], list[int]]] = {"train": ([], []), "test": ([], [])}
        for part, file, label in (("train", "negative", 0), ("train", "positive", 1), ("test", "unlabeled", None)):
            try:
                reviews = read_reviews(folder / f"{file}.review")
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


def read_reviews(file: Path) -> list[tuple[str, float | None]]:
    """Text (title and body on two lines; empty if there is neither) and rating of every review.

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
