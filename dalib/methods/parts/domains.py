"""Several domains in one batch: the order of their rows, and how to take them apart.

A batch of k source domains interleaves them: row r belongs to domain r mod k. Every domain has n/k rows, and each
device holds all domains. :func:`dalib.data.paired_stream` makes such batches of several sources.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dalib.core.checks import InputError
from dalib.core.types import Array
from dalib.methods.view import View


def together(*samples: Array) -> Array:
    """Join the rows of several samples ``[n_i, ...]`` in one array, for one pass through a net. Equal numbers are
    interleaved, so that every example stays on its device when a batch is split over several. Unequal ones are
    concatenated, which re-deals the rows between devices."""
    sizes = {x.shape[0] for x in samples}
    if len(sizes) > 1:
        return jnp.concatenate(samples)
    return jnp.stack(samples, 1).reshape(len(samples) * sizes.pop(), *samples[0].shape[1:])


def apart(rows: Array, n: int) -> tuple[Array, Array]:
    """Undo :func:`together` of two samples, the first of ``n`` rows, in their order."""
    if rows.shape[0] != 2 * n:
        return rows[:n], rows[n:]
    pairs = rows.reshape(n, 2, *rows.shape[1:])
    return pairs[:, 0], pairs[:, 1]


def split_domains(x: Any, sources: int) -> list[Any]:
    """Take interleaved rows apart: a tree of arrays ``[n, ...]`` to k trees of ``[n/k, ...]``; k must divide n."""

    def part(a: Any, i: int) -> Any:
        if a.shape[0] % sources:
            raise InputError(
                f"batch: got {a.shape[0]} source rows for {sources} source domains\n  expected: a multiple of {sources}"
            )
        return a.reshape(a.shape[0] // sources, sources, *a.shape[1:])[:, i]

    return [jax.tree.map(lambda a, i=i: part(a, i), x) for i in range(sources)]


def stack_domains(x: Any, sources: int) -> Any:
    """:func:`split_domains` with the domains in front, for ``vmap``: leaves ``[n, ...]`` become ``[k, n/k, ...]``."""
    return jax.tree.map(lambda *parts: jnp.stack(parts), *split_domains(x, sources))


def domain_losses(view: View, sources: int) -> Array:
    """Mean task loss of each source domain, ``[k]``; equal sizes, so its mean is the mean over all rows."""
    return stack_domains(view.task.loss(view.source, view.labels), sources).mean(1)
