"""The population benchmark as a plain PyTorch training loop, and gradient reversal. Imports torch only when called."""

from collections.abc import Callable
from typing import Any

import numpy as np


def gradient_reversal() -> Callable[[Any, float], Any]:
    """Make ``(x, factor) -> x`` with its gradient reversed and scaled by ``factor``."""
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


def torch_contestant(problem: Any, benchmark: Any) -> Callable[[], int]:
    """A loop of DANN steps on one run: the same net, losses, batch sizes and optimiser, on the GPU if there is one."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(benchmark.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    reverse = gradient_reversal()

    if problem.name == "lenet":
        side = ((benchmark.size - 4) // 2 - 4) // 2
        encoder: Any = nn.Sequential(
            *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(50 * side * side, 500), nn.ReLU()),
        )
        width, inputs = 500, np.ascontiguousarray(problem.inputs.transpose(0, 3, 1, 2))
    else:
        encoder, width, inputs = nn.Sequential(nn.Linear(2048, 256), nn.ReLU()), 256, problem.inputs
    layers: list[Any] = []
    for before, after in zip((width, *problem.hidden), problem.hidden, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    critic: Any = nn.Sequential(*layers, nn.Linear(problem.hidden[-1], 1))
    head: Any = nn.Linear(width, problem.classes)
    nets = nn.ModuleList([encoder, head, critic]).to(device)
    optimizer = torch.optim.SGD(nets.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.from_numpy(inputs).to(device), torch.from_numpy(problem.labels.astype(np.int64)).to(device)
    b, half = benchmark.batch_size, len(problem.inputs) // 2
    domain = torch.cat([torch.ones(b), torch.zeros(b)]).to(device)
    rng = np.random.default_rng(0)

    def go() -> int:
        for step in range(benchmark.steps):
            rows = torch.from_numpy(rng.integers(0, half, 2 * b)).to(device)
            source, target = rows[:b], rows[b:] + half
            features = encoder(torch.cat([x[source], x[target]]))
            loss = F.cross_entropy(head(features[:b]), y[source])
            logits = critic(reverse(features, step / benchmark.steps))[:, 0]
            loss = loss + F.binary_cross_entropy_with_logits(logits, domain)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not np.isfinite(loss.item()):
            raise FloatingPointError("the PyTorch loop diverged")
        return benchmark.steps

    return go
