"""MCD: maximum classifier discrepancy, three updates in one step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dalib.discrepancy import classifier_discrepancy
from dalib.methods.base import Context, Forward, Method, Result, Spec, States, Update, weigh
from dalib.types import Array, Batch, Outputs, Params, PyTree


def mcd(*, weight: Any = 1.0, repeats: int = 4, balance: Any = 0.0) -> Method:
    """Two heads that disagree about the target, an encoder that makes them agree (Saito, Watanabe, Ushiku, Harada,
    CVPR 2018, arXiv 1712.02560, §3.2).

    Closed-set adaptation. Per step: A, everything on the source's task loss of both heads; B, the heads on the task
    loss minus λ times their discrepancy on the target; C, the encoder (with its bottleneck) on λ times the
    discrepancy, ``repeats`` times. The discrepancy is the mean over examples and classes of |p₁ − p₂| (eq. 9).
    Prediction is the mean of both heads' logits.

    Args:
        weight: λ of the discrepancy; the paper's is 1, TLlib has 10 (Office-31), 30 (Office-Home) and 120 (DomainNet).
        repeats: k, how often C is done.
        balance: weight of ``−mean_k ln(p̄_k + 1e-6)`` of each head on the target, in A and B. 0 in the paper, 0.01 in
            TLlib.

    Metrics: ``A/loss/task``, ``B/loss/mcd``, ``C/loss/mcd`` (0 when the heads agree), ``A/accuracy/source`` and more by
    update.
    """

    def discrepancy(logits_1: Array, logits_2: Array, key: Array) -> Array:
        del key
        return classifier_discrepancy(logits_1, logits_2)

    # The mean prediction in the balance is one of a batch.
    alone = isinstance(balance, int | float) and balance == 0
    return two_heads("mcd", discrepancy, weight=weight, repeats=repeats, balance=balance, per_example=alone)


def two_heads(
    name: str,
    discrepancy: Callable[[Array, Array, Array], Array],
    *,
    weight: Any,
    repeats: int,
    balance: Any = 0.0,
    per_example: bool = False,
) -> Method:
    """MCD's three updates for any ``discrepancy``: ``(logits_1, logits_2, key) -> []`` on the target."""

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        return {"second_head": spec.init_head(key)}, {}

    def heads(params: Params, outputs: Outputs, forward: Forward, key: Array) -> tuple[Array, Array]:
        assert outputs.logits is not None
        return outputs.logits, forward.head(params["second_head"], outputs.features, key)

    def both(params: Params, states: States, batch: Batch, forward: Forward, context: Context):
        outputs, model = forward.pair(params, states.model, batch, context.key)
        keys = jax.random.split(jax.random.fold_in(context.key, 1), 3)
        source = heads(params, outputs.source, forward, keys[0])
        target = heads(params, outputs.target, forward, keys[1])
        task = sum(context.task_loss(logits, batch.source.labels).mean() for logits in source)
        disagreement = discrepancy(*target, keys[2])
        spread = sum(-jnp.log(jax.nn.softmax(logits).mean(0) + 1e-6).mean() for logits in target)
        supervised = task + balance * spread
        return outputs, states._replace(model=model), source, task, supervised, disagreement

    def task_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        outputs, states, source, task, supervised, _ = both(params, states, batch, forward, context)
        accuracy = ((source[0] + source[1]).argmax(-1) == batch.source.labels).mean()
        return Result(supervised, states, {"loss/task": task, "accuracy/source": accuracy}, outputs)

    def heads_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        _, states, _, task, supervised, disagreement = both(params, states, batch, forward, context)
        value = supervised - weigh(weight, context) * disagreement
        return Result(value, states, {"loss/task": task, f"loss/{name}": disagreement})

    def encoder_loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        _, states, *_, disagreement = both(params, states, batch, forward, context)
        return Result(weigh(weight, context) * disagreement, states, {f"loss/{name}": disagreement})

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        assert outputs.logits is not None
        return 0.5 * (outputs.logits + forward.head(params["second_head"], outputs.features, None))

    return Method(
        name,
        init=init,
        updates=(
            Update("A", task_loss, ("encoder", "bottleneck", "head", "second_head")),
            Update("B", heads_loss, ("head", "second_head"), joins=False),
            Update("C", encoder_loss, ("encoder", "bottleneck"), repeats=repeats, joins=False),
        ),
        batch_norm="separate",
        predict=predict,
        per_example=per_example,
    )
