"""wav2vec 2.0 (base) as an encoder of waveforms.

Inputs are waveforms ``[n, t]`` at 16 kHz, each brought to mean 0 and variance 1 and then filled up with zeros on the
right (``dalib.data.pad_waveforms`` does both). As in its pretraining the base model gets no mask: zeros at the end are
heard as silence, and the mean over time includes them. Batches of one length, or of similar ones, suffer least.

Reference: Baevski et al. 2020, "wav2vec 2.0". Departures in training: no SpecAugment masks and no LayerDrop.
Parameters: ``conv_0`` … ``conv_6`` and ``conv_norm`` (the feature encoder, usually kept frozen: give it the rate
0), ``projection_norm``, ``projection``, ``positions``, ``norm``, and ``block_0`` … as in ``attention.Block``.
"""

import re
from collections.abc import Callable
from functools import partial
from math import gcd
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dalib.core.checks import input_error
from dalib.core.platform import platform
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import Arrays, Ignored, Rule, RuleTable, convolution, layer_norm_rules, linear
from dalib.encoders.layers.attention import blocks_of, layer_norm
from dalib.encoders.layers.inputs import check_waveforms
from dalib.encoders.layers.layers import leave

gelu = partial(jax.nn.gelu, approximate=False)
TAPS_A_STEP = 8


def grouped_convolution_in_steps(inputs: Array, kernel: Array, padding: tuple[int, int], groups: int) -> Array:
    """Compute a grouped 1-D convolution of stride 1 as a sum over pieces of a long kernel, each a product of matrices.

    ``[n, t, c]``, ``[k, c / groups, d]`` → ``[n, t', d]``. The gradient of ``lax.conv_general_dilated``, which gives
    the same numbers, is several times slower for groups on a CPU.
    """
    size, channels, features = kernel.shape
    n = inputs.shape[0]
    taps = gcd(size, TAPS_A_STEP)
    padded = jnp.pad(inputs, ((0, 0), padding, (0, 0)))
    length = padded.shape[1] - size + 1
    x = padded.reshape(n, -1, groups, channels).transpose(2, 0, 1, 3)
    pieces = kernel.reshape(size // taps, taps * channels, groups, features // groups).transpose(0, 2, 1, 3)

    @jax.checkpoint  # otherwise the gradient keeps the patches of all steps: k times the input
    def step(total: Array, piece: tuple[Array, Array]) -> tuple[Array, None]:
        i, weights = piece
        slices = [lax.dynamic_slice_in_dim(x, i * taps + tap, length, axis=2) for tap in range(taps)]
        return total + jnp.einsum("gntc,gcd->gntd", jnp.concatenate(slices, axis=-1), weights), None

    start = jnp.zeros((groups, n, length, features // groups), jnp.result_type(inputs, kernel))
    total, _ = lax.scan(step, start, (jnp.arange(size // taps), pieces))
    return total.transpose(1, 2, 0, 3).reshape(n, length, features)


def _grouped(inputs: Array, kernel: Array, strides: Any, padding: Any, *, feature_group_count: int, **_: Any) -> Array:
    return grouped_convolution_in_steps(inputs, kernel, padding[0], feature_group_count)


class Wav2Vec2(nn.Module):
    """Seven convolutions over the waveform (one frame per 20 ms), then a post-norm transformer over the frames.

    Attributes:
        channels: of the convolutions; ``kernels`` are their sizes in samples (the first) and frames.
        width: d, of the transformer and the features; ``depth``, ``heads`` and ``mlp_width`` are those of its blocks.
        position_kernel: size of the convolution that gives positions, of ``position_groups`` groups of channels.
        layer: number of the block that gives the features, the mean of its states, from 0; None: the last. Earlier ones
            often transfer better.
        dropout: rate on the projection, branches and the attention's softmax in training.
        remat: store only the blocks' inputs for the gradient.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters are float32.
    """

    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    position_kernel: int = 128
    position_groups: int = 16
    layer: int | None = None
    dropout: float = 0.1
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map waveforms ``[n, samples]`` to features ``[n, width]``; fewer samples than one frame are an InputError.

        ``hidden`` holds ``conv`` ``[n, t, channels]`` (the feature encoder's output), ``embeddings``, ``block_0`` … and
        ``tokens`` (the last of them), each ``[n, t, width]``.
        """
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            got = f"{len(self.channels)} channels, {len(self.kernels)} kernels, {len(self.strides)} strides"
            raise input_error("kernels", got=got, expected="as many of each")
        if self.layer is not None and not 0 <= self.layer < self.depth:
            raise input_error("layer", got=self.layer, expected=f"0 to {self.depth - 1}, or None for the last")
        check_waveforms(inputs, shortest=self.shortest(), net="Wav2Vec2")
        # Post-norm, as in the published base model: the norm comes after positions are added.
        x = self._convolve(inputs[..., None])
        hidden = {"conv": x}
        x = layer_norm(1e-5, dtype=self.dtype, name="projection_norm")(x)
        x = nn.Dense(self.width, dtype=self.dtype, name="projection")(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = layer_norm(1e-5, dtype=self.dtype, name="norm")(x + self._positions(x))
        hidden["embeddings"] = x
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x, states = blocks_of(self, x, train=train, mlp_width=self.mlp_width, norm_first=False, epsilon=1e-5)
        # The mean of one block's states: an earlier block often transfers better than the last.
        pooled = x if self.layer is None else states[f"block_{self.layer}"]
        return Outputs(jnp.mean(leave(pooled), axis=1), None, {**hidden, **states, "tokens": x})

    def shortest(self) -> int:
        """Return the number of samples that one frame needs: 400."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def _convolve(self, x: Array) -> Array:
        for i, (channels, kernel, stride) in enumerate(zip(self.channels, self.kernels, self.strides, strict=True)):
            options: dict[str, Any] = {
                "padding": ((0, 0),),
                "use_bias": False,
                "dtype": self.dtype,
                "name": f"conv_{i}",
            }
            init = nn.initializers.he_normal()
            x = nn.Conv(channels, (kernel,), strides=(stride,), kernel_init=init, **options)(x)
            if i == 0:
                # One group a channel: each is normalised over its own time.
                x = nn.GroupNorm(channels, epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name="conv_norm")(x)
            x = gelu(x)
        return x

    def _positions(self, x: Array) -> Array:
        convolution = nn.Conv(
            self.width,
            (self.position_kernel,),
            padding=((self.position_kernel // 2, (self.position_kernel - 1) // 2),),
            feature_group_count=self.position_groups,
            conv_general_dilated=_grouped if platform() == "cpu" else None,
            dtype=self.dtype,
            name="positions",
        )
        return gelu(convolution(x))


ENCODERS: dict[str, Callable[..., Wav2Vec2]] = {"wav2vec2_base": partial(Wav2Vec2)}

# transformers' layout. The positional convolution is published with weight norm, as a length per tap and a direction,
# under one of two pairs of names; both become the plain kernel here.
_START = r"(?:wav2vec2\.)?"
_LAYER = _START + r"encoder\.layers\.(\d+)"
_DIRECTIONS = {"weight_v": "weight_g", "parametrizations.weight.original1": "parametrizations.weight.original0"}
_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}


def _plain_weights(arrays: Arrays) -> Arrays:
    """Compute g · v / ‖v‖ with the norm over all axes but the taps, in the place of g and v."""
    arrays = dict(arrays)
    for direction, length in _DIRECTIONS.items():
        pattern = re.compile(rf"(.*pos_conv_embed\.conv\.){re.escape(direction)}")
        for match in [m for m in map(pattern.fullmatch, list(arrays)) if m]:
            if (partner := match[1] + length) in arrays:
                v, g = arrays.pop(match[0]), arrays.pop(partner)
                norm = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=(0, 1), keepdims=True))
                arrays[match[1] + "weight"] = (g * (v / norm)).astype(v.dtype)
    return arrays


TABLES = {
    "transformers/wav2vec2": RuleTable(
        "wav2vec2",
        1,
        (
            Rule(_START + r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight", r"params/conv_\1/kernel", "conv"),
            *layer_norm_rules(_START + r"feature_extractor\.conv_layers\.0\.layer_norm", "conv_norm"),
            *layer_norm_rules(_START + r"feature_projection\.layer_norm", "projection_norm"),
            *linear(_START + r"feature_projection\.projection", "projection"),
            *convolution(_START + r"encoder\.pos_conv_embed\.conv", "positions", bias=True),
            *layer_norm_rules(_START + r"encoder\.layer_norm", "norm"),
            *(
                rule
                for theirs, ours in _ATTENTION.items()
                for rule in linear(rf"{_LAYER}\.attention\.{theirs}", rf"block_\1/attention/{ours}")
            ),
            *layer_norm_rules(rf"{_LAYER}\.layer_norm", r"block_\1/norm1"),
            *linear(rf"{_LAYER}\.feed_forward\.intermediate_dense", r"block_\1/mlp/fc1"),
            *linear(rf"{_LAYER}\.feed_forward\.output_dense", r"block_\1/mlp/fc2"),
            *layer_norm_rules(rf"{_LAYER}\.final_layer_norm", r"block_\1/norm2"),
        ),
        (
            Ignored(
                _START + r"mask(?:ed_spec_embed|_time_emb_vector)", "replaces masked frames; nothing is masked here"
            ),
            Ignored(r"(?:quantizer|project_hid|project_q)\..*", "contrastive pretraining's quantiser and projections"),
            Ignored(r"(?:lm_head|classifier|projector)\..*|layer_weights", "a task's head; the encoder ends before it"),
        ),
        _plain_weights,
    )
}
