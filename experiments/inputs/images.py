"""Shared parts of the image benchmarks: options, and data sets read as images to fine-tune on or as frozen features.

Fine-tuning: every image is resized to 256/224 of the net's size on both sides and normalised as the weights were made.
Its central square enters the net; in training, views cut from the whole of it (``--augment``), on the device. Frozen
features: every image goes once through the pretrained net as its weights were tested; features are kept in the cache,
and heads of all seeds of a method are trained together as a population.

Where a benchmark's domains are pools, all target images are used without labels and tested on (transductive), and the
source is all its images, or without ``--holdout`` of each class, which then score the source.
"""

import hashlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.core.files import write_atomically
from dalib.core.types import ImagePreprocessing
from dalib.data import Domain
from dalib.data import benchmarks as data
from dalib.data.benchmarks.facts import AnyDomain
from dalib.data.benchmarks.loading import is_pool
from dalib.data.domain import Split, split_labels, stratified_holdout
from dalib.data.matching import PLUS, join
from dalib.data.readers.arrays import ArraySplit
from dalib.data.readers.images import published, stored_size
from dalib.data.readers.prepare import from_prepared
from dalib.data.transforms import Transform, compose, resize, rgb
from dalib.encoders import load
from dalib.encoders.pretrained.cache import cache_folder
from dalib.encoders.registry import ENCODERS
from dalib.run.config import Experiment, Recipe, flat, needs_of
from dalib.run.grid import Grid, expand, pairs
from dalib.run.own.features import BLOCK, Pretrained, feature_function, fingerprint
from experiments.inputs.image_splits import KEPT, Rows, ViewedImages, contents


@dataclass(frozen=True)
class Images(Grid):
    """Options of the image benchmarks."""

    steps: int = 2000
    encoder: str = "resnet50"
    bottleneck: str = "linear-bn-relu"
    recipe: Recipe = Recipe(
        learning_rate=0.01, encoder_multiplier=0.1, nesterov=True, weight_decay=1e-3, schedule="inverse", gamma=1e-3
    )
    oracle: bool = False
    evaluate_every: int = 500
    save_every: int = 500
    weights: str = "default"
    """What the encoder starts from: default, a name that python -m dalib.run.cli.weights list shows, a file; "" is
    nothing."""
    frozen_features: bool = False
    """Compute the encoder's features once and train bottleneck and head on them."""
    size: int = 224
    """Height and width of the images that enter the net when it is fine-tuned."""
    augment: tuple[str, ...] = ("crop", "flip")
    """Random views of training images when fine-tuning: crop (and resize), random-crop, flip, shift, rotate; none
    without any."""
    holdout: float = 0.0
    """Share of each source class that is held out to score the source; 0 trains on all, as published, and then no step
    can be picked by source accuracy."""
    prepared: Path | None = None
    """Where python -m dalib.data prepare NAME --form arrays put the data: nothing is decoded again. --size and
    --resample there must be what is used here; the error says which."""
    several: bool = False
    """All other domains together as the sources of each target, in the place of one source."""


def image_experiments(
    options: Images, domains: Sequence[str], usual: Sequence[tuple[str, str]] | None = None
) -> list[Experiment]:
    """Every run that the options ask for, checked; ``usual`` are the tasks where none is named, without it all."""
    choose("encoder", options.encoder, ENCODERS)
    if options.frozen_features and not options.weights:
        raise input_error("frozen-features", got="an encoder without weights", expected="--weights default, or a file")
    if options.oracle:
        got = "--oracle where a target is tested on the images that it trains on"
        if data.benchmark(options.benchmark).name != "domainnet":
            raise input_error("oracle", got=got, expected="--no-oracle")
    if options.prepared and options.frozen_features:
        raise input_error("prepared", got="prepared images for --frozen-features", expected="the files themselves")
    if not 0 <= options.holdout < 1:
        raise input_error("holdout", got=options.holdout, expected="a share in [0, 1)")
    several = [name for name in options.method if needs_of(name).interleaves]
    if several and not options.several:
        raise input_error("method", got=f"{', '.join(several)} with one source", expected="--several")
    frozen = options.frozen_features
    return expand(
        options,
        tasks(options, domains, usual),
        protocol=stated(options),
        encoder="mlp" if frozen else options.encoder,
        encoder_options=flat({"widths": ()} if frozen else {}),
        weights="" if frozen else options.weights,
        augment="" if frozen else "+".join(options.augment),
        crop=0 if frozen else options.size,
    )


def tasks(
    options: Images, domains: Sequence[str], usual: Sequence[tuple[str, str]] | None = None
) -> list[tuple[str, str]]:
    """The (source, target) pairs asked for; with ``several``, all other domains to each target."""
    if not options.several:
        return pairs(options, domains, usual)
    if options.source is not None:
        raise input_error("source", got=options.source, expected="none beside --several")
    if options.target is not None:
        choose("target", options.target, dict.fromkeys(domains))
    targets = [options.target] if options.target else list(domains)
    return [(PLUS.join(name for name in domains if name != target), target) for target in targets]


def stated(options: Images) -> tuple[tuple[str, str], ...]:
    """Return the record's facts of the data."""
    facts = {"split": "held out" if options.benchmark == "domainnet" else "transductive"}
    if options.frozen_features:
        facts["features"] = f"{options.encoder}, {options.weights if '/' not in options.weights else 'own file'}"
    else:
        facts["size"] = str(options.size)
    if options.holdout:
        facts["source"] = f"{1 - options.holdout:.0%} of each class"
    return tuple(facts.items())


def on_images(options: Images) -> Images:
    """The options as the engine must run them: no populations while a net is fine-tuned on files."""
    plain = options.frozen_features and not any(needs_of(name).interleaves for name in options.method)
    return options if plain else replace(options, population="off")


def image_reader(
    options: Images, names: Sequence[str]
) -> Callable[[Sequence[Experiment]], Callable[[Experiment], tuple[Domain, Domain]]]:
    """A reader for :func:`dalib.run.grid.run_grid`; all faults of the data are one error, before any training."""

    def read(todo: Sequence[Experiment]) -> Callable[[Experiment], tuple[Domain, Domain]]:
        used = {part for e in todo for part in (*e.source.split(PLUS), e.target)}
        found = _load(options, [name for name in names if name in used])
        view = _view(options)
        targets = {name: view(domain) for name, domain in found.items() if isinstance(domain, Domain)}
        parts = {name: _source(domain, options.holdout) for name, domain in targets.items()}
        joined: dict[str, Domain] = {}

        def domains(e: Experiment) -> tuple[Domain, Domain]:
            if e.source not in joined:
                whole = join([parts[name] for name in e.source.split(PLUS)])
                pools = not options.holdout and all(is_pool(part) for part in parts.values())
                joined[e.source] = (
                    replace(whole, splits=dict.fromkeys(whole.splits, whole.split("train"))) if pools else whole
                )
            return joined[e.source], targets[e.target]

        return domains

    return read


def _load(options: Images, names: Sequence[str]) -> Mapping[str, AnyDomain]:
    if options.prepared is None:
        return data.load(options.benchmark, options.data_dir, domains=names)
    name, (side, resample, _) = data.benchmark(options.benchmark).name, _stored(options)
    found = from_prepared(options.prepared / name, name=name, size=side, resample=resample)
    if missing := [domain for domain in names if domain not in found]:
        raise input_error("prepared", got=f"{options.prepared / name} without {', '.join(missing)}", expected=names)
    return found


def _source(domain: Domain, holdout: float) -> Domain:
    """A domain as a labelled source: of a pool, ``holdout`` of each class becomes the split ``test``."""
    if not is_pool(domain) or not holdout:
        return domain
    whole = domain.split("train")
    train, test = stratified_holdout(split_labels(whole), holdout, seed=0)
    # Some data sets hold a picture twice: its twin would tell the held-out one.
    digests = np.array(contents(whole))
    twins = np.isin(digests[test], digests[train])
    train, test = np.sort(np.concatenate([train, test[twins]])), test[~twins]
    return Domain(domain.name, domain.class_names, {"train": Rows(whole, train), "test": Rows(whole, test)})


def _view(options: Images) -> Callable[[Domain], Domain]:
    if not options.frozen_features:
        geometry, finish = _whole(options)
        keep = 0 if options.prepared else KEPT
        return lambda domain: _mapped(domain, lambda name, split: ViewedImages(split, geometry, finish, keep))
    model = Pretrained(*load(options.encoder, weights=options.weights))
    assert isinstance(model.preprocessing, ImagePreprocessing)
    transform = published(model.preprocessing)
    process, folder = feature_function(model), cache_folder() / "features" / fingerprint(model)[:16]

    def change(name: str, split: Split) -> Split:
        # The words tell features from those of before orientation and transparency counted.
        key = hashlib.sha256(f"{split.fingerprint()} {model.preprocessing} upright, on white".encode()).hexdigest()
        file = folder / f"whole-{key[:32]}.npy"
        if not file.is_file():
            buffer = io.BytesIO()
            np.save(buffer, _features(name, split, transform, process))
            write_atomically(file, buffer.getvalue())
        return ArraySplit(np.load(file, allow_pickle=False), split_labels(split))

    return lambda domain: _mapped(domain, change)


def _whole(options: Images) -> tuple[Transform, Transform]:
    """Resize both sides; then the normalisation of the weights."""
    side, resample, weights = _stored(options)
    here = weights._replace(resize=side, size=side, keep_aspect=False)
    return compose(rgb(), resize(side, resample=resample)), published(here)


def _stored(options: Images) -> tuple[int, str, ImagePreprocessing]:
    """Side of a stored image, 256/224 of what enters the net, its filter, and what the weights were tested with."""
    weights = ImagePreprocessing()
    if options.weights:
        weights = load(options.encoder, weights=options.weights)[2]
        assert isinstance(weights, ImagePreprocessing)
    return stored_size(options.size), weights.interpolation, weights


def _mapped(domain: Domain, change: Callable[[str, Split], Split]) -> Domain:
    """The domain with every split changed once; splits that are one object stay one."""
    changed: dict[int, Split] = {}
    for name, split in domain.splits.items():
        if id(split) not in changed:
            changed[id(split)] = change(f"{domain.name} {name}", split)
    return Domain(domain.name, domain.class_names, {n: changed[id(s)] for n, s in domain.splits.items()})


def _features(name: str, split: Split, transform: Transform, process: Callable[[Any], np.ndarray]) -> np.ndarray:
    viewed, parts = ViewedImages(split, rgb(), transform, keep=0), []
    for start in range(0, len(split), BLOCK):
        rows = range(start, min(start + BLOCK, len(split)))
        parts.append(process(viewed.__getitems__(rows)[0]))
        if (start // BLOCK) % 8 == 0:
            print(f"features of {name}: {rows[-1] + 1} of {len(split)}", file=sys.stderr, flush=True)
    return np.concatenate(parts)
