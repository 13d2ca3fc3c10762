"""Vision transformers: ViT and DeiT, DINO, DINOv2 and CLIP's image tower, as one net.

References: Dosovitskiy et al. 2021, "An image is worth 16x16 words" (ViT); Touvron et al. 2021, "Training
data-efficient image transformers" (DeiT); Caron et al. 2021, "Emerging properties in self-supervised vision
transformers" (DINO); Oquab et al. 2024, "DINOv2"; Radford et al. 2021, "Learning transferable visual models from
natural language supervision" (CLIP).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.checks import input_error, unknown_name
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.attention import blocks, layer_norm
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import conv, leave
from dalib.encoders.layers.positions import resample_positions
from dalib.encoders.layers.published import PublishedNet, published_head

POOLING: tuple[str, ...] = ("token", "mean")


class ViT(PublishedNet):
    """A vision transformer: patches and a class token, learnt positions, pre-norm blocks, a last LayerNorm.

    Features are ``[n, width]``, or ``[n, projection]``. ``hidden`` holds ``embedded`` (with positions, before the first
    block), ``block_0`` … and ``tokens`` (after the last LayerNorm), each ``[n, 1 + patches, width]`` with the class
    token first and the patches row by row. Parameters: ``patch_embed``, ``cls_token`` ``[d]``, ``pos_embed``
    ``[1 + side², d]``, ``norm_pre`` (CLIP), ``block_0`` … , ``norm``, and where asked for ``projection``, ``head``.

    Attributes (others: :class:`PublishedNet`):
        patch: side of a patch in pixels. Rows and columns of the image beyond whole patches are not seen.
        width: channels d of the tokens.
        depth: number of blocks.
        heads: heads of each attention.
        mlp_ratio: hidden width of each MLP over d.
        image_size: side in pixels of the images that the table of positions is for.
        resample: resampling of the table for images of another size, a name of ``positions.RESAMPLING``. Every
            published net has its own; a grid equal to the table's uses it as it is.
        pooling: ``"token"``, the class token, or ``"mean"`` of the patches' tokens, after the last LayerNorm.
        epsilon: of every LayerNorm, 1e-6 but for transformers' ViT (1e-12) and CLIP (1e-5).
        activation: a name of ``attention.ACTIVATIONS``.
        layer_scale: initial value of a learnt factor per channel on each branch (DINOv2); None: no factors.
        norm_pre: a LayerNorm before the first block, and no bias in the patch embedding (CLIP).
        projection: width of a linear map, without bias, from the pooled token to the features (CLIP: 512 for B, 768 for
            L); 0: none.
        dropout: rate after the positions, after each attention and in each MLP, in training.
        attention_dropout: rate on the attention's softmax in training.
        stochastic_depth: rate in training at which the last block's branches are skipped, rising from 0 at the first.
    """

    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    image_size: int = 224
    resample: str = "half_pixel"
    pooling: str = "token"
    epsilon: float = 1e-6
    activation: str = "gelu"
    layer_scale: float | None = None
    norm_pre: bool = False
    projection: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    stochastic_depth: float = 0.0

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` of at least one patch to features ``[n, d]``."""
        check_images(inputs, smallest=self.patch, net="ViT")
        if self.pooling not in POOLING:
            raise unknown_name("pooling", self.pooling, POOLING)
        if self.image_size < self.patch:
            raise input_error("image_size", got=self.image_size, expected=f"at least one patch of {self.patch} pixels")
        # Patches, class token and positions; CLIP normalises them once more before the first block.
        x = self._embed(inputs)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        if self.norm_pre:
            x = layer_norm(self.epsilon, dtype=self.dtype, name="norm_pre")(x)
        embedded = x
        names = ("remat", "stochastic_depth", "heads", "epsilon", "activation", "layer_scale", "dropout", "dtype")
        fields = {name: getattr(self, name) for name in (*names, "attention_dropout")}
        x, hidden = blocks(x, self.depth, train=train, mlp_width=int(self.width * self.mlp_ratio), **fields)
        # The last LayerNorm is for all tokens, so that pooling by the mean sees normalised ones too.
        x = layer_norm(self.epsilon, dtype=self.dtype, name="norm")(x)
        features = leave(x[:, 0]) if self.pooling == "token" else jnp.mean(leave(x[:, 1:]), axis=1)
        if self.projection:
            project = nn.Dense(self.projection, use_bias=False, dtype=self.dtype, name="projection")
            features = leave(project(features))
        logits = published_head(features, self.num_classes, dtype=self.dtype)
        return Outputs(features, logits, {"embedded": embedded, **hidden, "tokens": x})

    def _embed(self, inputs: Array) -> Array:
        """Make class token and patches ``[n, 1 + patches, width]``, plus positions."""
        options = {"form": self.conv, "use_bias": not self.norm_pre, "dtype": self.dtype, "name": "patch_embed"}
        patches = conv(self.width, self.patch, stride=self.patch, **options)(inputs)
        n, rows, columns, _ = patches.shape
        side = self.image_size // self.patch
        token = self.param("cls_token", nn.initializers.normal(1e-6), (self.width,))
        positions = self.param("pos_embed", nn.initializers.truncated_normal(0.02), (1 + side * side, self.width))
        # Unequal sides resample even where the grid is the table's, as DINO's own code does; the other ways then give
        # the table back.
        if not (rows == columns == side and inputs.shape[1] == inputs.shape[2]):
            grid = resample_positions(positions[1:], (rows, columns), self.resample)
            positions = jnp.concatenate([positions[:1], grid])
        first = jnp.broadcast_to(token.astype(patches.dtype), (n, 1, self.width))
        x = jnp.concatenate([first, patches.reshape(n, rows * columns, self.width)], axis=1)
        return x + positions.astype(x.dtype)[None]


_small = partial(ViT, width=384, depth=12, heads=6)
_base = partial(ViT, width=768, depth=12, heads=12)
_large = partial(ViT, width=1024, depth=24, heads=16)
_dinov2: dict[str, Any] = {"patch": 14, "image_size": 518, "layer_scale": 1e-5, "resample": "offset"}
_clip: dict[str, Any] = {"epsilon": 1e-5, "activation": "quick_gelu", "norm_pre": True}
ENCODERS: dict[str, Callable[..., ViT]] = {
    "vit_s16": partial(_small, patch=16),
    "vit_b16": partial(_base, patch=16),
    "vit_b32": partial(_base, patch=32),
    "vit_l16": partial(_large, patch=16),
    "deit_s16": partial(_small, patch=16, resample="antialias"),
    "deit_b16": partial(_base, patch=16, resample="antialias"),
    "dino_vits16": partial(_small, patch=16, resample="offset"),
    "dino_vits8": partial(_small, patch=8, resample="offset"),
    "dino_vitb16": partial(_base, patch=16, resample="offset"),
    "dinov2_vits14": partial(_small, **_dinov2),
    "dinov2_vitb14": partial(_base, **_dinov2),
    "dinov2_vitl14": partial(_large, **_dinov2),
    "clip_vit_b32": partial(_base, patch=32, **_clip),
    "clip_vit_b16": partial(_base, patch=16, **_clip),
    "clip_vit_l14": partial(_large, patch=14, **_clip),
}
