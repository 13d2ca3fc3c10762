"""Protocol presets, named after the code or paper that they follow: what a run must share before numbers are compared.

A preset gives each method its recipe, bottleneck, batch and steps, and says in words what a run record cannot: views of
the images, BatchNorm, and the rule by which the source chose its epoch. ``departures`` lists what differs here all the
same; the ledger's differences are read off the records, not off this list. Rates of TLlib and DeepDA decay as
``(1 + γ · step)^−0.75``; elsewhere as ``(1 + 10p)^−0.75`` over the run.
"""

from typing import NamedTuple

from dalib.checks import choose, input_error
from experiments.config import Recipe


class Settings(NamedTuple):
    """What a preset fixes for one method.

    Attributes:
        recipe: optimiser, rates, schedule.
        bottleneck: by name, with its width; None where there is none.
        batch_size: examples of each domain.
        steps: of the whole run.
        batch_norm: convention.
    """

    recipe: Recipe
    bottleneck: str
    width: int | None
    batch_size: int
    steps: int
    batch_norm: str


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
    """

    title: str
    benchmark: str
    settings: dict[str, Settings]
    train_view: str
    test_view: str
    selection: str
    seeds: int
    departures: tuple[str, ...] = ()


def _tllib(
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
    recipe = Recipe(
        learning_rate=rate,
        encoder_multiplier=multiplier,
        nesterov=True,
        weight_decay=decay,
        schedule="constant" if constant else "inverse",
        gamma=gamma,
    )
    return Settings(recipe, bottleneck, width, batch, steps, batch_norm)


def _deepda(rate: float, gamma: float, decay: float, *, steps: int = 10_000, batch_norm: str = "separate") -> Settings:
    recipe = Recipe(
        learning_rate=rate, encoder_multiplier=0.1, weight_decay=decay, schedule="inverse", gamma=gamma, nesterov=False
    )
    return Settings(recipe, "linear-relu", 256, 32, steps, batch_norm)


_DANN_DIGITS = Settings(Recipe(learning_rate=0.01, schedule="dann"), "none", None, 64, 10_000, "source")
_ADDA_DIGITS = Settings(
    Recipe(optimizer="adam", learning_rate=2e-4, momentum=0.5, schedule="constant"), "none", None, 128, 10_000, "source"
)
_MCD_DIGITS = Settings(
    Recipe(optimizer="adam", learning_rate=2e-4, weight_decay=5e-4, schedule="constant"),
    *("none", None, 128, 100_000, "separate"),
)
_SHOT_OBJECTS = Settings(
    Recipe(learning_rate=0.01, encoder_multiplier=0.1, nesterov=True, weight_decay=1e-3, schedule="dann"),
    *("linear-bn", 256, 64, 20_000, "source"),
)

PROTOCOLS: dict[str, Protocol] = {
    "tllib": Protocol(
        title="thuml/Transfer-Learning-Library (c4aa59eb), scripts for Office-31",
        benchmark="office31",
        settings={
            "source_only": _tllib(0.001, bottleneck="none", width=None, steps=2_500, batch_norm="source"),
            "dan": _tllib(0.003, bottleneck="linear-relu-dropout", steps=10_000),
            "jan": _tllib(0.003, bottleneck="linear-bn-relu-dropout", steps=10_000),
            "dann": _tllib(0.01, 1e-3, 1e-3),
            "cdan": _tllib(0.01, 1e-3, 1e-3),
            "mdd": _tllib(0.004, 2e-4, 5e-4, bottleneck="linear-bn-relu-dropout", width=1024),
            "mcc": _tllib(0.005, 1e-3, 1e-3, batch=36, width=1024, steps=10_000),
            "mcd": _tllib(0.001, bottleneck="none", width=None, steps=10_000, constant=True),
            "afn": _tllib(0.001, width=1000, steps=10_000, multiplier=1.0, constant=True, batch_norm="separate"),
        },
        train_view="256×256, random resized crop 224, flip, ImageNet mean and deviation",
        test_view="256×256, central crop 224",
        selection="oracle",
        seeds=1,
        departures=(
            "dan: the quadratic MK-MMD, where the script takes the linear one",
            "mdd: the usual initialisation of bottleneck and heads",
            "afn: momentum 0.9 for the encoder too, a bottleneck of one layer in dalib's form",
        ),
    ),
    "deepda": Protocol(
        title="jindongwang/transferlearning, code/DeepDA, unified settings",
        benchmark="office31",
        settings={
            "source_only": _deepda(0.01, 1e-3, 1e-3, batch_norm="source"),
            "dan": _deepda(3e-3, 3e-4, 5e-4),
            "deep_coral": _deepda(3e-3, 3e-4, 5e-4),
            "dann": _deepda(0.01, 1e-3, 1e-3),
            "dsan": _deepda(0.01, 3e-4, 5e-4),
            "bnm": _deepda(1e-3, 3e-4, 5e-4, steps=6_000),
        },
        train_view="256×256, random crop 224, flip",
        test_view="224×224, no crop",
        selection="oracle",
        seeds=0,
        departures=("source_only: the source states no settings of its own; those of dann",),
    ),
    "dann-paper": Protocol(
        title="Ganin et al., JMLR 2016, section 5.2",
        benchmark="digits",
        settings={"source_only": _DANN_DIGITS, "dann": _DANN_DIGITS._replace(batch_norm="joint")},
        train_view="mean subtracted",
        test_view="mean subtracted",
        selection="last",
        seeds=1,
        departures=(
            "the last layer is not trained anew as a linear SVM",
            "the number of steps is ours: the paper does not state it",
        ),
    ),
    "adda-paper": Protocol(
        title="Tzeng et al., CVPR 2017",
        benchmark="digits",
        settings={"source_only": _ADDA_DIGITS, "adda": _ADDA_DIGITS},
        train_view="as stored",
        test_view="as stored",
        selection="last",
        seeds=0,
        departures=("steps and Adam's first beta are second-hand",),
    ),
    "mcd-paper": Protocol(
        title="Saito et al., CVPR 2018, and its code",
        benchmark="digits",
        settings={"source_only": _MCD_DIGITS._replace(batch_norm="source"), "mcd": _MCD_DIGITS},
        train_view="as stored",
        test_view="as stored",
        selection="unstated",
        seeds=0,
        departures=("its code draws MNIST and USPS from a 28×28 archive with a split of its own",),
    ),
    "shot": Protocol(
        title="tim-learn/SHOT (f7d555a), objects",
        benchmark="office31",
        settings={"source_only": _SHOT_OBJECTS, "shot": _SHOT_OBJECTS._replace(steps=1_000)},
        train_view="256×256, random crop 224, flip",
        test_view="256×256, central crop 224",
        selection="last",
        seeds=3,
        departures=(
            "steps are fixed, where the source counts epochs (100 on the source, 15 on the target)",
            "the source net is the last step's, not the best on held-out source examples",
        ),
    ),
}


def settings(protocol: str, method: str) -> Settings:
    """What a preset fixes for a method.

    Raises:
        InputError: for an unknown preset, or a method that its source has no settings for.
    """
    found = choose("preset", protocol, PROTOCOLS)
    if method not in found.settings:
        raise input_error(
            "preset",
            got=f"{protocol} for {method}",
            expected=f"a method that it has settings for: {', '.join(found.settings)}",
            todo="leave the preset out and give the recipe by hand",
        )
    return found.settings[method]
