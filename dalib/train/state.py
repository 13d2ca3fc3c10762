"""The one state pytree of a training run: all that a checkpoint holds and a resumed run needs."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dalib.core.checks import InputError, input_error
from dalib.core.types import Array, Params, PyTree
from dalib.encoders.adapters import as_net
from dalib.methods.base import Method
from dalib.methods.view import NET_GROUPS, Spec
from dalib.train.forward import initial_model_state
from dalib.train.optimizer import Optimizer


@flax.struct.dataclass
class TrainState:
    """Everything that changes during training; parameters and optimiser state by group, batch statistics by domain.

    ``step`` ``[]`` int32 counts the steps taken. ``key`` is the run's and never changes: a step uses
    ``fold_in(key, step)``.
    """

    step: Array
    params: Params
    optimizer: dict[str, PyTree]
    model: PyTree
    method: PyTree
    key: Array


def init_state(
    key: Array,
    net: Any,
    method: Method,
    optimizer: Optimizer,
    sample: Array,
    *,
    batch_norm: str,
    variables: PyTree | None = None,
    encoder: PyTree | None = None,
    target_size: int = 0,
) -> TrainState:
    """Make the state before the first step; traceable, so that it can be jitted, vmapped over keys or only shaped.

    Args:
        key: the run's key.
        net: a :class:`dalib.encoders.Net` or a :class:`dalib.encoders.Classifier`.
        method: adds its own groups, named otherwise than the net's, and its state.
        optimizer: of all groups.
        sample: ``[n, ...]`` inputs, or a ``jax.ShapeDtypeStruct`` of them; only the shape matters.
        batch_norm: convention, see :mod:`dalib.train.forward`.
        variables: initial ``{"params", "batch_stats"}`` of the net, e.g. of an earlier run; None draws them.
        encoder: initial variables of the net's encoder alone (:func:`dalib.encoders.load`), replacing the drawn ones.
        target_size: examples in the target's training split, for methods that keep something for each; 0 if unknown.
    """
    net = as_net(net)
    keys = jax.random.split(key, 3)
    if variables is None:
        # Three keys: the net's, the method's, and the run's, so that none depends on another's draws.
        variables = net.init(keys[0], jnp.zeros(sample.shape, sample.dtype))
    if encoder is not None:
        variables = with_encoder(variables, encoder)
    params: Params = dict(variables["params"])
    stats = variables.get("batch_stats", {})
    # Shapes alone tell a method what to allocate: the net does not run here.
    outputs = jax.eval_shape(
        lambda p, s, x: net.apply(p, s, x)[0], params, stats, jax.ShapeDtypeStruct(sample.shape, sample.dtype)
    )
    features = jnp.zeros(outputs.features.shape, outputs.features.dtype)
    spec = Spec(
        num_classes=outputs.logits.shape[-1],
        outputs=outputs,
        params=params,
        init_head=lambda k: net.init_head(k, features),
        batch_stats=stats,
        target_size=target_size,
    )
    # The method sees the net's shapes and parameters, and adds groups under other names.
    own, own_state = method.init(keys[1], spec)
    if taken := [g for g in own if g in NET_GROUPS]:
        raise input_error(
            f"parameter groups of method {method.name!r}", got=", ".join(taken), expected="other names than the net's"
        )
    params = params | own
    # Every leaf gets a buffer of its own: the state is donated to the step, and the same buffer can't be donated twice,
    # nor may a caller's pretrained variables be consumed.
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        optimizer=optimizer.init(params),
        model=initial_model_state(stats, batch_norm),
        method=own_state,
        key=keys[2],
    )
    return jax.tree.map(jnp.copy, state)


def with_encoder(variables: PyTree, encoder: PyTree) -> PyTree:
    """Replace the variables of a classifier's encoder by ``encoder``, in total.

    Names, shapes and dtypes must agree; an InputError lists all differences at once.
    """
    like = {name: tree["encoder"] for name, tree in variables.items() if "encoder" in tree}
    wanted, given = _described(like), _described({name: tree for name, tree in encoder.items() if tree})
    # All differences at once: weights of another size differ in many places.
    problems = [f"{path}: {wanted[path]} in the net, missing in encoder" for path in wanted.keys() - given.keys()]
    problems += [f"{path}: {given[path]} in encoder, not in the net" for path in given.keys() - wanted.keys()]
    problems += [
        f"{path}: {wanted[path]} in the net, {given[path]} in encoder"
        for path in wanted.keys() & given.keys()
        if wanted[path] != given[path]
    ]
    if problems:
        raise InputError(
            "encoder: its variables are not those of the net's encoder:\n"
            + "\n".join(f"  {problem}" for problem in sorted(problems))
            + "\n  what to do: build the classifier around the encoder that dalib.encoders.load gave"
        )
    return {name: {**tree, "encoder": encoder[name]} if name in like else tree for name, tree in variables.items()}


def _described(tree: PyTree) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}" for path, x in leaves}
