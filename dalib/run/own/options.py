"""The command line of ``dalib adapt``; :mod:`dalib.run.own.plan` checks it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from dalib.run.config import Recipe

LAYOUTS = ("auto", "nct", "ntc")
SCALES = ("none", "source", "domain", "l1-domain")
TARGETS = ("none", "source")


@dataclass(frozen=True)
class Own:
    """Options of ``dalib adapt``."""

    source: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Labelled data, PATH or name=PATH, or DATASET:DOMAIN of a data set that dalib data list shows; several --source
    make it multi-source."""
    target: str
    """Data to adapt to, used without labels."""
    target_test: str | None = None
    """Labelled data of the target to test on. Default: the target itself."""
    target_labelled: str | None = None
    """A few labelled examples of the target, of every class, for semi-supervised methods (mme)."""
    target_labels: bool = True
    """--no-target-labels: read none; no target accuracy then, but predictions.csv."""
    data_dir: Path | None = None
    """Folder with the files of a DATASET. Default: the environment variable DALIB_DATA."""
    kind: str | None = None
    """vectors, images, series or text, where a file could be several. Default: as the file tells."""
    layout: str = "auto"
    """Of series: nct (channels first), ntc, or auto: the shorter of the two is the channels."""
    text_column: str = "text"
    """Name of the texts in .jsonl and .csv."""
    label_column: str = "label"
    """Name of the labels in .jsonl and .csv."""
    task: str = "classification"
    """What is predicted: classification, or regression of real-valued labels (.npz with floating y [n] or [n, k], or a
    .csv or .jsonl of numbers, whose --label-column a,b names the labels and all other columns are features)."""
    scale_targets: str = "none"
    """Of a regression: none, or source for labels of mean 0 and deviation 1 over the sources; scores are then in that
    unit, predictions.csv in the labels' own."""
    method: tuple[str, ...] = ("dann",)
    """Methods to run, of nets, in closed form (coral, tca, jda, sa, gfk …), or at test time (bn_norm, tent, sar: the
    source-only net goes once over the target in batches and adapts while it predicts);
    package.module:factory is one of your own."""
    classifier: str = "1nn"
    """On top of closed-form methods: 1nn, svm or logreg."""
    baseline: bool = True
    """Run source-only as well."""
    oracle: bool = False
    """Also train on the target's own labels, the upper bound; needs --target-test."""
    relation: str = "closed"
    """How the label sets lie: closed (equal), partial (the target lacks classes of the source), open (it has others,
    which count as one class, unknown), universal (both)."""
    rejection: float = 0.8
    """Open and universal: closed-set methods answer "unknown" below this probability (osbp and ovanet need none)."""
    seeds: int = 3
    """Seeds 0 … seeds − 1 of each net; closed-form methods have no randomness."""
    steps: int = 1000
    """Training steps of a run."""
    batch_size: int = 32
    """Examples of each domain in a step."""
    encoder: str | None = None
    """Net by name. Default: mlp for vectors and hashed texts, series_cnn, dtn. A text encoder reads tokens.
    package.module:factory is one of your own."""
    encoder_options: tuple[str, ...] = ()
    """Fields of the encoder, e.g. encoder.stride=4."""
    weights: str = ""
    """Start from these weights: default, a name that dalib weights list shows, a file, or hf://…"""
    frozen_features: bool = False
    """Replace every example by the pretrained encoder's features once, and go on with vectors."""
    tokenizer: str = ""
    """Folder of a text encoder's tokeniser. Default: the one that came with the weights."""
    max_length: int = 128
    """Tokens of a text."""
    size: int = 32
    """Height and width of images for encoders without weights."""
    augment: tuple[str, ...] = ()
    """Views of training images, of both domains: crop (random resized crop), shift, flip. Default: none."""
    scale: str = "source"
    """Of vectors and series: none, source, domain, l1-domain (rows over their sum, then each domain by itself)."""
    bottleneck: str = "none"
    """Layers between encoder and head, by name."""
    batch_norm: str = "auto"
    """joint, separate, source, domain, frozen; auto takes each method's own convention."""
    accumulate: int = 1
    """In how many parts a batch goes through the net, to save memory: exact where all losses are means over examples,
    refused for other methods and for BatchNorm by the batch."""
    gradient_cache: bool = False
    """With --accumulate: two passes, exact for methods that look at the distribution of a batch as well."""
    recipe: Recipe = field(default_factory=Recipe)
    preset: str = ""
    """Recipe, bottleneck, batch, steps and BatchNorm of a published protocol, per method: tllib, deepda, dann-paper,
    adda-paper, mcd-paper, shot. It stands in the place of --recipe, --bottleneck, --batch-size and --batch-norm."""
    preset_steps: bool = True
    """--no-preset-steps: keep --steps beside a preset."""
    options: tuple[str, ...] = ()
    """Hyper-parameters of methods, e.g. dann.weight=0.5 tca.dim=30."""
    holdout: float = 0.2
    """Share of every source class that is held out to score the source."""
    benchmark: str = "own"
    """Name of the benchmark that the data are, for the ledger."""
    protocol: tuple[str, ...] = ()
    """What else the ledger should know of the data, e.g. "variant=ten random splits"."""
    log_every: int = 20
    """Steps between two lines of the record."""
    evaluate_every: int = 100
    """Steps between two evaluations, a multiple of log_every."""
    save_every: int = 500
    """Steps between two checkpoints, a multiple of log_every."""
    population: str = "auto"
    """auto trains the runs of one method together (on a CPU not those of convolutional nets); a number limits how many;
    off trains one run after the other."""
    out: Path | None = None
    """Folder of the run records and the report. Default: a folder in runs/ named after the options."""
    report: bool = True
    """Write report.html at the end."""
