"""Explanation by occlusion: the fall of the score where a window of the input is covered; no gradients needed."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from dalib.core.checks import input_error


def occlusion(
    score: Callable[[Any], Any], inputs: Any, *, window: tuple[int, ...], stride: tuple[int, ...] = (), value: Any = 0
) -> np.ndarray:
    """Mean fall of the score over all windows that cover a place. Zeiler, Fergus, ECCV 2014.

    Args:
        score: ``inputs [n, ...] -> [n]``; of tokens too.
        inputs: images ``[n, h, w, c]``, series ``[n, t, c]``, texts ``[n, t]``, vectors ``[n, d]``.
        window: its size along the axes after the first, at most all of them; axes beyond are covered whole.
        stride: steps of the window; its size by default. The last window ends with the input.
        value: replaces what is covered: a grey, a mean, a mask's token.

    Returns:
        The inputs' shape along the windowed axes, ``[n, h, w]`` for images; positive where the input speaks for the
        score. It takes one pass a window.
    """
    x = np.asarray(inputs)
    shape = x.shape[1 : 1 + len(window)]
    step = stride or window
    fits = x.ndim >= 2 and len(x) and len(window) == len(shape) == len(step) and window
    if not fits or any(not 1 <= w <= size or s < 1 for w, size, s in zip(window, shape, step, strict=True)):
        expected = f"sizes from 1 to those of the input, {x.shape[1:]}, and strides ≥ 1"
        raise input_error("window", got=f"{window} with strides {step}", expected=expected)
    plain = np.asarray(score(x), np.float64)
    if plain.shape != x.shape[:1]:
        raise input_error("score", got=f"shape {plain.shape}", expected=f"{x.shape[:1]}, one number an example")
    fall, count = np.zeros((len(x), *shape)), np.zeros(shape)
    # A last window that ends with the input: borders are covered too.
    starts = [sorted({*range(0, size - w + 1, s), size - w}) for w, size, s in zip(window, shape, step, strict=True)]
    for corner in product(*starts):
        place = tuple(slice(at, at + w) for at, w in zip(corner, window, strict=True))
        covered = x.copy()
        covered[(slice(None), *place)] = value
        # Every place under the window shares the fall equally.
        drop = plain - np.asarray(score(covered), np.float64)
        fall[(slice(None), *place)] += drop.reshape(-1, *[1] * len(shape))
        count[place] += 1
    # Strides beyond the window leave gaps that nothing covered.
    return fall / np.maximum(count, 1)
