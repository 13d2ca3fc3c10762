"""Gradient reversal in PyTorch, for the contestants of the benchmarks. Imports torch only when called."""

from collections.abc import Callable
from typing import Any


def gradient_reversal() -> Callable[[Any, float], Any]:
    """``(x, factor) -> x``, whose gradient is turned and scaled by ``factor``."""
    import torch

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any, factor: float) -> Any:
            context.factor = factor
            return x.view_as(x)

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            return -context.factor * gradients[0], None

    return Reverse.apply
