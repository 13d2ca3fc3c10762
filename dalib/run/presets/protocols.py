"""Protocol presets, named after their code or paper: settings that a run must share before numbers are compared.

A preset gives each method its recipe, bottleneck, batch and steps, and says in words what a run record cannot: views of
the images, BatchNorm, and the rule by which the source chose its epoch. ``departures`` lists what differs here all the
same; the ledger's differences are read off the records, not off this list. Rates of TLlib and DeepDA decay as
``(1 + γ · step)^−0.75``; elsewhere as ``(1 + 10p)^−0.75`` over the run.
"""

from dalib.core.checks import choose, input_error
from dalib.run.config import Recipe
from dalib.run.presets.digits import DIGIT_PRESETS
from dalib.run.presets.options import Protocol as Protocol
from dalib.run.presets.options import Settings as Settings
from dalib.run.presets.options import tllib


def _deepda(rate: float, gamma: float, decay: float, *, steps: int = 10_000, batch_norm: str = "separate") -> Settings:
    recipe = Recipe(
        learning_rate=rate, encoder_multiplier=0.1, weight_decay=decay, schedule="inverse", gamma=gamma, nesterov=False
    )
    return Settings(recipe, "linear-relu", 256, 32, steps, batch_norm)


def _seen(settings: dict[str, Settings], views: str) -> dict[str, Settings]:
    return {name: own._replace(augment=views) for name, own in settings.items()}


_SHOT_OBJECTS = Settings(
    Recipe(learning_rate=0.01, encoder_multiplier=0.1, nesterov=True, weight_decay=1e-3, schedule="dann"),
    *("linear-bn", 256, 64, 20_000, "source"),
)

PROTOCOLS: dict[str, Protocol] = {
    **DIGIT_PRESETS,
    "tllib": Protocol(
        title="thuml/Transfer-Learning-Library (c4aa59eb), scripts for Office-31",
        benchmark="office31",
        settings=_seen(
            {
                "source_only": tllib(0.001, bottleneck="none", width=None, steps=2_500, batch_norm="source"),
                "dan": tllib(0.003, bottleneck="linear-relu-dropout", steps=10_000),
                "jan": tllib(0.003, bottleneck="linear-bn-relu-dropout", steps=10_000),
                "dann": tllib(0.01, 1e-3, 1e-3),
                "cdan": tllib(0.01, 1e-3, 1e-3),
                "mdd": tllib(0.004, 2e-4, 5e-4, bottleneck="linear-bn-relu-dropout", width=1024),
                "mcc": tllib(0.005, 1e-3, 1e-3, batch=36, width=1024, steps=10_000),
                "mcd": tllib(0.001, bottleneck="none", width=None, steps=10_000, constant=True),
                "afn": tllib(0.001, width=1000, steps=10_000, multiplier=1.0, constant=True, batch_norm="separate"),
            },
            "crop+flip",
        ),
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
        settings=_seen(
            {
                "source_only": _deepda(0.01, 1e-3, 1e-3, batch_norm="source"),
                "dan": _deepda(3e-3, 3e-4, 5e-4),
                "deep_coral": _deepda(3e-3, 3e-4, 5e-4),
                "dann": _deepda(0.01, 1e-3, 1e-3),
                "dsan": _deepda(0.01, 3e-4, 5e-4),
                "bnm": _deepda(1e-3, 3e-4, 5e-4, steps=6_000),
            },
            "random-crop+flip",
        ),
        train_view="256×256, random crop 224, flip",
        test_view="224×224, no crop",
        selection="oracle",
        seeds=0,
        departures=(
            "source_only: the source states no settings of its own; those of dann",
            "test images: 256×256, central crop 224",
        ),
    ),
    "shot": Protocol(
        title="tim-learn/SHOT (f7d555a), objects",
        benchmark="office31",
        settings=_seen({"source_only": _SHOT_OBJECTS, "shot": _SHOT_OBJECTS._replace(steps=1_000)}, "random-crop+flip"),
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


def settings(protocol: str, method: str, task: str = "") -> Settings:
    """Return a preset's settings for a method, and for a task ``source → target`` where it has other ones.

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
    return found.by_task.get(task, {}).get(method, found.settings[method])
