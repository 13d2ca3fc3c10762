"""Rule tables of BERT, RoBERTa, DistilBERT and MiniLM in transformers' layouts.

Published files hold the encoder with or without a prefix (``bert.``, ``roberta.``, ``distilbert.``) and often the heads
of pretraining. A net without ``pooling="pooler"`` has no pooler: assemble with ``without=("params/pooler/",)``.
"""

from dalib.weights.rules import Ignored, Rule, RuleTable

HEADS = "belongs to a head of pretraining or of a task; the encoder ends before it"
POSITIONS = "a buffer that counts 0, 1, 2, …; positions are computed"

_BLOCK = r"params/block_\1"


def _norm(pattern: str, target: str) -> tuple[Rule, ...]:
    """LayerNorm; the first files of BERT say gamma and beta, as TensorFlow does."""
    return (
        Rule(rf"{pattern}\.(?:weight|gamma)", f"{target}/scale"),
        Rule(rf"{pattern}\.(?:bias|beta)", f"{target}/bias"),
    )


def _linear(pattern: str, target: str) -> tuple[Rule, ...]:
    return (
        Rule(rf"{pattern}\.weight", f"{target}/kernel", "linear"),
        Rule(rf"{pattern}\.bias", f"{target}/bias"),
    )


def _bert(prefix: str, family: str) -> RuleTable:
    start = rf"(?:{prefix}\.)?"
    layer = rf"{start}encoder\.layer\.(\d+)"
    return RuleTable(
        family=family,
        version=1,
        rules=(
            Rule(
                rf"{start}embeddings\.(word|position|token_type)_embeddings\.weight",
                r"params/\1_embeddings/embedding",
            ),
            *_norm(rf"{start}embeddings\.LayerNorm", "params/embeddings_norm"),
            *_linear(rf"{layer}\.attention\.self\.(query|key|value)", rf"{_BLOCK}/attention/\2"),
            *_linear(rf"{layer}\.attention\.output\.dense", f"{_BLOCK}/attention/out"),
            *_norm(rf"{layer}\.attention\.output\.LayerNorm", f"{_BLOCK}/norm1"),
            *_linear(rf"{layer}\.intermediate\.dense", f"{_BLOCK}/mlp/fc1"),
            *_linear(rf"{layer}\.output\.dense", f"{_BLOCK}/mlp/fc2"),
            *_norm(rf"{layer}\.output\.LayerNorm", f"{_BLOCK}/norm2"),
            *_linear(rf"{start}pooler\.dense", "params/pooler"),
        ),
        ignored=(
            Ignored(rf"{start}embeddings\.(?:position_ids|token_type_ids)", POSITIONS),
            Ignored(r"(?:cls|lm_head|classifier|qa_outputs)\..*", HEADS),
        ),
    )


def _distilbert() -> RuleTable:
    start = r"(?:distilbert\.)?"
    layer = rf"{start}transformer\.layer\.(\d+)"
    attention = {"q_lin": "query", "k_lin": "key", "v_lin": "value", "out_lin": "out"}
    return RuleTable(
        family="distilbert",
        version=1,
        rules=(
            Rule(rf"{start}embeddings\.(word|position)_embeddings\.weight", r"params/\1_embeddings/embedding"),
            *_norm(rf"{start}embeddings\.LayerNorm", "params/embeddings_norm"),
            *(
                rule
                for theirs, ours in attention.items()
                for rule in _linear(rf"{layer}\.attention\.{theirs}", f"{_BLOCK}/attention/{ours}")
            ),
            *_norm(rf"{layer}\.sa_layer_norm", f"{_BLOCK}/norm1"),
            *_linear(rf"{layer}\.ffn\.lin([12])", rf"{_BLOCK}/mlp/fc\2"),
            *_norm(rf"{layer}\.output_layer_norm", f"{_BLOCK}/norm2"),
        ),
        ignored=(
            Ignored(rf"{start}embeddings\.position_ids", POSITIONS),
            Ignored(r"(?:vocab_(?:transform|layer_norm|projector)|pre_classifier|classifier|qa_outputs)\..*", HEADS),
        ),
    )


TABLES = {
    "transformers/bert": _bert("bert", "bert"),
    "transformers/roberta": _bert("roberta", "roberta"),
    "transformers/distilbert": _distilbert(),
}
