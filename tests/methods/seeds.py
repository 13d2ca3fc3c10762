"""Training on a constructed shift for several seeds at once, for the tests that a method learns what it is meant to."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.types import Batch, Source, Target, Task
from dalib.methods.base import Method, evaluated
from dalib.methods.view import Look, States
from dalib.tasks import classification
from dalib.train import evaluate_outputs, init_state, make_forward, make_optimizer, make_predict, training_step
from tests.contract.cases import quick_jit


class Shift(NamedTuple):
    """Two domains as functions ``(key, rows) -> (inputs, labels)``, the net that is trained on them, and how.

    Attributes:
        source: labelled; of several domains, interleaved rows.
        target: its labels only score.
        net: classifier.
        task: what is predicted; None tells the net's classes apart.
        score: ``(logits, labels) -> scalar`` on fresh target rows, larger is better.
        rows: of each domain in a batch.
    """

    source: Callable[[Any, int], tuple[Any, Any]]
    target: Callable[[Any, int], tuple[Any, Any]]
    net: Any
    task: Task | None = None
    score: Callable[[Any, Any], Any] = lambda logits, labels: (logits.argmax(-1) == labels).mean()
    rows: int = 64
    steps: int = 300
    seeds: int = 4
    learning_rate: float = 0.01


def scores(method: Method, shift: Shift) -> np.ndarray:
    """Scores on 1000 fresh target rows after training, one per seed: Adam, constant rate, no selection."""
    optimizer = make_optimizer(learning_rate=shift.learning_rate, kind="adam", momentum=0.9)
    forward = make_forward(shift.net, method.needs.batch_norm)
    task = shift.task or classification(shift.net.num_classes)
    step = training_step(method, forward, optimizer, total_steps=shift.steps, task=task)
    predict = make_predict(method, forward, "target")

    def one(seed):
        keys = jax.random.split(jax.random.key(seed), 4)
        sample = jax.eval_shape(lambda k: shift.source(k, shift.rows)[0], keys[0])
        state = init_state(keys[0], shift.net, method, optimizer, sample, batch_norm=method.needs.batch_norm)
        whole = shift.target(keys[2], 512)[0]

        def refreshed(state):
            def outputs(domain):
                return evaluate_outputs(forward, state.params, state.model, {"target": whole}[domain], domain)

            look = Look(outputs, lambda domain: {"target": whole}[domain], lambda: None)
            states = method.hooks.refresh(state.params, States(state.model, state.method), look)
            return state.replace(model=states.model, method=states.method)

        def body(state, number):
            k = jax.random.split(jax.random.fold_in(keys[1], number))
            if method.hooks.refresh is not None:
                state = jax.lax.cond(number % method.hooks.refresh_every == 0, refreshed, lambda s: s, state)
            x, y = shift.source(k[0], shift.rows)
            return step(state, Batch(Source(x, y), Target(shift.target(k[1], shift.rows)[0])))[0], None

        state, _ = jax.lax.scan(body, state, jnp.arange(shift.steps))
        x, y = shift.target(keys[3], 1000)
        params, states = evaluated(method, state.params, States(state.model, state.method))
        return shift.score(predict(params, states.model, x).logits, y)

    return np.asarray(quick_jit(jax.vmap(one))(jnp.arange(shift.seeds)))
