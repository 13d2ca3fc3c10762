"""Configuration of a run: frozen dataclasses that the command line fills and the run record keeps whole."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dalib.core.checks import InputError, choose, input_error
from dalib.core.options import Number, Pattern, check_arguments, check_fields
from dalib.data.matching import PLUS
from dalib.encoders import BOTTLENECKS, HEADS
from dalib.methods import Method, Needs
from dalib.methods.parts.augmentation import VIEWS
from dalib.run.registry import ENCODERS, METHODS
from dalib.train import CONVENTIONS, SCHEDULES, Cadence
from dalib.train.accumulate import check_parts
from dalib.train.loop import check_cadence
from dalib.train.optimizer import KINDS
from dalib.transfer.adapters import ADAPTERS, BASE, Adapter

INVERSE = "inverse"
RELATIONS = ("closed", "partial", "open", "universal")
OPEN = ("open", "universal")
"""Relations in which the target has classes of its own."""
LATER = (
    *("head", "head_options", "rejection", "augment", "crop", "label_smoothing", "accumulate", "gradient_cache"),
    *("kind", "shots", "adapter", "adapter_options", "classifier_options", "keep"),
)
"""Fields that older run folders lack; they are written only where they differ from their defaults."""
TASKS = ("classification", "regression")
"""Kinds of prediction, see :mod:`dalib.tasks`."""


def needs_of(name: str, arguments: Mapping[str, Any] | None = None) -> Needs:
    """Return the needs of a method of the table with these hyper-parameters."""
    return choose("method", name, METHODS)(**(arguments or {})).needs


def serves_regression(needs: Needs) -> bool:
    """Tell whether a method with these needs runs on real-valued labels."""
    return needs.setting in ("closed", "regression") and not needs.classes


@dataclass(frozen=True)
class Recipe:
    """How parameters move."""

    optimizer: str = "sgd"
    """sgd, adam or adamw."""
    learning_rate: Annotated[float, Number(0, open_low=True)] = 0.01
    """Base rate, of bottleneck, head and a method's own nets."""
    encoder_multiplier: Annotated[float, Number(0, open_low=True)] = 1.0
    """Factor of the encoder's rate; 0.1 is usual for a pretrained one."""
    momentum: Annotated[float, Number(0, 1, open_high=True)] = 0.9
    """Of SGD, or Adam's first beta."""
    nesterov: bool = False
    """Nesterov's form of momentum."""
    weight_decay: Annotated[float, Number(0)] = 0.0
    """On every trained parameter."""
    schedule: str = "dann"
    """constant, dann, cosine or inverse: the factor of the rate over the run."""
    gamma: Annotated[float, Number(0)] = 1e-3
    """Of the schedule inverse, (1 + γ · step)^−0.75."""
    label_smoothing: Annotated[float, Number(0, 1, open_high=True)] = 0.0
    """α of the task loss, (1 − α) · cross-entropy + α · its mean over all classes as labels."""
    frozen: tuple[Annotated[str, Pattern()], ...] = ()
    """Regular expressions of parameters that never change, e.g. ^encoder/conv1."""


@dataclass(frozen=True)
class Experiment:
    """One run: everything that its numbers depend on, apart from the data (the record keeps their fingerprints).

    ``role`` is "method", or "oracle" for a net trained on the target's own labels: the upper bound. ``relation`` says
    how the label sets relate: closed (equal), partial (the target lacks source classes), open (it has others) or
    universal (both). In the last two, a closed-set method answers "unknown" below the probability ``rejection``.
    ``method`` and ``encoder`` are names: dalib's, those of installed packages, or
    ``package.module:factory`` (:mod:`dalib.run.registry`). ``weights`` are the encoder's at the start, as
    :func:`dalib.encoders.load` takes them. ``augment`` names views of training images, joined by ``+``; they cut
    from the whole image. Elsewhere its central square of ``crop`` pixels enters the net (0: all of it).
    ``kind`` is the kind of prediction, one of :data:`TASKS`; ``shots`` counts the labelled target examples of a
    semi-supervised run. ``accumulate`` is the number of parts in which a batch goes through the net, and
    ``gradient_cache`` takes two passes over them (:mod:`dalib.train.accumulate`). ``protocol`` holds further facts of
    the data by name: ``split`` (transductive, held out), ``variant`` … ``keep`` is the number of examples of a split
    that evaluations keep predictions and features of (:mod:`dalib.run.select.kept`).
    """

    benchmark: str
    source: str
    target: str
    method: str
    seed: int
    steps: int
    batch_size: int
    encoder: str
    bottleneck: str
    batch_norm: str
    recipe: Recipe
    role: str = "method"
    relation: str = "closed"
    weights: str = ""
    head: str = "linear"
    rejection: float = 0.0
    augment: str = ""
    crop: int = 0
    accumulate: int = 1
    gradient_cache: bool = False
    kind: str = "classification"
    shots: int = 0
    adapter: str = ""
    adapter_options: tuple[tuple[str, Any], ...] = ()
    protocol: tuple[tuple[str, str], ...] = ()
    encoder_options: tuple[tuple[str, Any], ...] = ()
    bottleneck_options: tuple[tuple[str, Any], ...] = ()
    head_options: tuple[tuple[str, Any], ...] = ()
    method_options: tuple[tuple[str, Any], ...] = ()
    log_every: int = 20
    evaluate_every: int = 100
    save_every: int = 200
    keep: int = 0

    @property
    def task(self) -> str:
        """``source → target``."""
        return f"{self.source} → {self.target}"

    @property
    def name(self) -> str:
        """The method's name, or "oracle"."""
        return "oracle" if self.role == "oracle" else self.method

    @property
    def needs(self) -> Needs:
        """The method's needs."""
        return needs_of(self.method, dict(self.method_options))

    @property
    def frozen(self) -> tuple[str, ...]:
        """Regular expressions of all parameters that never change: the recipe's, and an adapted encoder's own."""
        return (*self.recipe.frozen, BASE) if self.adapter else self.recipe.frozen

    def make_adapter(self) -> Adapter | None:
        """The adapter of the pretrained encoder's weights; None without one.

        Raises:
            InputError: for an unknown name or option.
        """
        if not self.adapter:
            return None
        factory = choose("adapter", self.adapter, ADAPTERS)
        check_arguments(f"adapter {self.adapter}", factory, dict(self.adapter_options), complete=True)
        return factory(**dict(self.adapter_options))

    def _serves(self, needs: Needs) -> bool:
        """Tell whether a method with these needs can be run on this task."""
        if self.kind == "regression":
            return serves_regression(needs) and self.relation == "closed"
        if (needs.setting == "semi-supervised") != (self.shots > 0):
            return False
        if needs.setting == "semi-supervised":
            return self.relation == "closed"
        if needs.interleaves:
            return PLUS in self.source
        return needs.setting in ("closed", "partial", "open", "universal") and self.relation in needs.relations

    def _refused(self, needs: Needs) -> InputError:
        """Make the error for a method that does not serve the task."""
        if self.kind == "regression":
            known = [name for name in METHODS if serves_regression(needs_of(name))]
            got = f"{self.method}, which needs classes ({needs.setting})"
            return input_error("method", got=got, expected="a method for real-valued labels: " + ", ".join(known))
        known = [name for name in METHODS if needs_of(name).setting == "closed"]
        return input_error(
            "method",
            got=f"{self.method}, which is for: {needs.setting}",
            expected="a method for one labelled source and one target with the same classes: " + ", ".join(known),
        )

    def check(self, method: Method | None = None, net: object | None = None) -> None:
        """Raise an InputError for unknown names, numbers out of range, or settings that contradict one another.

        Args:
            method: the method itself; then its name is free.
            net: the encoder itself; then its name is free.
        """
        # A method made by the caller has been checked by its own factory.
        if method is None:
            method = choose("method", self.method, METHODS)(**dict(self.method_options))
        check_fields(self.recipe, "recipe.")
        choose("relation", self.relation, dict.fromkeys(RELATIONS))
        choose("kind", self.kind, dict.fromkeys(TASKS))
        if not self._serves(method.needs):
            raise self._refused(method.needs)
        # Names next: each must be in its table before anything else is asked of it.
        if net is None:
            choose("encoder", self.encoder, ENCODERS)
        # A net of another package has no published weights here, and a fine-tuning adapter needs some.
        if self.weights and (net is not None or ENCODERS.origin(self.encoder)):
            got = f"{self.weights!r} for {self.encoder}"
            raise input_error("weights", got=got, expected="none: published weights are for dalib's own encoders")
        if self.adapter:
            self.make_adapter()
            if not self.weights:
                expected = "pretrained weights for the adapter to change (--weights)"
                raise input_error("adapter", got=f"{self.adapter} without weights", expected=expected)
        # Parts of the net and the views of its images.
        choose("bottleneck", self.bottleneck, BOTTLENECKS)
        choose("head", self.head, HEADS)
        for view in self.augment.split("+") if self.augment else ():
            choose("augment", view, VIEWS)
            if view == "random-crop" and not self.crop:
                raise input_error("augment", got=view, expected="images that are stored larger than they enter the net")
        # The optimisation: numbers in range, and parts into which the batch divides.
        if not 0 <= self.rejection <= 1:
            raise input_error("rejection", got=self.rejection, expected="a probability in [0, 1]")
        choose("batch_norm", self.batch_norm, CONVENTIONS)
        choose("optimizer", self.recipe.optimizer, KINDS)
        choose("schedule", self.recipe.schedule, {**SCHEDULES, INVERSE: None})
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise input_error(name, got=getattr(self, name), expected="an integer ≥ 1")
        check_parts(method, self.accumulate, cached=self.gradient_cache)
        if self.batch_size % self.accumulate:
            raise input_error("accumulate", got=self.accumulate, expected=f"a divisor of batch_size {self.batch_size}")
        if self.kind == "regression" and self.recipe.label_smoothing:
            raise input_error("label_smoothing", got=self.recipe.label_smoothing, expected="0 for a regression")
        check_cadence(Cadence(self.log_every, self.evaluate_every, self.save_every))
        if self.keep < 0 or (self.keep and self.kind == "regression"):
            raise input_error("keep", got=self.keep, expected="a number ≥ 0, and 0 for a regression")
        if self.seed < 0:
            raise input_error("seed", got=self.seed, expected="an integer ≥ 0")
        # Last, what two fields say together: a row of the table must not compare two things.
        if self.source == self.target and self.role != "oracle":
            raise input_error(
                "target", got=f"{self.target}, which is the source", expected="another domain than the source"
            )
        if self.method == "source_only" and self.batch_norm not in ("source", "frozen") and self.role != "oracle":
            raise input_error(
                "batch_norm",
                got=f"{self.batch_norm} for source_only",
                expected="source or frozen: with another convention the target would influence the source-only row",
            )
        if self.method == "adabn" and self.batch_norm == "frozen":
            raise input_error("batch_norm", got="frozen for adabn", expected="a convention that learns statistics")


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """One run of a method in closed form: a classifier is fitted on the rows as the method mapped them; no net trains.

    ``method`` is a name of :data:`dalib.methods.classic.CLASSIC`, or source_only, which adapts nothing.
    ``classifier_options`` may hold ``C``, a number or "source" for one chosen on the source; without it C is 1. The
    other fields mean what they mean in an :class:`Experiment`, and the run record holds them in the same place.
    """

    benchmark: str
    source: str
    target: str
    method: str
    classifier: str
    seed: int = 0
    role: str = "method"
    encoder: str = "features"
    relation: str = "closed"
    protocol: tuple[tuple[str, str], ...] = ()
    method_options: tuple[tuple[str, Any], ...] = ()
    classifier_options: tuple[tuple[str, Any], ...] = ()

    @property
    def task(self) -> str:
        """``source → target``."""
        return f"{self.source} → {self.target}"

    @property
    def name(self) -> str:
        """``method+classifier``."""
        return f"{self.method}+{self.classifier}"


def method_options(
    texts: Sequence[str], table: Mapping[str, Callable[..., Any]] = METHODS
) -> dict[str, dict[str, Any]]:
    """Parse ``method.name=value`` texts; values are JSON (numbers, true/false, lists) or plain words, never evaluated.

    Args:
        texts: of the command line.
        table: the methods that they may be of.

    Raises:
        InputError: for another form, an unknown method, or a parameter that the method does not have.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        left, equal, value = text.partition("=")
        name, dot, option = left.rpartition(".")  # a method of another package has dots in its name
        if not (equal and dot):
            raise input_error("options", got=repr(text), expected="method.name=value, for example dann.weight=0.5")
        parsed = _value(value)
        check_arguments(f"options {name}", choose("options", name, table), {option: parsed})
        found.setdefault(name, {})[option] = parsed
    return found


def named_values(argument: str, texts: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Parse ``name=value`` texts, with or without ``prefix``, as :func:`method_options` does.

    Raises:
        InputError: for another form.
    """
    found = {}
    for text in texts:
        left, equal, value = text.partition("=")
        name = left.removeprefix(prefix)
        if not equal or not name:
            raise input_error(argument, got=repr(text), expected=f"{prefix}name=value")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    """Read JSON, or return the text itself; nothing is evaluated."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        return text
    return tuple(parsed) if isinstance(parsed, list) else parsed


def flat(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Make options hashable."""
    return tuple(sorted(options.items()))


def asdict(experiment: Experiment | ClosedForm) -> dict[str, Any]:
    """Give the JSON form for the run record."""
    if isinstance(experiment, ClosedForm):
        return _written(experiment)
    return {**_written(experiment), "recipe": _written(experiment.recipe)}


def _written(part: Any) -> dict[str, Any]:
    whole = dataclasses.asdict(part)
    return {
        f.name: whole[f.name] for f in dataclasses.fields(part) if f.name not in LATER or whole[f.name] != f.default
    }
