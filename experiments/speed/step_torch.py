"""PyTorch's side of the step benchmark, as the field's libraries write it. Imports torch only when called."""

import math
import time
from collections.abc import Callable
from typing import Any

from experiments.speed.encoders_torch import reference
from experiments.speed.population_torch import gradient_reversal
from experiments.speed.turns import Built

FORMS = ("eager", "channels_last", "compiled")
MULTIPLIERS = (0.125, 0.25, 0.5, 1.0, 2.0)


def mk_mmd(x: Any, y: Any) -> Any:
    """Unbiased MK-MMD² of ``[n, d]`` and ``[n, d]`` from broadcast differences, bandwidth the mean squared distance."""
    import torch

    n, rows = len(x), torch.cat([x, y]).float()
    squared = (rows[None] - rows[:, None]).square().sum(2)
    variance = squared.mean().detach()
    kernels: Any = sum(torch.exp(-squared / (2 * factor * variance)) for factor in MULTIPLIERS)
    off = 1 - torch.eye(n, device=rows.device)
    within = ((kernels[:n, :n] + kernels[n:, n:]) * off).sum() / (n * (n - 1))
    return within - 2 * kernels[:n, n:].mean()


def coral(x: Any, y: Any) -> Any:
    """``‖C_x − C_y‖² / 4d²`` from the two covariance matrices."""
    import torch

    return (torch.cov(x.float().T) - torch.cov(y.float().T)).square().sum() / (4 * x.shape[1] ** 2)


def build(benchmark: Any, device: str, layout: Any) -> tuple[Any, Any]:
    """Build the net (encoder, bottleneck, head), with features and logits from ``forward``, and DANN's critic."""
    from torch import nn

    from experiments.speed.step_ours import WIDTH

    encoder = reference(benchmark.encoder, benchmark.image_size)
    name, last = list(encoder.named_children())[-1]
    linear = last if isinstance(last, nn.Linear) else [m for m in last.modules() if isinstance(m, nn.Linear)][0]
    setattr(encoder, name, nn.Flatten())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.bottleneck = nn.Sequential(nn.Linear(linear.in_features, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())
            self.head = nn.Linear(WIDTH, benchmark.classes)

        def forward(self, x: Any) -> Any:
            features = self.bottleneck(self.encoder(x))
            return features, self.head(features)

    net: Any = Net().to(device, memory_format=layout)
    hidden = (nn.Linear(WIDTH, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1))
    return net, nn.Sequential(*hidden).to(device)


def optimizer_of(net: Any, critic: Any, method: str) -> Any:
    """SGD with a tenth of the rate for the encoder, and the critic only where the method has one."""
    import torch

    groups: Any = [
        {"params": net.encoder.parameters(), "lr": 0.001},
        {"params": [*net.bottleneck.parameters(), *net.head.parameters()]},
    ]
    if method == "dann":
        groups.append({"params": critic.parameters()})
    return torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3)


def theirs(form: str, benchmark: Any) -> Built:
    """The steps of all methods and dtypes on one net; the seconds of the first call of each as facts."""
    import torch
    from torch.nn import functional as F

    from experiments.speed.step_ours import arrays

    torch.set_num_threads(benchmark.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.contiguous_format if form == "eager" else torch.channels_last
    reverse = gradient_reversal()
    plain, critic = build(benchmark, device, layout)
    net: Any = torch.compile(plain) if form == "compiled" else plain

    def place(x: Any) -> Any:
        return torch.from_numpy(x).to(device).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    source, target, labels = arrays(benchmark)
    source, target, wanted = place(source), place(target), torch.from_numpy(labels).long().to(device)
    n = len(wanted)
    domain = torch.cat([torch.ones(n), torch.zeros(n)]).to(device)

    def adversarial(features: Any) -> Any:
        return F.binary_cross_entropy_with_logits(critic(reverse(features, 0.5))[:, 0].float(), domain)

    losses: dict[str, Callable[[Any], Any]] = {
        "dann": adversarial,
        "dan": lambda features: mk_mmd(features[:n], features[n:]),
        "deep_coral": lambda features: coral(features[:n], features[n:]),
    }

    def caller(method: str, dtype: str) -> Callable[[], Any]:
        optimizer = optimizer_of(plain, critic, method)

        def call() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                features, logits = net(torch.cat([source, target]))
                loss = F.cross_entropy(logits[:n].float(), wanted) + losses[method](features)
            loss.backward()
            optimizer.step()
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"{form}: {method} {dtype} diverged")
            if device == "cuda":
                torch.cuda.synchronize()

        return call

    calls, first = {}, {}
    for dtype in benchmark.dtypes:
        for method in benchmark.methods:
            name = f"{method} {dtype}"
            calls[name] = caller(method, dtype)
            began = time.perf_counter()
            calls[name]()
            first[name] = time.perf_counter() - began
    return calls, {"first_call_s": first}, lambda: None
