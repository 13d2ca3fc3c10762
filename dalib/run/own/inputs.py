"""Domains in memory from read examples: images to tensors, texts to tokens or word vectors, scaling, splits."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import ImagePreprocessing, TextPreprocessing
from dalib.data import Domain, encode, from_arrays, load_tokenizer
from dalib.data.domain import pool, random_holdout, stratified_holdout
from dalib.data.matching import join
from dalib.data.readers.arrays import is_sparse
from dalib.data.readers.images import SHOWN, ImageFiles, published, read_image
from dalib.data.readers.places import Raw
from dalib.data.readers.tabular.columns import Columns, Encoding, encode_columns, fit_columns
from dalib.data.readers.tabular.words import Words, fit_words, word_vectors
from dalib.data.transforms import Transform, compose, normalize, resize, rgb, to_float
from dalib.encoders import load
from dalib.run.cli.progress import say
from dalib.run.own.features import Pretrained, Process, feature_function, text_features
from dalib.run.own.options import SCALES, TARGETS

TEXT_ENCODERS = (
    *("bert_base", "bert_large", "bert_tiny", "roberta_base", "distilbert_base"),
    *("minilm_l6", "minilm_l12", "gpt2", "gpt2_medium"),
)
IMAGES_TODO = "take --frozen-features, or a smaller --size"


class View(NamedTuple):
    """How examples become arrays.

    Attributes:
        kind: of the examples.
        size: height and width of images for encoders without weights.
        max_length: tokens a text.
        scale: of vectors and series, one of :data:`SCALES`.
        tokenizer: folder of the tokeniser; ``""`` takes the one that came with the weights.
        tokens: whether texts become token ids for a text encoder, or hashed word vectors.
        pretrained: the encoder with its weights, None without.
        frozen: replace every example by the pretrained encoder's features.
        words: statistics of words on the source, for hashed texts.
        columns: statistics of table columns on the source.
    """

    kind: str
    size: int
    max_length: int
    scale: str
    tokenizer: str
    tokens: bool
    pretrained: Pretrained | None
    frozen: bool
    words: Words | None = None
    columns: Encoding | None = None


def fitted(view: View, sources: Sequence[Raw], *, word_columns: int, missing: str) -> View:
    """Complete the view with statistics of words and table columns on the sources alone."""
    if view.kind == "text" and not view.tokens:
        return view._replace(words=fit_words([text for raw in sources for text in raw.inputs], word_columns))
    tables = [raw.inputs for raw in sources if isinstance(raw.inputs, Columns)]
    return view._replace(columns=fit_columns(tables, missing=missing) if tables else None)


def pretrained(encoder: str, weights: str, options: dict[str, Any]) -> Pretrained:
    """Load ``encoder`` with ``weights``."""
    return Pretrained(*load(encoder, weights=weights, **options))


def arrays(argument: str, raw: Raw, view: View) -> Any:
    """Turn one place's examples into an array ``[n, …]``, hashed texts into a sparse ``[n, d]``, before scaling."""
    features = feature_function(view.pretrained) if view.frozen and view.pretrained else None
    if raw.kind == "images":
        return decode(argument, raw, _image_transform(view), features)
    if isinstance(raw.inputs, Columns) and view.columns is not None:
        return _noted(*encode_columns(raw.inputs, view.columns))
    if raw.kind != "text":
        return np.asarray(raw.inputs, np.float32)
    if view.words is not None:
        return _noted(*word_vectors(argument, raw.inputs, view.words))
    tokenizer = load_tokenizer(_tokenizer(view))
    ids = encode(tokenizer, raw.inputs, max_length=_length(view))
    return ids if features is None else text_features(features, ids, tokenizer.pad_id)


def _noted(x: Any, notes: Sequence[str]) -> Any:
    """Print the notes and return ``x``."""
    for note in notes:
        say(note)
    return x


def check_dense(argument: str, xs: Sequence[Any]) -> None:
    """Refuse sparse examples if closed-form methods, which make them dense, would exceed this machine's memory."""
    sparse = [x for x in xs if is_sparse(x)]
    # Three copies: the rows as they are, the mapped ones, and the solver's.
    size, count = (3 * 4 * sparse[0].shape[1] if sparse else 0), sum(x.shape[0] for x in sparse)
    _check_memory(argument, count, size, what="texts", todo="take fewer --word-columns, or --encoder and its features")


def _check_memory(argument: str, count: int, size: int, *, what: str = "images", todo: str = IMAGES_TODO) -> None:
    """Refuse examples that take more than half of this machine's memory, before the system kills the process."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if count * size > memory / 2:
        raise input_error(
            argument,
            got=f"{count} {what} of {size / 2**20:.1f} MiB, {count * size / 2**30:.1f} GiB together",
            expected=f"at most half of the {memory / 2**30:.1f} GiB of this machine",
            todo=todo,
        )


def decode(argument: str, raw: Raw, transform: Transform, process: Process | None = None) -> np.ndarray:
    """Decode all images of a place to ``[n, …]`` float32, in blocks that ``process`` may shrink to features.

    Raises:
        InputError: with every file that can't be decoded (ten shown).
    """
    # Transforms of the evaluation draw nothing; the generator only completes the call.
    generator = np.random.default_rng(0)
    parts: list[np.ndarray] = []
    faults: list[str] = []
    block: list[np.ndarray] = []
    for i in range(len(raw.inputs)):
        try:
            if isinstance(raw.inputs, ImageFiles):
                image = read_image(raw.inputs.root / raw.inputs.paths[i], raw.inputs.mode)
            else:
                image = raw.inputs[i]
            block.append(np.asarray(transform(image, generator), np.float32))
        except InputError as error:
            # After a fault the rest is decoded to name further faults, and the net is spared.
            faults.append(str(error).split("\n")[0])
        if process is None and len(block) == 1 and not parts:
            # The first image tells the size of all of them: a refusal comes before hours of decoding.
            _check_memory(argument, len(raw.inputs), block[0].nbytes)
        if len(block) == 64 or (block and i == len(raw.inputs) - 1):
            stacked = np.stack(block)
            parts.append(process(stacked) if process and not faults else stacked)
            block = []
    if faults:
        shown = "".join(f"\n    {fault}" for fault in faults[:SHOWN])
        more = f"\n    … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise input_error(argument, got=f"{len(faults)} unreadable images:{shown}{more}", expected="readable images")
    return np.concatenate(parts)


def _image_transform(view: View) -> Transform:
    if view.pretrained is not None and isinstance(view.pretrained.preprocessing, ImagePreprocessing):
        return compose(rgb(), published(view.pretrained.preprocessing))
    half = (0.5, 0.5, 0.5)
    return compose(rgb(), resize(view.size), to_float(), normalize(half, half))


def _tokenizer(view: View) -> str:
    found = view.tokenizer
    if not found and view.pretrained and isinstance(view.pretrained.preprocessing, TextPreprocessing):
        found = view.pretrained.preprocessing.tokenizer or ""
    if not found:
        raise input_error(
            "tokenizer", got="none", expected="--tokenizer FOLDER with the files of the encoder's tokeniser"
        )
    return found


def _length(view: View) -> int:
    found = view.pretrained.preprocessing if view.pretrained else None
    return min(view.max_length, found.max_length) if isinstance(found, TextPreprocessing) else view.max_length


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """List all class names once: whole numbers by value, then other names by the alphabet."""
    return tuple(sorted(set(labels), key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name)))


Labels = list[str] | np.ndarray
"""Class names ``[n]``, or real numbers ``[n]`` or ``[n, k]``."""


def make_source(
    parts: Sequence[tuple[str, np.ndarray, Labels]],
    *,
    holdout: float,
    tests: Sequence[tuple[np.ndarray, Labels]] = (),
) -> Domain:
    """Make the labelled domain, joined from several sources where there are some.

    Args:
        parts: name, examples and labels of each source.
        holdout: share of every class that is the split ``test``, of real-valued labels a random share; 0 trains on all,
            and ``test`` is the same split as ``train``. The division is the same for every seed.
        tests: examples and labels of each source's split ``test``, where they are given; nothing is held out then.
    """
    domains = []
    for i, (name, x, labels) in enumerate(parts):
        names = () if isinstance(labels, np.ndarray) else class_names(labels)
        y = numbered(labels, names)
        if tests:
            test_x, test_labels = tests[i]
            splits = {"train": (x, y), "test": (test_x, numbered(test_labels, names))}
        elif holdout == 0:
            # Without a holdout both splits are one object, and the score says that it is of training examples.
            whole = from_arrays(name, {"train": (x, y)}, class_names=names).split("train")
            domains.append(pool(name, names, whole))
            continue
        else:
            if names:
                train, test = stratified_holdout(y, holdout, seed=0)
            else:
                train, test = random_holdout(len(y), holdout, seed=0)
            splits = {"train": (x[train], y[train]), "test": (x[test], y[test])}
        domains.append(from_arrays(name, splits, class_names=names))
    return join(domains)


def numbered(labels: Labels, names: Sequence[str]) -> np.ndarray:
    """Turn class names into their indices in ``names``, ``[n]`` int32; leave real numbers as they are."""
    if isinstance(labels, np.ndarray):
        return labels
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[label] for label in labels], np.int32)


def make_target(name: str, x: np.ndarray, labels: Labels | None, test: Any, classes: tuple[str, ...]) -> Domain:
    """Make the target; ``test`` is ``(x, labels)`` of a test split of its own, None for the transductive protocol.

    The stream keeps labels apart, and the oracle's score alone reads them. A pool without labels may hold the
    source's ``classes`` and those that the test has more.
    """
    both: tuple[Any, Any] = (x, labels) if test is None else test
    test_x, test_labels = both
    known = [own for own in (labels, test_labels) if own is not None]
    if not known or any(isinstance(own, np.ndarray) for own in known):
        splits = {"train": (x, labels), "test": (test_x, test_labels)}
        return from_arrays(name, splits, class_names=() if known else classes)
    if labels is None:
        names = (*classes, *(c for c in class_names(test_labels) if c not in classes))
    else:
        names = class_names([label for own in known for label in own])
    rows = [None if own is None else numbered(own, names) for own in (labels, test_labels)]
    return from_arrays(name, {"train": (x, rows[0]), "test": (test_x, rows[1])}, class_names=names)


def make_shots(name: str, x: np.ndarray, labels: Any, source: Domain) -> Domain:
    """Make the domain of labelled target examples, with the source's classes in its order."""
    return from_arrays(name, {"train": (x, numbered(labels, source.class_names))}, class_names=source.class_names)


def scaled(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], scale: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scale vectors ``[n, d]`` or series ``[n, t, c]``, per column or channel.

    Args:
        sources: arrays of the sources.
        targets: of the target, training rows first; a test split is scaled by the training rows.
        scale: ``none``; ``source``: mean 0 and deviation 1 over all sources, the same map for the target; ``domain``:
            over each domain by itself (an adaptation of its own); ``l1-domain``: rows over their sum first.
    """
    choose("scale", scale, dict.fromkeys(SCALES))
    if scale == "none":
        return list(sources), list(targets)
    if scale == "source":
        change = _standardise(np.concatenate(sources))
        return [change(x) for x in sources], [change(x) for x in targets]
    if scale == "l1-domain":
        sources, targets = [_shares(x) for x in sources], [_shares(x) for x in targets]
    change = _standardise(targets[0])
    return [_standardise(x)(x) for x in sources], [change(x) for x in targets]


def scaled_targets(sources: Sequence[np.ndarray], others: Sequence[Any], scale: str) -> tuple[Any, Any, Any]:
    """Scale real-valued labels: ``none``, or ``source`` for mean 0 and deviation 1 over all sources.

    Returns:
        Those of the sources, the others (None stays None), and ``(mean, deviation)`` of the map, None for ``none``.
    """
    choose("scale-targets", scale, dict.fromkeys(TARGETS))
    if scale == "none":
        return list(sources), list(others), None
    whole = np.concatenate(sources).astype(np.float64)
    mean, spread = whole.mean(0), whole.std(0)
    spread = np.where(spread > 0, spread, 1)

    def change(y: np.ndarray | None) -> np.ndarray | None:
        return None if y is None else ((y - mean) / spread).astype(np.float32)

    return [change(y) for y in sources], [change(y) for y in others], (mean, spread)


def _shares(x: np.ndarray) -> np.ndarray:
    total = x.sum(axis=-1, keepdims=True, dtype=np.float64)
    if (x < 0).any() or (total <= 0).any():
        raise input_error("scale", got="l1-domain for negative numbers or rows of zeros", expected="counts")
    return x / total


class Standard(NamedTuple):
    """A map to mean 0 and deviation 1, per column or channel: ``(x − mean) / spread``."""

    mean: np.ndarray
    spread: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The rows in the new scale, float32."""
        return ((x - self.mean) / self.spread).astype(np.float32)


def standard(sources: Sequence[np.ndarray], target: np.ndarray, scale: str) -> Standard | None:
    """Return the map that :func:`scaled` applies to the target; None for ``none``."""
    if scale == "none":
        return None
    if scale == "l1-domain":
        raise input_error("scale", got=scale, expected="none, source or domain: rows over their sum are no fixed map")
    return _standardise(np.concatenate(sources) if scale == "source" else target)


def _standardise(x: np.ndarray) -> Standard:
    axes = tuple(range(x.ndim - 1))
    mean, spread = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
    return Standard(mean, np.where(spread > 0, spread, 1))


def same_shape(shapes: dict[str, tuple[int, ...]]) -> None:
    """Check that the examples of all places have one shape.

    Raises:
        InputError: with the shape of each.
    """
    if len(set(shapes.values())) > 1:
        listed = "\n".join(f"  {name}: {shape}" for name, shape in shapes.items())
        raise InputError(f"source and target: examples of different shapes\n{listed}\n  expected: one shape for all")
