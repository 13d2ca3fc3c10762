"""AdaBN: BatchNorm statistics of the target instead of the source."""

from collections.abc import Callable

import jax

from dalib.checks import input_error
from dalib.methods.base import Hooks, Method, Needs, Spec, States
from dalib.types import Array, Params, PyTree


def adabn() -> Method:
    """Source-only training; before an evaluation the batch statistics are recomputed over the whole unlabelled target
    training set (Li, Wang, Shi, Liu, Hou, 2016, arXiv 1603.04779, algorithm 1).

    Only the target's statistics are replaced: source examples go on being normalised by the source's. Training
    continues from the statistics before the evaluation.

    Raises:
        InputError: from ``init``, for a net without BatchNorm.
    """

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        del key
        if not jax.tree.leaves(spec.batch_stats):
            raise input_error(
                "net",
                got="one without BatchNorm layers",
                expected="statistics that can be adapted",
                todo="use an encoder or a bottleneck with BatchNorm (DTN, ResNet, linear-bn-relu) or another method",
            )
        return {}, {}

    def calibrate(params: Params, states: States, recompute: Callable[[], PyTree]) -> States:
        del params
        return states._replace(model={**states.model, "target": recompute()})

    return Method("adabn", init=init, needs=Needs(batch_norm="source"), hooks=Hooks(calibrate=calibrate))
