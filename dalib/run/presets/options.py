"""Presets of settings by name, and the options of commands that override them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from dalib.core.options import Count
from dalib.run.config import Recipe

# Parts of a protocol preset; the presets themselves are in :mod:`dalib.run.presets.protocols`.


Options = tuple[tuple[str, Any], ...]


class Settings(NamedTuple):
    """Settings that a preset fixes for one method.

    Attributes:
        recipe: optimiser, rates, schedule.
        bottleneck: by name, with its width; None where there is none.
        batch_size: examples of each domain.
        steps: of the whole run.
        batch_norm: convention.
        options: the method's own hyper-parameters; those of the command line come on top.
        encoder_options: of a net made for this protocol; empty leaves it as the benchmark has it.
        bottleneck_options: other fields than its width.
        head: by name.
        head_options: its fields.
        augment: views of the training images, joined by ``+``, see :data:`dalib.methods.parts.augmentation.VIEWS`.
    """

    recipe: Recipe
    bottleneck: str
    width: int | None
    batch_size: int
    steps: int
    batch_norm: str
    options: Options = ()
    encoder_options: Options = ()
    bottleneck_options: Options = ()
    head: str = "linear"
    head_options: Options = ()
    augment: str = ""


class Protocol(NamedTuple):
    """A preset.

    Attributes:
        title: source.
        benchmark: the benchmark that it is for.
        settings: by method.
        train_view: transforms of a training image.
        test_view: transforms of a test image.
        selection: how the source chose its epoch. Ours always reports the last step, the source-validated pick and,
            labelled, the oracle's pick side by side.
        seeds: runs of a published number, 0 if the source does not say.
        departures: dalib's differences from the source.
        by_task: settings by ``source → target`` and method, in the place of ``settings``.
    """

    title: str
    benchmark: str
    settings: dict[str, Settings]
    train_view: str
    test_view: str
    selection: str
    seeds: int
    departures: tuple[str, ...] = ()
    by_task: Mapping[str, dict[str, Settings]] = {}


def tllib(
    rate: float,
    gamma: float = 3e-4,
    decay: float = 5e-4,
    *,
    batch: int = 32,
    bottleneck: str = "linear-bn-relu",
    width: int | None = 256,
    steps: Count = 20_000,
    batch_norm: str = "joint",
    multiplier: float = 0.1,
    constant: bool = False,
) -> Settings:
    """Make a method's settings in TLlib's scripts, which share optimiser, schedule and forms of bottlenecks."""
    recipe = Recipe(
        learning_rate=rate,
        encoder_multiplier=multiplier,
        nesterov=True,
        weight_decay=decay,
        schedule="constant" if constant else "inverse",
        gamma=gamma,
    )
    return Settings(recipe, bottleneck, width, batch, steps, batch_norm)


# The command line that every benchmark file shares, and the folder that its options lead to.


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every command that trains: those of the benchmarks, and ``dalib adapt`` on own data."""

    method: tuple[str, ...]
    """Methods to run, one or more."""
    seeds: Count = 3
    """Seeds 0 … seeds − 1 of each net and task; closed-form methods have no randomness."""
    steps: Count = 500
    """Training steps of a run."""
    batch_size: Count = 32
    """Examples of each domain in a step, on all devices together; their number must divide it."""
    bottleneck: str = "none"
    """Layers between encoder and head, by name."""
    batch_norm: str = "auto"
    """joint, separate, source, domain, frozen; auto takes each method's own convention."""
    accumulate: Count = 1
    """In how many parts a batch goes through the net, to save memory: exact where all losses are means over examples,
    refused for other methods and for BatchNorm by the batch."""
    gradient_cache: bool = False
    """With --accumulate: two passes, exact for methods that look at the distribution of a batch as well."""
    recipe: Recipe = Recipe()
    preset: str = ""
    """Recipe, bottleneck, batch, steps and BatchNorm of a published protocol, per method: tllib, deepda, dann-paper,
    adda-paper, mcd-paper, shot; for digits lenet, tllib-digits, shot-digits. It replaces --recipe,
    --bottleneck, --batch-size, --batch-norm, --steps. Whatever it selected by, the report shows the last step, the
    validators' picks and, labelled, the oracle's."""
    preset_steps: bool = True
    """--no-preset-steps: keep --steps with a preset."""
    adapter: str = ""
    """Freeze the pretrained encoder and train few parameters that change its weights: lora, dora, bitfit, ia3."""
    adapter_options: tuple[str, ...] = ()
    """Options of the adapter, e.g. rank=4 pattern=(query|value).kernel"""
    options: tuple[str, ...] = ()
    """Hyper-parameters of methods, e.g. dann.weight=0.5 dan.estimator=biased."""
    oracle: bool = True
    """Also train on the target's labels: the upper bound, labelled as such."""
    log_every: Count = 20
    """Steps between two lines of the record; each holds means over these steps."""
    evaluate_every: Count = 100
    """Steps between two evaluations, a multiple of log_every."""
    save_every: Count = 200
    """Steps between two checkpoints, a multiple of log_every."""
    keep: int = 0
    """For dalib select: keep predictions and features of this many examples of each split at every evaluation, 500 say
    (6 bytes for each example and each feature or class). 0 keeps none."""
    population: str = "auto"
    """auto trains the runs of one method together, as many as fit the device; a number limits how many; off trains one
    run after the other. Numbers agree to rounding."""
    out: Path | None = None
    """Folder of the run records and the report; runs found there are kept, unfinished ones go on. Default: a folder in
    runs/ named after the protocol, so that other settings get another folder."""
    report: bool = True
    """Write report.html at the end."""


SHARED = tuple(f.name for f in fields(RunOptions))
"""Options that mean the same in every command that trains."""


@dataclass(frozen=True, kw_only=True)
class Grid(RunOptions):
    """Options that every benchmark shares; a benchmark's own dataclass inherits them and changes defaults."""

    benchmark: ClassVar[str] = "grid"
    """Name in run records and folders."""
    module: ClassVar[str] = ""
    """Name of the module in ``experiments``; without it that of the benchmark."""

    method: tuple[str, ...] = ("source_only", "dan", "deep_coral", "dann")
    """Methods to run, one or more. Those that start from a trained source net (adda, shot) bring source_only along."""
    source: str | None = None
    """Labelled domain. Without source and target: the benchmark's usual tasks."""
    target: str | None = None
    """Domain to adapt to, used without labels; with a source or a target alone, all tasks from or to it."""
    encoder: str = "mlp"
    """Net in front of the classifier."""
    data_dir: Path | None = None
    """Folder with the data as their archives unpack. Default: the environment variable DALIB_DATA."""
    array: str = ""
    """i/n: do the i-th of n parts of the grid only, i = 1 … n; n such commands, on any machines that share the folder,
    do all of it. The report is left to the same command without --array, or to python -m dalib.report."""


NO_PROTOCOL = (
    *("method", "source", "target", "domains", "seeds", "oracle"),
    *("data_dir", "prepared", "population", "array", "out", "report"),
)
"""Options that say which runs are done and where; they do not change a run."""
ADDED = ("accumulate", "gradient_cache", "adapter", "adapter_options", "keep")
"""Options that came later: at their defaults they leave the names of older folders as they are."""


def default_folder(options: Grid) -> Path:
    """Name ``runs/<benchmark>-<steps or preset>-<hash>``; the hash covers every option that a run depends on."""
    named = [(f, getattr(options, f.name)) for f in fields(options) if f.name not in NO_PROTOCOL]
    values = {f.name: value for f, value in named if f.name not in ADDED or value != f.default}
    protocol = sorted((name, repr(value)) for name, value in values.items() if value not in (None, ""))
    digest = hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]
    length = options.preset if options.preset and options.preset_steps else options.steps
    return Path("runs") / f"{options.benchmark}-{length}-{digest}"
