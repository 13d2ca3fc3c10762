"""The words that every room shares: the outputs of a net and the contents of a training batch.

A leaf module: it imports nothing of dalib's and every room may import it. ``rows`` of :class:`Source` and
:class:`Target` are int32 indices of examples in the training split of their own domain; -1 is padding, and None a batch
made by hand. An index of -1 means the last row to JAX: a method that writes a bank must mask it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Array = jax.Array
PyTree = Any
Params = dict[str, PyTree]
"""Trainable parameters by group: ``encoder``, ``bottleneck``, ``head`` and a method's own groups."""
Metrics = dict[str, Array]


class Outputs(NamedTuple):
    """Outputs of a net for ``n`` examples.

    Attributes:
        features: ``[n, d]``, the representation that methods align.
        logits: ``[n, C]``, or None for an encoder without a head.
        hidden: intermediate activations by name, each ``[n, ...]``.
    """

    features: Array
    logits: Array | None = None
    hidden: Mapping[str, Array] = {}


class Source(NamedTuple):
    """Labelled examples: inputs ``[n, ...]``, integer labels ``[n]``, rows ``[n]``."""

    inputs: Array
    labels: Array
    rows: Array | None = None


class Target(NamedTuple):
    """Unlabelled examples: inputs ``[m, ...]``, rows ``[m]``. There is no place for labels, on purpose."""

    inputs: Array
    rows: Array | None = None


class Batch(NamedTuple):
    """One training batch.

    Attributes:
        source: ``n`` labelled source examples. Of k interleaved sources, example r belongs to source r mod k, and its
            row counts within that source.
        target: ``m`` unlabelled target examples.
        shots: labelled target examples of a semi-supervised run, from a domain of their own; None elsewhere.
    """

    source: Source
    target: Target
    shots: Source | None = None


class Time(NamedTuple):
    """Time of a run: ``step`` steps taken, ``progress`` = step / total steps in [0, 1].

    Schedules take this or anything else with these two attributes, such as a :class:`dalib.methods.View`.
    """

    step: Array
    progress: Array


def every_row(outputs: Outputs, labels: Array | None, key: Array) -> tuple[Outputs, Array | None]:
    """Return all rows unchanged: a task with one vector per example."""
    del key
    return outputs, labels


class Task(NamedTuple):
    """A task: a net has ``outputs`` columns, and everything else follows from its :class:`Outputs`.

    Attributes:
        name: "classification", "regression", ….
        outputs: columns of the logits: C classes, or the k numbers of a regression.
        loss: ``(Outputs, labels) -> [n]``, the supervised loss of each example.
        quality: ``(Outputs, labels) -> metrics`` of a training batch, for the record.
        predict: ``Outputs -> predictions``, ``[n, ...]``.
        counts: ``(Outputs, labels, mask [n]) -> tree of sums`` over the rows where the mask is True; the counts of two
            batches add up to those of both.
        metrics: ``counts -> {name: number}``.
        rows: ``(Outputs, labels or None, key) -> (Outputs, labels or None)`` with features ``[N, d]`` and logits
            ``[N, C]``: a fixed number of rows drawn among the valid pixels, tokens or boxes, for alignment methods.
    """

    name: str
    outputs: int
    loss: Callable[[Outputs, Array], Array]
    quality: Callable[[Outputs, Array], Metrics]
    predict: Callable[[Outputs], Array]
    counts: Callable[[Outputs, Array, Array], PyTree]
    metrics: Callable[[PyTree], dict[str, float]]
    rows: Callable[[Outputs, Array | None, Array], tuple[Outputs, Array | None]] = every_row


class ImagePreprocessing(NamedTuple):
    """Images as published weights want them; ``dalib.data.readers.images.published`` makes a transform of it.

    Attributes:
        size: side of the square that enters the net, after the crop.
        resize: the image's shorter side is brought to this many pixels first (both sides without ``keep_aspect``).
        keep_aspect: whether the resize keeps the ratio of the sides.
        interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``, antialiased when it shrinks.
        maximum: value of a white pixel (255 in the file) before mean and std: 1 or 255.
        mean: subtracted, per channel in the order of ``channels``.
        std: then divided by.
        channels: ``"RGB"`` or ``"BGR"``.
    """

    size: int = 224
    resize: int = 256
    keep_aspect: bool = True
    interpolation: str = "bilinear"
    maximum: float = 1.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: str = "RGB"


class TextPreprocessing(NamedTuple):
    """Texts as published weights want them: rows of at most ``max_length`` token ids, special tokens included.

    ``tokenizer`` is a folder with the model's own tokeniser files, for ``dalib.data.text.load_tokenizer``; None when
    they did not come with the weights.
    """

    max_length: int
    tokenizer: str | None = None


class SpeechPreprocessing(NamedTuple):
    """Waveforms as published weights want them: ``sample_rate`` in Hz.

    ``standardize`` brings each utterance to mean 0 and variance 1.
    """

    sample_rate: int
    standardize: bool = True


Preprocessing = ImagePreprocessing | TextPreprocessing | SpeechPreprocessing
