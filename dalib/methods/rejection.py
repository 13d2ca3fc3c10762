"""Predictions that may answer "unknown", in the form of one more class."""

import jax
import jax.numpy as jnp

from dalib.checks import input_error
from dalib.methods.base import Forward, Method
from dalib.types import Array, Outputs, Params


def append_unknown(logits: Array, margin: Array) -> Array:
    """Logits ``[n, C + 1]`` with an unknown class at the end that wins exactly where ``margin`` < 0.

    Args:
        logits: ``[n, C]`` of the known classes.
        margin: ``[n]``, how much the best known class is preferred to none.
    """
    return jnp.concatenate([logits, (logits.max(-1) - margin)[:, None]], axis=1)


def with_rejection(method: Method, *, threshold: float = 0.8) -> Method:
    """Adds one predicted class: unknown where the largest softmax probability is below ``threshold``.

    The baseline of open-set adaptation around source-only or DANN (TLlib: 0.8; its Office-31 commands 0.9). Training is
    unchanged; only the prediction has C + 1 columns, in which the C known ones are as before.

    Raises:
        InputError: for a threshold outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise input_error("threshold", got=threshold, expected="a probability in [0, 1]")

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        own = method.hooks.predict
        logits = outputs.logits if own is None else own(params, outputs, forward)
        assert logits is not None
        return append_unknown(logits, jax.nn.softmax(logits).max(-1) - threshold)

    needs, hooks = method.needs._replace(rejects=True), method.hooks._replace(predict=predict)
    return method._replace(needs=needs, hooks=hooks)
