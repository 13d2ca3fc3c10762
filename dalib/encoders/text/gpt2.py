"""GPT-2 as an encoder of token ids.

The model has no padding token. Texts are filled up on the right with ``pad_id``, by default −1, which is no token. The
causal mask keeps it from every real token, and the features come from the last real one.

Reference: Radford et al. 2019, "Language models are unsupervised multitask learners". Parameters are named ``wte``,
``wpe``, ``block_0`` … as in ``attention.Block``, and ``ln_f``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.checks import unknown_name
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import Ignored, Rule, RuleTable, layer_norm_rules, linear
from dalib.encoders.layers.attention import blocks_of, causal_mask, layer_norm, normal
from dalib.encoders.layers.inputs import check_tokens
from dalib.encoders.layers.layers import leave
from dalib.encoders.text.bert import mean_of_tokens

POOLINGS = ("last", "mean")


class GPT2(nn.Module):
    """A pre-norm transformer over token ids in which every token sees itself and those to its left.

    Attributes:
        vocabulary: number of token ids.
        width: d, of embeddings, blocks (``depth``, ``heads``) and features; the MLPs are four times as wide.
        positions: the longest text, in tokens.
        pad_id: the id that fills up short texts on the right. It may be a token (50256 is usual); then that token
            counts as padding wherever it is.
        pooling: ``"last"``, the state of the last token that is not padding, or ``"mean"`` of all of them.
        dropout: rate on embeddings, branches and the attention's softmax in training.
        remat: store only the blocks' inputs for the gradient.
    """

    vocabulary: int = 50257
    width: int = 768
    depth: int = 12
    heads: int = 12
    positions: int = 1024
    pad_id: int = -1
    epsilon: float = 1e-5
    pooling: str = "last"
    dropout: float = 0.1
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map token ids ``[n, t]``, padded on the right only, to features ``[n, width]``.

        ``hidden`` holds ``embeddings``, ``block_0`` … and ``tokens`` (the last of them after the final LayerNorm), each
        ``[n, t, width]``; at padding they mean nothing. An id outside the vocabulary, other than ``pad_id``, gives NaN.
        """
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", self.pooling, POOLINGS)
        check_tokens(inputs, longest=self.positions, net="GPT2")
        valid = inputs != self.pad_id
        embed = partial(nn.Embed, features=self.width, embedding_init=normal, dtype=self.dtype)
        # Padding takes the embedding of token 0; nothing that is returned for real tokens depends on it.
        x = embed(self.vocabulary, name="wte")(jnp.where(valid, inputs, 0))
        x = x + embed(self.positions, name="wpe")(jnp.arange(inputs.shape[1])[None])
        hidden = {"embeddings": x}
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        options = {"mlp_width": 4 * self.width, "norm_first": True, "epsilon": self.epsilon, "activation": "gelu_tanh"}
        x, states = blocks_of(self, x, mask=causal_mask(inputs.shape[1]), train=train, **options)
        x = layer_norm(self.epsilon, dtype=self.dtype, name="ln_f")(x)
        if self.pooling == "mean":
            features = mean_of_tokens(leave(x), valid)
        else:
            # The last real token alone has seen the whole text.
            last = jnp.maximum(jnp.sum(valid, axis=1) - 1, 0)
            features = leave(jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0])
        return Outputs(features, None, {**hidden, **states, "tokens": x})


ENCODERS: dict[str, Callable[..., GPT2]] = {
    "gpt2": partial(GPT2),
    "gpt2_medium": partial(GPT2, width=1024, depth=24, heads=16),
}

# transformers' layout; its linear layers are stored ``[in, out]``.
_START = r"(?:transformer\.)?"
_LAYER = _START + r"h\.(\d+)"
_QKV = tuple(rf"params/block_\1/attention/{name}" for name in ("query", "key", "value"))
TABLES = {
    "transformers/gpt2": RuleTable(
        "gpt2",
        1,
        (
            Rule(_START + r"(wte|wpe)\.weight", r"params/\1/embedding"),
            *layer_norm_rules(rf"{_LAYER}\.ln_1", r"block_\1/norm1"),
            Rule(rf"{_LAYER}\.attn\.c_attn\.weight", tuple(f"{part}/kernel" for part in _QKV), "split3_columns"),
            Rule(rf"{_LAYER}\.attn\.c_attn\.bias", tuple(f"{part}/bias" for part in _QKV), "split3"),
            *linear(rf"{_LAYER}\.attn\.c_proj", r"block_\1/attention/out", transform="copy"),
            *layer_norm_rules(rf"{_LAYER}\.ln_2", r"block_\1/norm2"),
            *linear(rf"{_LAYER}\.mlp\.c_fc", r"block_\1/mlp/fc1", transform="copy"),
            *linear(rf"{_LAYER}\.mlp\.c_proj", r"block_\1/mlp/fc2", transform="copy"),
            *layer_norm_rules(_START + "ln_f", "ln_f"),
        ),
        (
            Ignored(rf"{_LAYER}\.attn\.(?:bias|masked_bias)", "a buffer with the causal mask, which is computed"),
            Ignored(r"lm_head\.weight", "the language model's output layer, in published files wte once more"),
        ),
    )
}
