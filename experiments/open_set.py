"""What a run adds to its method: views of images, and an unknown class where the target has classes of its own."""

from functools import partial

import numpy as np

from dalib.checks import InputError, choose
from dalib.methods import Method, with_rejection
from dalib.methods.augmentation import SIZED, VIEWS, Augment, in_turn
from dalib.methods.transformers import augmented
from dalib.validate.open_set import open_set_scores
from experiments.config import OPEN, Experiment


def outputs_of(experiment: Experiment, classes: int, method: Method) -> int:
    """Outputs of the net for ``classes`` source classes: one more for a method that learns the unknown class itself."""
    return classes + (0 if experiment.role == "oracle" else method.needs.extra_outputs)


def prepared(method: Method, experiment: Experiment) -> Method:
    """The method with the experiment's views of training images, and with an unknown class where the relation has one.

    Open-set and universal methods predict C + 1 columns by themselves; any other one answers "unknown" below the
    probability ``experiment.rejection``.
    """
    if experiment.augment:
        views = [_view(name, experiment.crop) for name in experiment.augment.split("+")]
        method = augmented(method, in_turn(views))
    if experiment.relation in OPEN and not method.needs.rejects:
        return with_rejection(method, threshold=experiment.rejection)
    return method


def _view(name: str, size: int) -> Augment:
    view = choose("augment", name, VIEWS)
    return partial(view, size=size) if name in SIZED and size else view


def target_metrics(confusion: np.ndarray, experiment: Experiment) -> dict[str, float]:
    """Open-set scores (in fractions) beside the usual ones; none for other relations, or a target without unknowns."""
    if experiment.relation not in OPEN:
        return {}
    try:
        scores = open_set_scores(confusion)
    except InputError:
        return {}
    return {"os": scores.os, "os_star": scores.os_star, "unknown": scores.unknown, "h_score": scores.hos}
