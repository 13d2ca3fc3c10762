"""One comparison for all convolutional nets: a reference in torch against ours, through a file and our reader."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dalib.core.types import PyTree
from dalib.encoders.checkpoints.variables import flatten
from dalib.encoders.pretrained import assemble, read_arrays
from dalib.encoders.pretrained.tables import TABLES
from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import assert_stage_close, nhwc, randomise, record_hidden, save_state_dict


def images(side: tuple[int, int], batch: int = 2, seed: int = 0) -> np.ndarray:
    """Standardised images ``[batch, h, w, 3]``."""
    return np.random.default_rng(seed).normal(size=(batch, *side, 3)).astype(np.float32)


def to_torch(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def converted(reference: Any, encoder: nn.Module, layout: str, folder: Any, *, without: tuple[str, ...] = ()) -> PyTree:
    """Variables of ``encoder`` from the reference's state dict, written to a real file and read by our reader."""
    path = save_state_dict(reference, folder / "checkpoint.pth")
    like = jax.eval_shape(encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    return jax.tree.map(jnp.asarray, assemble(read_arrays(path), TABLES[layout], like, without=without))


def compare(
    reference: Any,
    encoder: nn.Module,
    layout: str,
    folder: Any,
    stages: Mapping[str, str],
    *,
    odd: tuple[int, int] = (65, 71),
    small: tuple[int, int] = (33, 35),
    side: tuple[int, int] = (64, 64),
    features: str | None = None,
    train: bool = True,
    seed: int = 0,
) -> None:
    """Compares ``encoder`` with ``reference``: evaluation and its gradient on odd sides, training on even ones.

    Args:
        reference: module in torch that returns logits (features for a net without a head); it is randomised here.
        encoder: ours, with the published head.
        layout: name of the rule table.
        folder: where the checkpoint is written.
        stages: our names of hidden activations → the reference's submodules.
        odd: height and width of the images of the evaluation.
        small: of those of the gradient.
        side: of those of the pass in training mode.
        features: the reference's submodule whose output, flattened, is our ``features``.
        train: compare training mode and the statistics after one step too.
        seed: of weights and images.
    """

    randomise(reference, seed, to_torch(images(side, 8, seed + 1)))
    convert = functools.partial(converted, reference, encoder, layout, folder)
    variables = convert()
    watched = dict(stages) | ({"features": features} if features else {})
    evaluation(reference, encoder, variables, stages, images(odd, seed=seed + 2), watched)
    gradient(reference, encoder, variables, images(small, seed=seed + 3))
    if train:
        training(reference, encoder, variables, convert, stages, images(side, 4, seed=seed + 4), watched)


def close(ours: Any, seen: Mapping[str, np.ndarray], logits: Any, stages: Mapping[str, str], name: str) -> None:
    """All stages, features and logits of one pass."""
    for stage in stages:
        assert_stage_close(ours.hidden[stage], nhwc(seen[stage]), f"{name} {stage}")
    if "features" in seen:
        assert_stage_close(ours.features, seen["features"].reshape(len(logits), -1), f"{name} features")
    assert_stage_close(answer(ours), logits, f"{name} logits")


def answer(outputs: Any) -> jax.Array:
    """What a net gives in the end: logits, or the features of one without a head."""
    return outputs.features if outputs.logits is None else outputs.logits


def evaluation(
    reference: Any, encoder: nn.Module, variables: PyTree, stages: Mapping[str, str], x: np.ndarray, watched: Any
) -> None:
    """One pass in evaluation mode."""
    import torch

    with torch.no_grad(), record_hidden(reference, watched) as seen:
        logits = reference(to_torch(x))
    outputs = jax.jit(functools.partial(encoder.apply, train=False))(variables, x)
    close(outputs, seen, logits, stages, "eval")


def gradient(reference: Any, encoder: nn.Module, variables: PyTree, x: np.ndarray) -> None:
    """Gradient of a weighted sum of the logits in the images, to 1e-3 of its largest entry.

    In float64: in float32 a ReLU whose input is zero but for rounding may be on here and off there, which moves the
    gradient of the pixels before it by up to a hundredth and says nothing about the conversion.
    """
    import torch

    reference.double()
    theirs = to_torch(x).double().requires_grad_()
    logits = reference(theirs)
    weights = np.random.default_rng(5).normal(size=tuple(logits.shape))
    (logits * torch.from_numpy(weights)).sum().backward()
    reference.float()
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        value = lambda variables, x: jnp.sum(answer(encoder.apply(variables, x)) * weights)  # noqa: E731
        ours = jax.jit(jax.grad(value, argnums=1))(wide, jnp.asarray(x, jnp.float64))
    assert_stage_close(ours, nhwc(theirs.grad), "gradient", 1e-3)


def training(
    reference: Any,
    encoder: nn.Module,
    variables: PyTree,
    convert: Callable[[], PyTree],
    stages: Mapping[str, str],
    x: np.ndarray,
    watched: Mapping[str, str],
) -> None:
    """One pass in training mode: stages, and the BatchNorm statistics that it leaves.

    torch adds the unbiased variance of the batch to its running variance, we the biased one: theirs is brought to ours
    by (n − 1) / n, n being the number of values a channel; then it goes through the rule table to our names.
    """
    import torch

    norms = [m for m in reference.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = {m: m.running_var.clone() for m in norms}
    counts: dict[Any, int] = {}

    def count(module: Any, given: Any) -> None:
        counts[module] = given[0].numel() // given[0].shape[1]

    with contextlib.ExitStack() as stack:
        for module in norms:
            stack.callback(module.register_forward_pre_hook(count).remove)
        reference.train()
        with torch.no_grad(), record_hidden(reference, watched) as seen:
            logits = reference(to_torch(x))
        reference.eval()
    for module, n in counts.items():  # a detector's neck has some that did not run
        kept = (1 - module.momentum) * before[module]
        module.running_var.copy_(kept + (module.running_var - kept) * (n - 1) / n)
    ours, changed = jax.jit(functools.partial(encoder.apply, train=True, mutable=["batch_stats"]))(variables, x)
    close(ours, seen, logits, stages, "train")
    theirs = flatten({"batch_stats": convert().get("batch_stats", {})})
    assert len(theirs) == 2 * len(counts) > 0
    for path, new in flatten(changed).items():
        assert_stage_close(new, theirs[path], f"train {path}")


def meta_arrays(build: Callable[[], Any]) -> dict[str, np.ndarray]:
    """Names and shapes of a reference's state dict, as arrays that take no memory (one zero, broadcast)."""
    import torch

    with torch.device("meta"):
        state = build().state_dict()
    return {
        name: np.broadcast_to(np.zeros((), np.float32 if x.is_floating_point() else np.int64), tuple(x.shape))
        for name, x in state.items()
    }


def check_names(arrays: Mapping[str, np.ndarray], name: str, layout: str, classes: int = 1000) -> None:
    """Every foreign name is used, every variable filled, all shapes equal; with the head (if any) and without."""
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    heads: list[tuple[int, tuple[str, ...]]] = [(classes, ())] if classes else []
    for num_classes, without in [*heads, (0, ("params/head/",))]:
        like = jax.eval_shape(make_encoder(name, num_classes=num_classes).init, jax.random.key(0), x)
        filled = flatten(assemble(arrays, TABLES[layout], like, without=without))
        assert filled.keys() == flatten(like).keys()
