"""What a protocol preset is made of; the presets themselves: :mod:`experiments.protocols`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.config import Recipe

Options = tuple[tuple[str, Any], ...]


class Settings(NamedTuple):
    """What a preset fixes for one method.

    Attributes:
        recipe: optimiser, rates, schedule.
        bottleneck: by name, with its width; None where there is none.
        batch_size: examples of each domain.
        steps: of the whole run.
        batch_norm: convention.
        options: the method's own hyper-parameters; those of the command line come on top.
        encoder_options: of a net made for this protocol; empty leaves it as the benchmark has it.
        bottleneck_options: beside its width.
        head: by name.
        head_options: its fields.
        augment: views of the training images, joined by ``+``, see :data:`dalib.methods.augmentation.VIEWS`.
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
        benchmark: what it is for.
        settings: by method.
        train_view: what a training image goes through.
        test_view: what a test image goes through.
        selection: how the source chose its epoch. Ours always reports the last step, the source-validated pick and,
            labelled, the oracle's pick side by side.
        seeds: runs behind a published number, 0 if the source does not say.
        departures: what dalib does otherwise.
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
    steps: int = 20_000,
    batch_norm: str = "joint",
    multiplier: float = 0.1,
    constant: bool = False,
) -> Settings:
    """A method's settings in TLlib's scripts, which share optimiser, schedule and forms of bottlenecks."""
    recipe = Recipe(
        learning_rate=rate,
        encoder_multiplier=multiplier,
        nesterov=True,
        weight_decay=decay,
        schedule="constant" if constant else "inverse",
        gamma=gamma,
    )
    return Settings(recipe, bottleneck, width, batch, steps, batch_norm)
