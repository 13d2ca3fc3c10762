"""A few steps of a method on a small net with BatchNorm, on any number of devices and processes: what they leave."""

import jax
import numpy as np

from dalib.core.types import Batch, Source, Target
from dalib.train import put_batch
from dalib.train.devices.processes import local, process_count, process_index, replicate
from dalib.train.devices.sharding import batch_sharding, replicated
from tests.contract.cases import batch, quick_jit, setup, small_method

ROWS = 8
STEPS = 5


def trajectory(name, mesh=None):
    """``{"<steps>/<part>/<path>": array}`` after 1 and after all steps.

    Parts are metrics, parameters, moments, batch statistics and the method's own state. The moments of SGD after one
    step are the gradients.
    """
    state, step = setup(small_method(name), "vectors", norm=True)
    if mesh is None:
        step = quick_jit(step)
    else:
        everywhere = replicated(mesh)
        step = quick_jit(step, in_shardings=(everywhere, batch_sharding(mesh)), out_shardings=(everywhere, everywhere))
    state = replicate(state, mesh)
    found = {}
    for number in range(1, STEPS + 1):
        state, metrics = step(state, put_batch(own_rows(batch("vectors", ROWS, ROWS, seed=number)), mesh))
        if number not in (1, STEPS):
            continue
        parts = {"metrics": metrics, "params": state.params, "moments": state.optimizer}
        parts |= {"statistics": state.model, "method": state.method}
        for path, x in jax.tree_util.tree_leaves_with_path(local(parts)):
            found[f"{number}/" + jax.tree_util.keystr(path, simple=True, separator="/")] = np.asarray(x)
    return found


def own_rows(whole):
    """This process's rows of a batch."""
    part = ROWS // process_count()
    rows = slice(process_index() * part, (process_index() + 1) * part)
    return Batch(Source(whole.source.inputs[rows], whole.source.labels[rows]), Target(whole.target.inputs[rows]))
