"""PyTorch's side of the benchmark of the encoders: the same nets in torchvision and transformers."""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import input_error
from experiments.speed.turns import status_bytes

CLASSES = 1000
"""Classes of the heads."""
TORCHVISION = {"vit_b16": "vit_b_16", "vit_b32": "vit_b_32", "vit_l16": "vit_l_16"}
"""torchvision's names where they are not ours."""
TRANSFORMERS: dict[str, tuple[str, dict[str, int]]] = {
    "bert_base": ("Bert", {}),
    "bert_tiny": (
        "Bert",
        {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
    ),
    "distilbert_base": ("DistilBert", {}),
    "roberta_base": ("Roberta", {"vocab_size": 50265, "max_position_embeddings": 514}),
    "gpt2": ("GPT2", {}),
    "minilm_l6": ("Bert", {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
}
"""Family of transformers and what differs from its default configuration."""
TOKENS = tuple(TRANSFORMERS)
"""Encoders of token ids that transformers has too."""

Calls = tuple[dict[str, Callable[[], Any]], dict[str, float], Callable[[], int]]
"""The calls ``forward`` and ``train``, seconds of their compilation, and a function that gives the peak of memory."""


def has_reference(name: str) -> bool:
    """Whether the library with this net is installed."""
    return importlib.util.find_spec("transformers" if name in TOKENS else "torchvision") is not None


def theirs(benchmark: Any, name: str, inputs: np.ndarray, labels: np.ndarray) -> Calls:
    """PyTorch's two calls."""
    import torch  # type: ignore[import-not-found, unused-ignore]

    torch.set_num_threads(benchmark.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if benchmark.reference == "channels_last" else torch.contiguous_format
    model = reference(name, benchmark.image_size).to(device, memory_format=layout)
    given, wanted = torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device)
    if given.ndim == 4:
        given = given.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)

    def outputs() -> Any:
        out = model(given)
        if name not in TOKENS:
            return out
        return out.last_hidden_state[:, 0] if out.get("pooler_output") is None else out.pooler_output

    def forward() -> None:
        model.eval()
        with torch.inference_mode():
            outputs()
        finish()

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        out = outputs()
        loss = out.square().mean() if name in TOKENS else torch.nn.functional.cross_entropy(out, wanted)
        loss.backward()
        optimizer.step()
        finish()

    finish: Callable[[], Any] = torch.cuda.synchronize if device == "cuda" else lambda: None
    held = sum(x.numel() * x.element_size() for x in (*model.parameters(), given))
    peak = watch_memory(held) if device == "cpu" else torch.cuda.max_memory_allocated
    forward()
    train()
    return {"forward": forward, "train": train}, {"forward": 0.0, "train": 0.0}, peak


def watch_memory(held: int) -> Callable[[], int]:
    """Starts a new peak of this process's memory; the result gives it, beyond what is in use now but for ``held``."""
    base = status_bytes("VmRSS") - held
    Path("/proc/self/clear_refs").write_text("5")
    return lambda: status_bytes("VmHWM") - base


def reference(name: str, image_size: int) -> Any:
    """The same net in PyTorch with random weights.

    Raises:
        InputError: for a net that neither library has.
    """
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):  # a torchvision built for another torch stops at these when it is imported
        with contextlib.suppress(RuntimeError):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    if name in TOKENS:
        import transformers  # type: ignore[import-not-found, unused-ignore]

        family, fields = TRANSFORMERS[name]
        return getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**fields))
    import torchvision  # type: ignore[import-not-found, unused-ignore]

    build = getattr(torchvision.models, TORCHVISION.get(name, name), None)
    if build is None:
        raise input_error(
            "encoder", got=name, expected="a net that torchvision has too", todo="measure it with --reference none"
        )
    return build(num_classes=CLASSES, **({"image_size": image_size} if name.startswith("vit") else {}))
