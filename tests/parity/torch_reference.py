"""What all parity tests share: a reference in torch, randomised, written to a file, watched, and compared.

torch is imported inside the functions; a parity test begins with ``pytest.importorskip("torch")`` and calls
:func:`declare_torchvision_operators` before it imports torchvision or transformers.
"""

import contextlib
import functools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-4


@functools.cache
def declare_torchvision_operators() -> Any:
    """Lets torchvision's CUDA build import beside a torch for CPUs; the library must stay alive, hence the cache."""
    import torch

    with contextlib.suppress(RuntimeError):  # a torchvision with operators of its own
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


def randomise(module: Any, seed: int, *inputs: Any) -> Any:
    """Draws all parameters and BatchNorm statistics anew (fresh ones, zeros and ones, hide errors); evaluation mode.

    Args:
        module: the reference.
        seed: of the draw.
        *inputs: a batch (torch). If given, BatchNorm statistics are around those of this batch, so that activations
            keep their scale through a deep net; otherwise they are around 0 and 1.

    Returns:
        The module.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    normal = functools.partial(torch.randn, generator=generator)
    uniform = lambda shape: 0.5 + torch.rand(shape, generator=generator)  # noqa: E731
    norms = {name for name, m in module.named_modules() if "Norm" in type(m).__name__}
    with torch.no_grad():
        for name, p in module.named_parameters():
            owner, _, leaf = name.rpartition(".")
            scale = ("layer_scale" in leaf) or leaf in ("gamma", "lambda1", "weight_g", "original0")
            if scale or (owner in norms and leaf == "weight"):
                p.copy_(uniform(p.shape))
            elif p.ndim < 2 or p.shape[0] == 1:  # biases, class tokens, positions
                p.copy_(0.2 * normal(p.shape))
            else:
                gain = math.sqrt(2) if p.ndim > 2 else 1.0
                p.copy_(gain / math.sqrt(p.numel() / p.shape[0]) * normal(p.shape))
        for m in module.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.running_mean.copy_(0.3 * normal(m.running_mean.shape))
                m.running_var.copy_(uniform(m.running_var.shape))
                m.num_batches_tracked.fill_(7)
        if inputs:
            _fit_statistics(module.eval(), *inputs)
    return module.eval()


def _fit_statistics(module: Any, *inputs: Any) -> None:
    """Moves and scales the drawn statistics of each BatchNorm to what reaches it, layer by layer in one pass.

    The scale is the root of the second moment: in a deep random net channels hardly vary from input to input, and to
    divide by so small a deviation would make it chaotic, with rounding errors a hundred times larger at every stage.
    """
    from torch import nn

    def fit(norm: Any, given: Any) -> None:
        x = given[0].transpose(0, 1).flatten(1)
        square = x.square().mean(1)
        norm.running_mean.mul_(square.sqrt()).add_(x.mean(1))
        norm.running_var.mul_(square)

    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    hooks = [m.register_forward_pre_hook(fit) for m in norms]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()


def save_state_dict(module: Any, path: str | os.PathLike[str]) -> Path:
    """Writes the reference's ``state_dict``: as safetensors if the name ends so, else with ``torch.save`` (zip)."""
    import torch

    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import save_model

        save_model(module, str(path))
    else:
        torch.save(module.state_dict(), path)
    return path


@contextlib.contextmanager
def record_hidden(module: Any, names: Iterable[str] | Mapping[str, str]) -> Iterator[dict[str, np.ndarray]]:
    """Records the outputs of submodules while the reference runs inside the ``with`` block.

    Args:
        module: the reference.
        names: paths of submodules (``layer1.0``), or a mapping from our name of a stage to such a path.

    Yields:
        A dict, filled at the forward pass, of numpy arrays by the given name, in the reference's own layout (a tuple's
        first element).
    """
    paths = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    found: dict[str, np.ndarray] = {}
    modules = dict(module.named_modules())

    def hook(name: str, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        found[name] = output.detach().clone().numpy()  # cloned: a ReLU in place would change it afterwards

    handles = [
        modules[path].register_forward_hook(lambda _m, _i, output, name=name: hook(name, output))
        for name, path in paths.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def nhwc(x: Any) -> np.ndarray:
    """``[n, c, h, w]`` of torch or numpy → ``[n, h, w, c]`` of numpy."""
    x = x.detach().numpy() if hasattr(x, "detach") else np.asarray(x)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def assert_stage_close(ours: Any, theirs: Any, name: str, tolerance: float = TOLERANCE) -> float:
    """Asserts equal shapes and max |ours − theirs| ≤ tolerance · max |theirs|; returns the relative difference.

    The measured figures go as one JSON line to the file that the environment variable ``DALIB_PARITY_OUT`` names.
    """
    ours = np.asarray(ours, np.float64)
    theirs = (theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)).astype(np.float64)
    assert ours.shape == theirs.shape, f"{name}: {ours.shape} here, {theirs.shape} in the reference"
    scale = float(np.abs(theirs).max())
    error = float(np.abs(ours - theirs).max())
    assert np.isfinite(scale) and scale > 0, f"{name}: the reference's largest activation is {scale}"
    if out := os.environ.get("DALIB_PARITY_OUT"):
        line = {"test": os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0], "stage": name, "max_abs": error}
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"scale": scale, "relative": error / scale, "versions": _versions()}) + "\n")
    assert error <= tolerance * scale, (
        f"{name}: max |difference| {error:.3g}, {error / scale:.3g} of the scale {scale:.3g}"
    )
    return error / scale


@functools.cache
def _versions() -> dict[str, str]:
    import importlib.metadata as metadata

    found = {}
    for package in ("jax", "flax", "torch", "torchvision", "transformers", "timm"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
