"""Predictions of a trained net, on one device or on all."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dalib.methods.base import Forward, Method
from dalib.train.distributed import local
from dalib.train.forward import evaluate_outputs
from dalib.train.sharding import batch_sharding, replicated
from dalib.types import Outputs, PyTree

Predict = Callable[[Any, PyTree, Any], Outputs]


def make_predict(method: Method, forward: Forward, domain: str, *, mesh: Mesh | None = None) -> Predict:
    """``(params, model state, inputs [n, ...]) -> Outputs`` in evaluation mode, with the method's own prediction.

    ``hidden`` is left out: nothing would read the feature maps, and they would be written out for every batch.

    Args:
        method: whose prediction it is.
        forward: the net.
        domain: "source" or "target": whose batch statistics normalise.
        mesh: splits the rows over its devices, whatever their number (missing ones are made up and dropped); all
            processes give the same rows and all get the whole result, on a device of their own.
    """

    def predict(params: Any, model: PyTree, inputs: Any) -> Outputs:
        outputs = evaluate_outputs(forward, params, model, inputs, domain)
        logits = outputs.logits if method.hooks.predict is None else method.hooks.predict(params, outputs, forward)
        return outputs._replace(logits=logits, hidden={})

    if mesh is None:
        return jax.jit(predict)
    rows = batch_sharding(mesh)
    # The parameters keep the sharding that they come with.
    split = jax.jit(predict, in_shardings=(None, None, rows), out_shardings=replicated(mesh))

    def on_all(params: Any, model: PyTree, inputs: Any) -> Outputs:
        n = len(jax.tree.leaves(inputs)[0])
        places = np.arange(-(-n // mesh.size) * mesh.size) % n

        def put(x: Any) -> jax.Array:
            x = np.asarray(x) if len(places) == n else np.asarray(x)[places]
            return jax.make_array_from_callback(x.shape, rows, lambda index: x[index])

        outputs = local(split(params, model, jax.tree.map(put, inputs)))
        return outputs if len(places) == n else jax.tree.map(lambda x: x[:n], outputs)

    return on_all
