"""Small nets and batches on which every method is put to the same tests."""

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Batch, Outputs, Source, Target
from dalib.encoders import MLP, Bottleneck, Classifier, LeNet
from dalib.encoders.classifier import LinearHead
from dalib.encoders.layers.layers import leave
from dalib.methods import METHODS, Method
from dalib.tasks import classification
from dalib.train import init_state, make_forward, make_optimizer, training_step
from tests.discrepancy.cases import accepted

CLASSES = 3
STEPS = 10
ALL = sorted(METHODS)
CORE = ("source_only", "dan", "dann", "mcd")
"""One method of each level of the seam: these go through every test by default, the others with ``-m slow``."""

quick_jit = partial(jax.jit, compiler_options=accepted({"xla_backend_optimization_level": 0}))
"""``jax.jit`` without the backend's optimisations, a quarter of the time to compile: for programs that run once or
twice. :func:`compiled` has the real thing."""


class Bag(nn.Module):
    """A text-like encoder: token ids ``[n, t]``, embedded and averaged."""

    dtype: Any = None

    @nn.compact
    def __call__(self, inputs, *, train=False):
        x = nn.Embed(11, 6, dtype=self.dtype)(inputs).mean(1)
        return Outputs(leave(nn.tanh(nn.Dense(12, dtype=self.dtype)(x))), None, {})


def images(rng, n):
    return rng.normal(size=(n, 16, 16, 1)).astype(np.float32)


def vectors(rng, n):
    return rng.normal(size=(n, 5)).astype(np.float32)


def tokens(rng, n):
    return rng.integers(0, 11, (n, 7)).astype(np.int32)


INPUTS = {"images": images, "vectors": vectors, "tokens": tokens}


@lru_cache
def classifier(kind: str, norm: bool = False, dtype: Any = None) -> Classifier:
    """The net of a kind of input; that of images has BatchNorm, the others where asked for."""
    encoder = {
        "images": LeNet(channels=(2, 3), width=4, norm=True, dtype=dtype),
        "vectors": MLP((12,), dtype=dtype),
        "tokens": Bag(dtype=dtype),
    }[kind]
    bottleneck = Bottleneck(width=12, norm=True, dtype=dtype) if norm or kind == "images" else None
    return Classifier(encoder, CLASSES, bottleneck, LinearHead(CLASSES, dtype=dtype))


def batch(kind: str, n: int = 6, m: int = 6, seed: int = 0) -> Batch:
    """``n`` source and ``m`` target examples; every class is present in the source, vectors and images are shifted."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % CLASSES).astype(np.int32)
    shift = 0 if kind == "tokens" else np.float32(1)
    return Batch(Source(INPUTS[kind](rng, n), labels), Target(INPUTS[kind](rng, m) + shift))


@lru_cache
def small_method(name: str) -> Method:
    """The method of the table with its defaults."""
    return METHODS[name]()


def setup(
    method: Method,
    kind: str,
    *,
    batch_norm: str | None = None,
    learning_rate: float = 0.01,
    norm: bool = False,
    dtype: Any = None,
):
    """``(state, step)`` of a method on a small net; the step is not jitted."""
    # AdaBN refuses a net without BatchNorm.
    net = classifier(kind, norm or "adabn" in method.name, dtype)
    convention = batch_norm or method.needs.batch_norm
    optimizer = make_optimizer(learning_rate=learning_rate)
    b = batch(kind)
    state = quick_jit(
        lambda key: init_state(key, net, method, optimizer, jnp.asarray(b.source.inputs), batch_norm=convention)
    )(jax.random.key(0))
    step = training_step(
        method, make_forward(net, convention), optimizer, total_steps=STEPS, task=classification(CLASSES)
    )
    # Half way: schedules that start at 0 (gradient reversal) have an effect from here on.
    return state.replace(step=jnp.asarray(STEPS // 2, jnp.int32)), step


@lru_cache
def compiled(name: str, kind: str = "vectors"):
    """``(state, jitted step)`` of a method of the table; compiled once for all tests, with optimisations but on tokens.

    Images need them: without, jax 0.10 with the flags of ``tests/conftest.py`` gives NaN gradients of max-pooling.
    """
    state, step = setup(small_method(name), kind)
    return state, (quick_jit if kind == "tokens" else jax.jit)(step)


def methods(names: Iterable[str] = ALL, core: tuple[str, ...] = CORE):
    """Test parameters: the methods named, those outside ``core`` marked slow."""
    return [pytest.param(name, marks=() if name in core else pytest.mark.slow) for name in names]


def visible(state):
    """What a step changes, apart from the key."""
    return state.params, state.optimizer, state.model, state.method


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def widened(tree):
    """Floating leaves in float64; only inside ``jax.enable_x64()``."""
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.asarray(x), tree
    )


def moved_groups(old, new) -> set[str]:
    """Names of the parameter groups in which anything is different."""
    return {
        group
        for group in old
        if any((a != b).any() for a, b in zip(leaves(old[group]), leaves(new[group]), strict=True))
    }


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol * max(1.0, float(np.abs(x).max(initial=0))))


def assert_same_bits(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_finite(tree):
    assert all(np.isfinite(x).all() for x in leaves(tree) if x.dtype.kind == "f")
