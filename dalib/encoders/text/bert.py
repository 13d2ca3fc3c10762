"""BERT and its relatives as encoders of token ids: RoBERTa, DistilBERT, MiniLM.

The input is one array of token ids ``[n, t]``, so that streams and methods treat text as they treat images. All other
inputs of the model follow from the ids: attention is kept off the padding id, positions count from the left (RoBERTa:
over the tokens that are not padding), and the token type is 0 throughout (a single text, never a pair).
``dalib.data.encode`` makes such arrays.

References: Devlin et al. 2019, "BERT"; Liu et al. 2019, "RoBERTa"; Sanh et al. 2019, "DistilBERT"; Wang et al. 2020,
"MiniLM"; Reimers and Gurevych 2019, "Sentence-BERT" (mean of tokens). Hyper-parameters are those of the published
configurations. Parameters: ``word_embeddings``, ``position_embeddings``, ``token_type_embeddings``,
``embeddings_norm``, ``block_0`` … as in ``attention.Block``, and ``pooler``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import unknown_name
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import Ignored, Rule, RuleTable, linear
from dalib.encoders.layers.attention import blocks_of, layer_norm, normal, padding_mask
from dalib.encoders.layers.inputs import check_tokens
from dalib.encoders.layers.layers import leave

POOLINGS = ("cls", "pooler", "mean")


def mean_of_tokens(tokens: Array, valid: Array) -> Array:
    """Take the mean of ``tokens`` ``[n, t, d]`` over positions where ``valid`` ``[n, t]``; 0 for a text without any."""
    weights = valid.astype(tokens.dtype)[..., None]
    return jnp.sum(tokens * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1)


def unit_length(features: Array) -> Array:
    """Divide rows of ``features`` ``[n, d]`` by their Euclidean norm; a row of zeros stays one, with gradient 0."""
    squares = jnp.sum(features**2, axis=-1, keepdims=True)
    return features * jax.lax.rsqrt(jnp.maximum(squares, 1e-24))


class BERT(nn.Module):
    """A post-norm transformer over token ids.

    Attributes:
        vocabulary: number of token ids; ``pad_id`` is the one that fills up short texts.
        width: d, of embeddings, blocks and features; ``depth``, ``heads`` and ``mlp_width`` are those of the blocks.
        positions: rows of the position table.
        position_offset: row of the first token. Above 0 (RoBERTa: 2) positions count the tokens that are not padding,
            and padding has row ``position_offset - 1``.
        token_types: rows of the token type table, of which row 0 is used; 0: no such table (DistilBERT).
        pooling: ``"cls"``, the first token's last state; ``"pooler"``, tanh of a linear layer on it, which published
            files of RoBERTa and DistilBERT lack; ``"mean"`` of all tokens that are not padding.
        normalize: divide the features by their Euclidean norm, as sentence encoders do.
        dropout: rate on embeddings, branches and the attention's softmax in training.
        remat: store only the blocks' inputs for the gradient.
    """

    vocabulary: int = 30522
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    positions: int = 512
    position_offset: int = 0
    token_types: int = 2
    pad_id: int = 0
    epsilon: float = 1e-12
    pooling: str = "cls"
    normalize: bool = False
    dropout: float = 0.1
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map token ids ``[n, t]``, t at most the positions, to features ``[n, width]``.

        ``hidden`` holds ``embeddings``, ``block_0`` … and ``tokens`` (the last of them), each ``[n, t, width]``. An id
        outside the vocabulary gives NaN (inside ``jit`` nothing can be raised).
        """
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", self.pooling, POOLINGS)
        check_tokens(inputs, longest=self.positions - self.position_offset, net="BERT")
        # Everything but the ids follows from them, so that a batch of texts is one array.
        valid = inputs != self.pad_id
        x = self._embed("word_embeddings", self.vocabulary)(inputs)
        if self.token_types:
            x = x + self._embed("token_type_embeddings", self.token_types)(jnp.zeros_like(inputs))
        x = x + self._embed("position_embeddings", self.positions)(self._positions(valid))
        x = layer_norm(self.epsilon, dtype=self.dtype, name="embeddings_norm")(x)
        hidden = {"embeddings": x}
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        options = {"mlp_width": self.mlp_width, "norm_first": False, "epsilon": self.epsilon}
        x, states = blocks_of(self, x, mask=padding_mask(valid), train=train, **options)
        # The mean leaves padding out; the first token is always real.
        features = mean_of_tokens(leave(x), valid) if self.pooling == "mean" else leave(x[:, 0])
        if self.pooling == "pooler":
            pooler = nn.Dense(self.width, kernel_init=normal, dtype=self.dtype, name="pooler")
            features = leave(jnp.tanh(pooler(x[:, 0])))
        if self.normalize:
            features = unit_length(features)
        return Outputs(features, None, {**hidden, **states, "tokens": x})

    def _embed(self, name: str, rows: int) -> nn.Embed:
        return nn.Embed(rows, self.width, embedding_init=normal, dtype=self.dtype, name=name)

    def _positions(self, valid: Array) -> Array:
        if self.position_offset == 0:
            return jnp.arange(valid.shape[1])[None]
        return jnp.where(valid, jnp.cumsum(valid, axis=1) - 1, -1) + self.position_offset


ENCODERS: dict[str, Callable[..., BERT]] = {
    "bert_base": partial(BERT),
    "bert_large": partial(BERT, width=1024, depth=24, heads=16, mlp_width=4096),
    "bert_tiny": partial(BERT, width=128, depth=2, heads=2, mlp_width=512),
    "roberta_base": partial(
        BERT, vocabulary=50265, positions=514, position_offset=2, token_types=1, pad_id=1, epsilon=1e-5
    ),
    "distilbert_base": partial(BERT, depth=6, token_types=0),
    "minilm_l6": partial(BERT, width=384, depth=6, mlp_width=1536, pooling="mean", normalize=True),
    "minilm_l12": partial(BERT, width=384, depth=12, mlp_width=1536, pooling="mean", normalize=True),
}

# Rule tables of transformers' layouts. Published files hold the encoder with or without a prefix (``bert.``,
# ``roberta.``, ``distilbert.``) and often the heads of pretraining. A net without ``pooling="pooler"`` has no pooler:
# assemble with ``without=("params/pooler/",)``.
HEADS = "belongs to a head of pretraining or of a task; the encoder ends before it"
POSITIONS = "a buffer that counts 0, 1, 2, …; positions are computed"


def _norm(pattern: str, ours: str) -> tuple[Rule, ...]:
    """Make rules for LayerNorm; the first files of BERT say gamma and beta, as TensorFlow does."""
    return (
        Rule(rf"{pattern}\.(?:weight|gamma)", f"params/{ours}/scale"),
        Rule(rf"{pattern}\.(?:bias|beta)", f"params/{ours}/bias"),
    )


def _bert(prefix: str) -> RuleTable:
    start = rf"(?:{prefix}\.)?"
    layer = rf"{start}encoder\.layer\.(\d+)"
    return RuleTable(
        prefix,
        1,
        (
            Rule(
                rf"{start}embeddings\.(word|position|token_type)_embeddings\.weight", r"params/\1_embeddings/embedding"
            ),
            *_norm(rf"{start}embeddings\.LayerNorm", "embeddings_norm"),
            *linear(rf"{layer}\.attention\.self\.(query|key|value)", r"block_\1/attention/\2"),
            *linear(rf"{layer}\.attention\.output\.dense", r"block_\1/attention/out"),
            *_norm(rf"{layer}\.attention\.output\.LayerNorm", r"block_\1/norm1"),
            *linear(rf"{layer}\.intermediate\.dense", r"block_\1/mlp/fc1"),
            *linear(rf"{layer}\.output\.dense", r"block_\1/mlp/fc2"),
            *_norm(rf"{layer}\.output\.LayerNorm", r"block_\1/norm2"),
            *linear(rf"{start}pooler\.dense", "pooler"),
        ),
        (
            Ignored(rf"{start}embeddings\.(?:position_ids|token_type_ids)", POSITIONS),
            Ignored(r"(?:cls|lm_head|classifier|qa_outputs)\..*", HEADS),
        ),
    )


def _distilbert() -> RuleTable:
    start = r"(?:distilbert\.)?"
    layer = rf"{start}transformer\.layer\.(\d+)"
    attention = {"q_lin": "query", "k_lin": "key", "v_lin": "value", "out_lin": "out"}
    separate = [linear(rf"{layer}\.attention\.{a}", rf"block_\1/attention/{b}") for a, b in attention.items()]
    return RuleTable(
        "distilbert",
        1,
        (
            Rule(rf"{start}embeddings\.(word|position)_embeddings\.weight", r"params/\1_embeddings/embedding"),
            *_norm(rf"{start}embeddings\.LayerNorm", "embeddings_norm"),
            *(rule for rules in separate for rule in rules),
            *_norm(rf"{layer}\.sa_layer_norm", r"block_\1/norm1"),
            *linear(rf"{layer}\.ffn\.lin([12])", r"block_\1/mlp/fc\2"),
            *_norm(rf"{layer}\.output_layer_norm", r"block_\1/norm2"),
        ),
        (
            Ignored(rf"{start}embeddings\.position_ids", POSITIONS),
            Ignored(r"(?:vocab_(?:transform|layer_norm|projector)|pre_classifier|classifier|qa_outputs)\..*", HEADS),
        ),
    )


TABLES = {
    "transformers/bert": _bert("bert"),
    "transformers/roberta": _bert("roberta"),
    "transformers/distilbert": _distilbert(),
}
