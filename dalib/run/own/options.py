"""The command line of ``dalib adapt``, and the folder that its options lead to."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from dalib.core.files import folder_name
from dalib.core.options import Count, Number
from dalib.data.readers.places import place_of
from dalib.run.config import named_values
from dalib.run.presets.options import RunOptions

LAYOUTS = ("auto", "nct", "ntc")
SCALES = ("none", "source", "domain", "l1-domain")
TARGETS = ("none", "source")


@dataclass(frozen=True, kw_only=True)
class Read:
    """Options that say what data are read, and how."""

    source: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Labelled data, PATH or name=PATH, or DATASET:DOMAIN of a data set that dalib data list shows; several --source
    make it multi-source."""
    target: str
    """Data to adapt to, used without labels."""
    target_test: str | None = None
    """Labelled data of the target to test on; labels of --target are then optional. Default: the target itself."""
    source_test: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Labelled data to score the source on, one for each --source in its order. Default: --holdout of the source."""
    target_labelled: str | None = None
    """A few labelled examples of the target, of every class, for semi-supervised methods (mme)."""
    target_labels: bool = True
    """--no-target-labels: read none of --target, and those of --target-test if it has some. Of a test without labels
    there is no accuracy, but predictions.csv."""
    data_dir: Path | None = None
    """Folder with the files of a DATASET. Default: the environment variable DALIB_DATA."""
    kind: str | None = None
    """vectors, images, series or text, where a file could be several. Default: as the file tells."""
    layout: str = "auto"
    """Of series: nct (channels first), ntc, or auto: the shorter of the two is the channels."""
    maximum: tuple[str, ...] = ()
    """Largest value that a pixel of an .npz archive can have, NUMBER for all or NAME=NUMBER for a domain. Default: 255
    or 1, where all archives leave no doubt."""
    root: tuple[str, ...] = ()
    """Folder of the relative paths in list files, PATH for all or NAME=PATH for a domain. Default: the list's own."""
    absolute_paths: bool = False
    """Accept absolute paths in list files."""
    text_column: str = "text"
    """Name of the texts in .jsonl, .csv and .tsv."""
    label_column: str = "label"
    """Name of the labels in .jsonl, .csv and .tsv."""
    categories: tuple[str, ...] = ()
    """Columns of a table with numbers for categories; columns of words are that with --kind vectors."""
    drop_columns: tuple[str, ...] = ()
    """Columns of a table that are left out, such as row numbers."""
    missing: str = "refuse"
    """Empty cells of a table: refuse, or mean to fill them with the source's mean (of categories: their shares)."""
    word_columns: int = 16384
    """Columns that the words and word pairs of texts are hashed to, for encoders of vectors."""
    task: str = "classification"
    """What is predicted: classification, or regression of real-valued labels (.npz with floating y [n] or [n, k], or a
    .csv or .jsonl of numbers: --label-column a,b names the labels, all other columns are features)."""
    scale_targets: str = "none"
    """Of a regression: none, or source for labels of mean 0 and deviation 1 over the sources; scores are then in that
    unit, predictions.csv in the labels' own."""


@dataclass(frozen=True, kw_only=True)
class Own(RunOptions, Read):
    """Options of ``dalib adapt``: the data, those that all commands that train share, and its own."""

    method: tuple[str, ...] = ("dann",)
    """Methods to run, of nets, in closed form (coral, tca, jda, sa, gfk …), or at test time (bn_norm, tent, sar: the
    source-only net goes once over the target in batches and adapts while it predicts);
    package.module:factory is one of your own."""
    classifier: str = "1nn"
    """On top of closed-form methods: 1nn, svm or logreg; --method source_only+svm coral+logreg names it for one."""
    classifier_c: str = "source"
    """C of svm and logreg: a number > 0, or source: the one that scores best in cross-validation on the source."""
    baseline: bool = True
    """Run source-only as well."""
    oracle: bool = False
    """Also train on the target's own labels, the upper bound; needs --target-test."""
    relation: str = "closed"
    """Of the label sets: closed (equal), partial (the target lacks classes of the source), open (it has others, which
    count as one class, unknown), universal (both)."""
    rejection: Annotated[float, Number(0, 1)] = 0.8
    """Open and universal: closed-set methods answer "unknown" below this probability (osbp and ovanet need none)."""
    steps: Count = 1000
    save_every: Count = 500
    population: str = "auto"
    """auto trains the runs of one method together (on a CPU not those of convolutional nets); a number limits how many;
    off trains one run after the other."""
    encoder: str | None = None
    """Net by name. Default: mlp for vectors and hashed texts, series_cnn, dtn. A text encoder reads tokens.
    package.module:factory is one of your own."""
    head: str = "auto"
    """Layer of the net that gives logits, by name; auto takes each method's own (cosine for mme, elsewhere linear)."""
    encoder_options: tuple[str, ...] = ()
    """Fields of the encoder, e.g. encoder.stride=4."""
    weights: str = ""
    """Start from these weights: default, a name that dalib weights list shows, a file, or hf://…"""
    frozen_features: bool = False
    """Replace every example by the pretrained encoder's features once, and go on with vectors."""
    tokenizer: str = ""
    """Folder of a text encoder's tokeniser. Default: the one that came with the weights."""
    max_length: Count = 128
    """Tokens of a text."""
    size: Count = 32
    """Height and width of images for encoders without weights."""
    augment: tuple[str, ...] = ()
    """Views of training images, of both domains: crop (random resized crop), shift, flip. Default: none."""
    scale: str = "source"
    """Of vectors and series: none, source, domain, l1-domain (rows over their sum, then each domain by itself)."""
    holdout: Annotated[float, Number(0, 1, open_high=True)] = 0.2
    """Share of every source class that is held out to score the source; 0 trains on all of it."""
    benchmark: str = "own"
    """Name of the benchmark that the data are, for the ledger."""
    protocol: tuple[str, ...] = ()
    """What else the ledger should know of the data, e.g. "variant=ten random splits"."""


def encoder_options(options: Own) -> dict[str, Any]:
    """Parse ``encoder.name=value`` texts as fields of the encoder.

    Raises:
        InputError: for another form.
    """
    return named_values("encoder-options", options.encoder_options, "encoder.")


# The folder that the options lead to.


NO_PROTOCOL = ("method", "classifier", "baseline", "seeds", "oracle", "population", "out", "report", "data_dir")
"""Options that say which runs are done and where; they do not change a run."""
ORDER = (
    *("source", "target", "target_test", "target_labelled", "target_labels", "kind", "layout"),
    *("text_column", "label_column", "task", "scale_targets", "relation", "rejection", "steps", "batch_size"),
    *("encoder", "encoder_options", "weights", "frozen_features", "tokenizer", "max_length", "size", "augment"),
    *("scale", "bottleneck", "batch_norm", "accumulate", "gradient_cache", "recipe", "preset", "preset_steps"),
    *("options", "holdout", "benchmark", "protocol", "log_every", "evaluate_every", "save_every"),
)
"""Order of the options in the hash, fixed by the names of older folders; a new option comes last."""
NEWER = (
    *("task", "scale_targets", "target_labelled", "adapter", "adapter_options", "source_test", "head", "classifier_c"),
    *("maximum", "root", "absolute_paths", "categories", "drop_columns", "missing", "word_columns"),
    "keep",
)
"""Options that enter the hash only where they differ from their defaults."""


def default_folder(options: Own) -> Path:
    """Name ``runs/own-<target>-<hash>``; the hash covers every option that changes numbers, not the list of runs."""
    known = {f.name: f.default for f in fields(options)}
    counted = [*ORDER, *(name for name in known if name not in (*ORDER, *NO_PROTOCOL))]
    values = [(name, getattr(options, name)) for name in counted]
    protocol = [(name, repr(value)) for name, value in values if name not in NEWER or value != known[name]]
    name = place_of("target", options.target).name
    return Path("runs") / f"own-{folder_name(name)}-{hashlib.sha256(repr(protocol).encode()).hexdigest()[:8]}"
