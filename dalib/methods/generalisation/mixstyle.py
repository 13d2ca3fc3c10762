"""MixStyle: the style of an example's feature maps mixed with that of an example of another source domain."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.options import Count, Positive, Share, checked
from dalib.core.types import Array, Metrics, Params
from dalib.methods.base import Method, Needs, Update
from dalib.methods.view import View

PLACES = ("layer2_0", "layer3_0", "conv2")
"""Modules before which styles are mixed: after the first and second stage of a ResNet, the first layer of a LeNet."""


def style(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each example, with kept axes and without gradient; 1e-6 is added to the variance.
    They are one a channel (over pixels or tokens, divisor n), or one a row for vectors ``[n, d]``."""
    axes = tuple(range(1, x.ndim - 1)) or (1,)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return jax.lax.stop_gradient(mean), jax.lax.stop_gradient(jnp.sqrt(variance + 1e-6))


def partners(key: Array, n: int, sources: int) -> Array:
    """For each of n interleaved rows a row ``[n]`` of another domain; every row is a partner exactly once. With one
    domain, a random permutation. Raises an InputError when n is not a multiple of the number of domains."""
    if n % sources:
        raise input_error("batch", got=f"{n} rows for {sources} source domains", expected=f"a multiple of {sources}")
    within, shift = jax.random.split(key)
    rows = jax.vmap(lambda k: jax.random.permutation(k, n // sources))(jax.random.split(within, sources)).T
    # One shift for all domains keeps it a permutation; within a domain rows are shuffled.
    step = jax.random.randint(shift, (), 1, sources, jnp.int32) if sources > 1 else 0
    domain = (jnp.arange(sources) + step) % sources
    return (rows * sources + domain[None]).reshape(n)


def mix_styles(key: Array, x: Array, *, sources: int = 2, probability: Any = 0.5, alpha: Any = 0.1) -> Array:
    """``σ_mix (x − μ)/σ + μ_mix`` with ``μ_mix = λμ + (1 − λ)μ'`` of the partner's style, λ ~ Beta(α, α) a row.

    Args:
        key: of the partners, the λ and the coin that decides about the whole batch.
        x: ``[n, ..., channels]``, rows of ``sources`` domains interleaved.
        sources: number of domains.
        probability: of mixing; otherwise x comes back as it was.
        alpha: α.
    """
    keys = jax.random.split(key, 3)
    mean, deviation = style(x)
    other = partners(keys[0], x.shape[0], sources)
    # Drawn in float32 whatever x is: another dtype would draw other numbers.
    share = jax.random.beta(keys[1], alpha, alpha, (x.shape[0],), jnp.float32).astype(x.dtype)
    share = share.reshape(-1, *(1,) * (x.ndim - 1))
    new_mean = share * mean + (1 - share) * mean[other]
    new_deviation = share * deviation + (1 - share) * deviation[other]
    mixed = new_deviation * ((x - mean) / deviation) + new_mean
    return jnp.where(jax.random.bernoulli(keys[2], jnp.asarray(probability, jnp.float32)), mixed, x)


@contextmanager
def mixing(mix: Callable[[int, Array], Array], places: Sequence[tuple[str, ...]]) -> Iterator[None]:
    """Apply ``mix(i, x)`` to the input of the module at ``places[i]`` inside this context, on any Linen net."""

    def hook(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        # By interception, so that no encoder has to know of MixStyle.
        if context.method_name == "__call__" and context.module.path in places:
            args = (mix(places.index(context.module.path), args[0]), *args[1:])
        return call(*args, **kwargs)

    with nn.intercept_methods(hook):
        yield


@checked
def mixstyle(
    *,
    probability: Share = 0.5,
    alpha: Positive = 0.1,
    before: Sequence[str] | None = None,
    sources: Count = 2,
) -> Method:
    """Domain generalisation: task loss of source rows with feature statistics mixed across domains inside the encoder
    (Zhou, Yang, Qiao, Xiang, ICLR 2021, arXiv 2104.02008, section 2). It mixes the inputs of named modules; the paper
    mixes after the first two stages of a ResNet (``layer2_0`` and ``layer3_0``). **Nets without any of these places**
    (vectors, texts) are mixed once, at the encoder's features, with one mean and deviation a row: our extension, and a
    weak one. Results depend on the order of rows. Metrics: ``loss/task`` (of mixed features), ``accuracy/source``.

    Args:
        probability: with which a batch is mixed at each place.
        alpha: α of Beta(α, α); 0.1 in the paper.
        before: the encoder's modules with mixed inputs; None takes those of :data:`PLACES` that it has.
        sources: k interleaved source domains, which must divide the batch. A row's partner is of another domain (the
            paper's variant with domain labels); with 1 any row (its random shuffle).
    """

    def places(params: Params) -> list[tuple[str, ...]]:
        known = list(params["encoder"])
        if before is not None:
            if missing := [name for name in before if name not in known]:
                raise input_error("before", got=", ".join(missing), expected=f"modules of the encoder: {known}")
            return [("encoder", name) for name in before]
        found: list[tuple[str, ...]] = [("encoder", name) for name in PLACES if name in known]
        return found or [("bottleneck",) if "bottleneck" in params else ("head",)]

    def loss(view: View) -> tuple[Array, View, Metrics]:
        keys = jax.random.split(view.key, 3)

        def mix(i: int, x: Array) -> Array:
            key = jax.random.fold_in(keys[0], i)
            return mix_styles(key, x, sources=sources, probability=probability, alpha=alpha)

        with mixing(mix, places(view.params)):
            source, view = view.again(view.batch.source.inputs, "source", key=keys[1])
        # Nothing is mixed here: only penalties of a sum use the target's pass.
        target, view = view.again(view.batch.target.inputs, "target", key=keys[2])
        view = view.show(source, target)
        value = view.task.loss(source, view.labels).mean()
        return value, view, {"loss/task": value, **view.task.quality(source, view.labels)}

    needs = Needs("generalisation", sources, batch_norm="source")
    return Method("mixstyle", updates=(Update("supervised", loss),), needs=needs)
