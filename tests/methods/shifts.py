"""Training on small constructed shifts, for the tests that a method learns what it is meant to solve."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.types import Batch, Source, Target
from dalib.encoders import MLP, Bottleneck, Classifier
from dalib.methods.base import Method, evaluated
from dalib.methods.view import Look, States
from dalib.tasks import classification
from dalib.train import init_state, make_forward, make_optimizer, make_predict, training_step
from tests.contract.cases import quick_jit


class Samples(NamedTuple):
    """``inputs`` ``[n, d]`` and ``labels`` ``[n]`` of one domain."""

    inputs: np.ndarray
    labels: np.ndarray


def train(
    method: Method,
    sources: list[Samples],
    target: np.ndarray,
    *,
    classes: int,
    seed: int = 0,
    steps: int = 300,
    batch_size: int = 48,
    learning_rate: float = 0.02,
    widths: tuple[int, ...] = (32,),
):
    """Trains an MLP and returns ``inputs [n, d] -> predicted classes [n]`` for the target.

    Batches interleave the sources; whole stretches between two refreshes are one ``scan``.
    """
    rng = np.random.default_rng(seed)
    k, share = len(sources), batch_size // len(sources)
    inputs = np.empty((steps, batch_size, sources[0].inputs.shape[1]), np.float32)
    labels = np.empty((steps, batch_size), np.int32)
    for i, domain in enumerate(sources):
        rows = rng.integers(0, len(domain.labels), (steps, share))
        inputs[:, i::k], labels[:, i::k] = domain.inputs[rows], domain.labels[rows]
    unlabelled = target[rng.integers(0, len(target), (steps, batch_size))].astype(np.float32)
    batches = Batch(Source(jnp.asarray(inputs), jnp.asarray(labels)), Target(jnp.asarray(unlabelled)))

    net = Classifier(MLP(widths), classes, Bottleneck(width=16, norm=False))
    optimizer = make_optimizer(learning_rate=learning_rate, kind="adam")
    norm = method.needs.batch_norm
    forward = make_forward(net, norm)
    state = quick_jit(lambda key: init_state(key, net, method, optimizer, batches.source.inputs[0], batch_norm=norm))(
        jax.random.key(seed)
    )
    step = training_step(method, forward, optimizer, total_steps=steps, task=classification(classes))
    run = quick_jit(lambda state, part: jax.lax.scan(lambda s, b: (step(s, b)[0], None), state, part)[0])
    refresh = method.hooks.refresh
    every = method.hooks.refresh_every if refresh else steps

    def look_of(state):
        whole = {"target": jnp.asarray(target)}
        one = lambda domain: forward.one(state.params, state.model, whole[domain], domain, None, False)[0]  # noqa: E731
        return Look(one, lambda domain: whole[domain], lambda: None)

    for start in range(0, steps, every):
        if refresh is not None:
            states = refresh(state.params, States(state.model, state.method), look_of(state))
            state = state.replace(model=states.model, method=states.method)
        state = run(state, jax.tree.map(lambda a, i=start: a[i : i + every], batches))
    predict = make_predict(method, forward, "target")
    params, states = evaluated(method, state.params, States(state.model, state.method))
    return lambda x: np.asarray(predict(params, states.model, jnp.asarray(x, jnp.float32)).logits).argmax(-1)


def blobs(rng: np.random.Generator, centres: np.ndarray, classes, *, each: int = 100, spread: float = 0.35) -> Samples:
    """Gaussian blobs around the rows of ``centres`` that ``classes`` names."""
    labels = np.repeat(np.asarray(classes, np.int32), each)
    noise = rng.normal(size=(len(labels), centres.shape[1])) * spread
    return Samples((centres[labels] + noise).astype(np.float32), labels)


def turned(samples: Samples, degrees: float, *, by: tuple[float, float] = (0.0, 0.0)) -> Samples:
    """The first two coordinates rotated and then translated."""
    a = np.deg2rad(degrees)
    x = samples.inputs.copy()
    x[:, :2] = x[:, :2] @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + np.asarray(by)
    return Samples(x.astype(np.float32), samples.labels)


def circle(classes: int, radius: float = 2.0) -> np.ndarray:
    """Centres ``[classes, 2]`` on a circle."""
    angles = 2 * np.pi * np.arange(classes) / classes
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)
