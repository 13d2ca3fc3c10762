"""Rule table of GPT-2 in transformers' layout, whose linear layers are stored ``[in, out]``."""

from dalib.weights.rules import Ignored, Rule, RuleTable

_START = r"(?:transformer\.)?"
_LAYER = _START + r"h\.(\d+)"
_BLOCK = r"params/block_\1"
_QKV = tuple(f"{_BLOCK}/attention/{name}" for name in ("query", "key", "value"))


def _norm(pattern: str, target: str) -> tuple[Rule, ...]:
    return Rule(rf"{pattern}\.weight", f"{target}/scale"), Rule(rf"{pattern}\.bias", f"{target}/bias")


def _linear(pattern: str, target: str) -> tuple[Rule, ...]:
    return Rule(rf"{pattern}\.weight", f"{target}/kernel"), Rule(rf"{pattern}\.bias", f"{target}/bias")


TABLES = {
    "transformers/gpt2": RuleTable(
        family="gpt2",
        version=1,
        rules=(
            Rule(_START + r"(wte|wpe)\.weight", r"params/\1/embedding"),
            *_norm(rf"{_LAYER}\.ln_1", f"{_BLOCK}/norm1"),
            Rule(rf"{_LAYER}\.attn\.c_attn\.weight", tuple(f"{t}/kernel" for t in _QKV), "split3_columns"),
            Rule(rf"{_LAYER}\.attn\.c_attn\.bias", tuple(f"{t}/bias" for t in _QKV), "split3"),
            *_linear(rf"{_LAYER}\.attn\.c_proj", f"{_BLOCK}/attention/out"),
            *_norm(rf"{_LAYER}\.ln_2", f"{_BLOCK}/norm2"),
            *_linear(rf"{_LAYER}\.mlp\.c_fc", f"{_BLOCK}/mlp/fc1"),
            *_linear(rf"{_LAYER}\.mlp\.c_proj", f"{_BLOCK}/mlp/fc2"),
            *_norm(_START + r"ln_f", "params/ln_f"),
        ),
        ignored=(
            Ignored(rf"{_LAYER}\.attn\.(?:bias|masked_bias)", "a buffer with the causal mask, which is computed"),
            Ignored(r"lm_head\.weight", "the language model's output layer, in published files wte once more"),
        ),
    ),
}
