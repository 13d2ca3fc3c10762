"""Presets of the digit benchmarks. ``lenet`` is ours: one recipe for all methods, apart from those that need another.

The rate of ``lenet`` was chosen among 0.01, 0.03 and 0.1 by source-only's accuracy on the *source's* test images; ADDA
and SHOT, which go on from the source net without a task loss, have the rates of their authors' code. MDD and AFN
have TLlib's 0.01 and its bottleneck with BatchNorm: without one, at 0.03 as at 0.01, the task loss on the source went
to NaN (MDD, in 45 and 123 steps) or to that of chance (AFN).
"""

from dataclasses import replace
from typing import Any

from dalib.methods import METHODS
from dalib.run.config import Recipe
from dalib.run.presets.options import Protocol, Settings, tllib

MU, UM = "mnist → usps", "usps → mnist"
DROPOUT = (("dropout", 0.5),)
SMALL_NET = (("channels", (32, 48)), ("width", None))
TWO_LAYERS = ("widths", (100, 100))

_COMMON = Recipe(learning_rate=0.03, weight_decay=5e-4)
_SLOWER = replace(_COMMON, learning_rate=0.01)
_STAGE_TWO = Recipe(optimizer="adam", learning_rate=2e-4, momentum=0.5, schedule="constant")
_FROM_SOURCE = Recipe(learning_rate=0.01, nesterov=True, weight_decay=1e-3)


def _lenet(method: str, recipe: Recipe = _COMMON, **options: Any) -> Settings:
    own, convention = tuple(sorted(options.items())), METHODS[method](**options).needs.batch_norm
    return Settings(recipe, "none", None, 32, 1000, convention, options=own, encoder_options=DROPOUT)


def _normalised(method: str, **options: Any) -> Settings:
    return _lenet(method, _SLOWER, **options)._replace(bottleneck="linear-bn-relu", width=256)


_LENET = {
    **{name: _lenet(name) for name in ("source_only", "dan", "deep_coral", "jan", "mcc")},
    "mdd": _normalised("mdd"),
    "dann": _lenet("dann", hidden=(500, 500)),
    "cdan": _lenet("cdan", hidden=(500, 500)),
    # The frozen source net runs without dropout. If the target's copy had it, dropout itself would tell them apart.
    "adda": _lenet("adda", _STAGE_TWO)._replace(encoder_options=(("dropout", 0.0),)),
    "mcd": _lenet("mcd", weight=0.3, balance=0.03),
    "afn": _normalised("afn", step=0.3, entropy=0.03),
    "shot": _lenet("shot", _FROM_SOURCE, beta=0.1, refresh_every=60),
}

_DANN = Settings(
    Recipe(learning_rate=0.01, schedule="dann"),
    *("none", None, 64, 10_000, "source"),
    encoder_options=SMALL_NET,
    head="mlp",
    head_options=(TWO_LAYERS,),
)
_ADDA = Settings(_STAGE_TWO, "none", None, 128, 10_000, "source")
_MCD = Settings(
    Recipe(optimizer="adam", learning_rate=2e-4, weight_decay=5e-4, schedule="constant"),
    *("none", None, 128, 100_000, "separate"),
    encoder_options=(*SMALL_NET, ("norm", True)),
    head="mlp",
    head_options=(("dropout", 0.5), TWO_LAYERS),
)
_SHOT = Settings(
    replace(_FROM_SOURCE, label_smoothing=0.1),
    *("linear-bn", 256, 64, 28_140, "source"),
    encoder_options=(*DROPOUT, ("width", None)),
    bottleneck_options=DROPOUT,
    head="weight-norm",
)


def _tllib_digits(rate: float) -> dict[str, Settings]:
    """Give the settings of TLlib's digit scripts for one task; MDD, AFN and MCD have rates of their own there."""

    def one(own: float = rate, **more: Any) -> Settings:
        return tllib(own, **{"batch": 128, "multiplier": 1.0, "steps": 50_000, "gamma": 1e-3, "decay": 1e-3, **more})

    small = {"gamma": 3e-4, "decay": 5e-4}
    # Values of the scripts' own command lines; what they leave at a default is in ``one``.
    found = {
        "source_only": one(bottleneck="none", width=None, batch_norm="source", **small),
        "dan": one(bottleneck="linear-relu-dropout", **small),
        "jan": one(bottleneck="linear-bn-relu-dropout", **small),
        "dann": one()._replace(options=(("hidden", (1024, 1024)), ("norm", True))),
        "cdan": one()._replace(options=(("hidden", (1024, 1024)), ("norm", True))),
        "mcc": one()._replace(options=(("temperature", 2.5),)),
        "mdd": one(0.01, bottleneck="linear-bn-relu-dropout", width=1024, gamma=2e-4, decay=5e-4),
        "mcd": one(bottleneck="none", width=None, constant=True, batch_norm="joint", **small),
        "afn": one(0.01 if rate < 0.1 else 0.03, width=1000, constant=True, batch_norm="separate", **small),
    }
    own = {
        "mcd": (("balance", 0.03), ("weight", 0.3)),
        "afn": (("entropy", 0.03), ("step", 0.3 if rate < 0.1 else 0.1)),
    }
    found |= {name: found[name]._replace(options=options) for name, options in own.items()}
    return {name: settings._replace(encoder_options=DROPOUT) for name, settings in found.items()}


DIGIT_PRESETS: dict[str, Protocol] = {
    "lenet": Protocol(
        title="ours: LeNet with dropout, SGD, the same recipe for all methods",
        benchmark="digits",
        settings=_LENET,
        train_view="values in [−1, 1]",
        test_view="values in [−1, 1]",
        selection="last",
        seeds=0,
        by_task={UM: {"afn": _normalised("afn", step=0.1, entropy=0.03)}},
    ),
    "tllib-digits": Protocol(
        title="thuml/Transfer-Learning-Library (c4aa59eb), recipe of its digit scripts",
        benchmark="digits",
        settings=_tllib_digits(0.01),
        train_view="values in [−1, 1]; USPS stretched",
        test_view="values in [−1, 1]; USPS stretched",
        selection="oracle",
        seeds=1,
        departures=(
            "geometry is an option: --geometry stretched is theirs",
            "rates of tasks other than usps → mnist: those of mnist → usps",
            "bottlenecks as in its scripts for Office-31; mcd: heads of one layer",
        ),
        by_task={UM: _tllib_digits(0.1)},
    ),
    "dann-paper": Protocol(
        title="Ganin et al., JMLR 2016, section 5.2",
        benchmark="digits",
        settings={
            "source_only": _DANN,
            "dann": _DANN._replace(batch_norm="joint", options=(("hidden", (100,)),)),
        },
        train_view="mean subtracted",
        test_view="mean subtracted",
        selection="last",
        seeds=1,
        departures=(
            "values in [−1, 1] in the place of a subtracted mean",
            "the last layer is not trained anew as a linear SVM",
            "the number of steps is ours: the paper does not state it",
        ),
    ),
    "adda-paper": Protocol(
        title="Tzeng et al., CVPR 2017, and its code (erictzeng/adda, c4aa59eb's script for SVHN)",
        benchmark="digits",
        settings={
            "source_only": _ADDA._replace(recipe=replace(_STAGE_TWO, learning_rate=1e-3, momentum=0.9)),
            "adda": _ADDA._replace(options=(("hidden", (500, 500)), ("layer", "logits"))),
        },
        train_view="32×32",
        test_view="32×32",
        selection="last",
        seeds=0,
        departures=(
            "28×28 images; the code enlarges to 32×32",
            "no L2 penalty; the code has 2.5e-5 in the first stage",
        ),
    ),
    "mcd-paper": Protocol(
        title="Saito et al., CVPR 2018, and its code",
        benchmark="digits",
        settings={"source_only": _MCD._replace(batch_norm="source"), "mcd": _MCD},
        train_view="as stored",
        test_view="as stored",
        selection="unstated",
        seeds=0,
        departures=(
            "its code draws MNIST and USPS from a 28×28 archive with a split of its own",
            "no BatchNorm in the heads, and no dropout before their first layer",
        ),
    ),
    "shot-digits": Protocol(
        title="tim-learn/SHOT (f7d555a), digits",
        benchmark="digits",
        settings={
            "source_only": _SHOT,
            "shot": _SHOT._replace(recipe=_FROM_SOURCE, steps=3420, options=(("beta", 0.1), ("refresh_every", 114))),
        },
        train_view="values in [−1, 1]; USPS as source shifted by up to 4 pixels and turned by up to 10°",
        test_view="values in [−1, 1]",
        selection="last",
        seeds=3,
        departures=(
            "turned images are interpolated bilinearly, and their edges repeated; the code has nearest pixels and grey",
            "the source net is the last step's, not the best on held-out source examples",
            "one set of statistics for source and target in training, begun anew by the target",
        ),
        by_task={
            UM: {
                "source_only": _SHOT._replace(steps=3420, augment="shift+rotate"),
                "shot": _SHOT._replace(
                    recipe=_FROM_SOURCE, steps=28_140, options=(("beta", 0.1), ("refresh_every", 938))
                ),
            }
        },
    ),
}
