"""Memory of one device, by kind of use."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from dalib.run.preflight.plan import Step


class Memory(NamedTuple):
    """Bytes on one device.

    Attributes:
        parameters, optimizer: of all groups.
        statistics: batch statistics and the method's own state (and the step's count and key).
        batch: of both domains, as far as the step looks at it.
        padding: bytes that the compiler's layouts add to these arguments.
        temporaries: all else at the moment of the peak: activations, gradients, gathered parts.
        peak: of the whole step, arguments included: the larger of the compiler's two accounts, the most bytes alive at
            once and the sum of its allocations (arguments, results that are not written in place, one arena of
            temporaries). On a CPU only the second counts temporaries; on a TPU either was seen to be the larger.
        aliased: bytes of the state that are written in place, because the state is donated.
        state: bytes that should be aliased: all arguments but the batch.
        code: of the program itself, which is in the same memory and is not part of the peak.
    """

    parameters: int
    optimizer: int
    statistics: int
    batch: int
    padding: int
    temporaries: int
    peak: int
    aliased: int
    state: int
    code: int

    @property
    def donated(self) -> bool:
        """Tell whether (nearly) the whole state is updated in place."""
        return self.aliased >= 0.95 * self.state


def bytes_on_one(tree: Any, places: Any) -> int:
    """Count the bytes of a tree of shapes that one device holds under these shardings."""

    def size(x: Any, place: Any) -> int:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.eval_shape(jax.random.key_data, x)
            return math.prod(x.shape) * np.dtype(x.dtype).itemsize
        return math.prod(place.shard_shape(x.shape)) * x.dtype.itemsize

    return sum(jax.tree.leaves(jax.tree.map(size, tree, places)))


def memory_of(step: Step, compiled: Any) -> Memory:
    """Read a compiled step's own account and divide it by kind."""
    account = compiled.memory_analysis()
    state, places = step.state, step.state_places
    parameters = bytes_on_one(state.params, places.params)
    optimizer = bytes_on_one(state.optimizer, places.optimizer)
    rest = ("step", "model", "method", "key")
    statistics = sum(bytes_on_one(getattr(state, name), getattr(places, name)) for name in rest)
    # The compiler drops what the step does not look at, as a rule the rows of the batch: it has no layout then.
    formats = jax.tree.leaves(compiled.input_formats[0][1])
    arrays = zip(jax.tree.leaves(step.batch), jax.tree.leaves(step.batch_places), formats, strict=True)
    batch = sum(bytes_on_one(x, place) for x, place, form in arrays if form.layout is not None)
    arguments = account.argument_size_in_bytes
    results = account.output_size_in_bytes - account.alias_size_in_bytes
    # The larger of the two accounts; see Memory.peak on why neither is enough.
    peak = max(account.peak_memory_in_bytes, arguments + results + account.temp_size_in_bytes)
    return Memory(
        parameters=parameters,
        optimizer=optimizer,
        statistics=statistics,
        batch=batch,
        padding=arguments - parameters - optimizer - statistics - batch,
        temporaries=peak - arguments,
        peak=peak,
        aliased=account.alias_size_in_bytes,
        state=parameters + optimizer + statistics,
        code=account.generated_code_size_in_bytes,
    )
