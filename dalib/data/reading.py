"""Reading a batch of examples from a record source: gather, transform, stack."""

from collections.abc import Callable, Sequence

import numpy as np

from dalib.checks import input_error
from dalib.data.domain import Split
from dalib.data.transforms import Transform


def read(
    where: str,
    split: Split,
    rows: Sequence[int] | np.ndarray,
    transform: Transform | None,
    rng: Callable[[int], np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """Examples ``rows`` as one array ``[b, ...]``, and their int32 labels ``[b]``.

    Args:
        where: ``domain/split``, for error messages.
        split: the record source.
        rows: b row numbers.
        transform: applied to every example with a generator of its own; None leaves the raw inputs.
        rng: generator for the i-th of the b examples; called only where there is a transform.

    Raises:
        InputError: examples of one batch that differ in shape.
    """
    inputs, labels = split.__getitems__(rows)  # type: ignore[arg-type]
    if transform is not None:
        inputs = [transform(example, rng(i)) for i, example in enumerate(inputs)]
    if not isinstance(inputs, np.ndarray):
        shapes = sorted({np.shape(example) for example in inputs})
        if len(shapes) > 1:
            raise input_error(
                f"inputs of {where}",
                got=f"examples of shapes {', '.join(map(str, shapes[:5]))} in one batch",
                expected="one shape",
                todo="pass a transform that resizes, for example dalib.data.views.eval_transform(224)",
            )
        inputs = np.stack(inputs)
    return inputs, np.asarray(labels, np.int32)
