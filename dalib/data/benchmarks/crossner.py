"""CrossNER: named entities in news (the source) and in five fields of Wikipedia."""

from pathlib import Path

import numpy as np

from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.readers.raw_text import OUTSIDE, TaggedDomain, TaggedSentences, tag_names

LAYOUT = """
ner_data/<domain>/train.txt dev.txt test.txt     token, tab, BIO tag; an empty line after a sentence (the repository as
                                                 it is cloned: CrossNER/ner_data/); also crossner/<domain>/ or <domain>/
<domain>: conll2003, politics, science, music, literature, ai
"""
PLACES = ("ner_data", "CrossNER/ner_data", "crossner", "crossner/ner_data", "")
SPLITS = ("train", "dev", "test")


def read_crossner(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read every domain's sentences as :class:`dalib.data.readers.raw_text.TaggedDomain`; types as in the manifest."""
    reading = Reading({}, [])
    for name in domains:
        folder = next((data_dir / place / name for place in PLACES if (data_dir / place / name).is_dir()), None)
        if folder is None:
            reading.faults.append(f"{name}: no folder {name} in {data_dir} or its {', '.join(PLACES[:-1])}")
            continue
        types, splits = facts.classes[name], {}
        for split in SPLITS:
            try:
                splits[split], faults = read_bio(folder / f"{split}.txt", types)
            except (OSError, UnicodeDecodeError) as error:
                faults = [str(error)]
            reading.faults.extend(f"{name}, {split}: {fault}" for fault in faults)
        if splits:
            reading.domains[name] = TaggedDomain(name, types, splits)
    return reading


def read_bio(file: Path, types: tuple[str, ...]) -> tuple[TaggedSentences, list[str]]:
    """Read sentences of one ``token<TAB>tag`` a line; return them and the faults by line number."""
    index = {tag: i for i, tag in enumerate(tag_names(types))}
    sentences: list[tuple[list[str], list[int]]] = [([], [])]
    faults = []
    # An empty line ends a sentence; several in a row end only one.
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            if sentences[-1][0]:
                sentences.append(([], []))
            continue
        word, tab, tag = line.rstrip("\r").rpartition("\t")
        if not tab or tag not in index:
            faults.append(f"line {number}: no token and known BIO tag ({OUTSIDE}, B-, I-): {line[:60]!r}")
            continue
        sentences[-1][0].append(word)
        sentences[-1][1].append(index[tag])
    whole = [(tuple(words), np.asarray(tags, np.int32)) for words, tags in sentences if words]
    return TaggedSentences(tuple(words for words, _ in whole), tuple(tags for _, tags in whole)), faults


CROSSNER = Benchmark("crossner", "crossner", read_crossner, LAYOUT)
