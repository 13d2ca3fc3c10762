"""Vision transformers as torchvision, timm, transformers, Facebook (DINO, DINOv2) and OpenAI (CLIP) store them.

The same weights need fields of the net that no checkpoint holds. ``epsilon`` and ``resample`` of ``ViT`` by layout:

======================== ======= ==========
layout                   epsilon resample
======================== ======= ==========
torchvision/vit          1e-6    corners
timm/vit                 1e-6    antialias
transformers/vit         1e-12   half_pixel
facebook/dino            1e-6    offset
facebook/dinov2          1e-6    offset
transformers/dinov2      1e-6    half_pixel
transformers/clip_vision 1e-5    half_pixel
openai/clip              1e-5    –
======================== ======= ==========

DINOv2's register tokens and SwiGLU, DeiT's distillation token and timm's ``fc_norm`` have no counterpart here; files
with them are refused.
"""

from dalib.encoders.checkpoints.rules import Ignored, Rule, RuleTable, convolution, linear

Rules = tuple[Rule, ...]


def _norm(foreign: str, ours: str) -> Rules:
    return (
        Rule(rf"{foreign}\.weight", f"params/{ours}/scale"),
        Rule(rf"{foreign}\.bias", f"params/{ours}/bias"),
    )


def _fused(weight: str, bias: str, ours: str) -> Rules:
    """Query, key and value in one matrix and one bias."""
    parts = ("query", "key", "value")
    return (
        Rule(weight, tuple(f"params/{ours}/{part}/kernel" for part in parts), "split_qkv_linear"),
        Rule(bias, tuple(f"params/{ours}/{part}/bias" for part in parts), "split3"),
    )


def _separate(query: str, key: str, value: str, ours: str) -> Rules:
    return (*linear(query, f"{ours}/query"), *linear(key, f"{ours}/key"), *linear(value, f"{ours}/value"))


def _embedding(token: str, positions: str, patches: str, *, bias: bool = True) -> Rules:
    return (
        Rule(token, "params/cls_token", "squeeze"),
        Rule(positions, "params/pos_embed", "squeeze"),
        *convolution(patches, "patch_embed", bias=bias),
    )


def _torchvision() -> Rules:
    block = r"encoder\.layers\.encoder_layer_(\d+)"
    return (
        *_embedding("class_token", r"encoder\.pos_embedding", "conv_proj"),
        *_norm(rf"{block}\.ln_([12])", r"block_\1/norm\2"),
        *_fused(
            rf"{block}\.self_attention\.in_proj_weight",
            rf"{block}\.self_attention\.in_proj_bias",
            r"block_\1/attention",
        ),
        *linear(rf"{block}\.self_attention\.out_proj", r"block_\1/attention/out"),
        # The published files have the first names; what newer versions of torchvision save has the second ones.
        *linear(rf"{block}\.mlp\.(?:linear_1|0)", r"block_\1/mlp/fc1"),
        *linear(rf"{block}\.mlp\.(?:linear_2|3)", r"block_\1/mlp/fc2"),
        *_norm(r"encoder\.ln", "norm"),
        *linear(r"heads\.head", "head"),
    )


def _timm() -> Rules:
    block = r"blocks\.(\d+)"
    return (
        *_embedding("cls_token", "pos_embed", r"patch_embed\.proj"),
        *_norm("norm_pre", "norm_pre"),
        *_norm(rf"{block}\.norm([12])", r"block_\1/norm\2"),
        *_fused(rf"{block}\.attn\.qkv\.weight", rf"{block}\.attn\.qkv\.bias", r"block_\1/attention"),
        *linear(rf"{block}\.attn\.proj", r"block_\1/attention/out"),
        Rule(rf"{block}\.ls([12])\.gamma", r"params/block_\1/scale\2"),
        *linear(rf"{block}\.mlp\.fc([12])", r"block_\1/mlp/fc\2"),
        *_norm("norm", "norm"),
        *linear("head", "head"),
    )


def _transformers_attention(block: str) -> Rules:
    inner = rf"{block}\.attention\.attention"
    return (
        *_separate(rf"{inner}\.query", rf"{inner}\.key", rf"{inner}\.value", r"block_\1/attention"),
        *linear(rf"{block}\.attention\.output\.dense", r"block_\1/attention/out"),
    )


def _transformers_embedding(prefix: str) -> Rules:
    start = rf"{prefix}embeddings\."
    return _embedding(start + "cls_token", start + "position_embeddings", start + r"patch_embeddings\.projection")


def _transformers_vit() -> Rules:
    prefix = r"(?:vit\.)?"
    block = rf"{prefix}encoder\.layer\.(\d+)"
    return (
        *_transformers_embedding(prefix),
        *_norm(rf"{block}\.layernorm_before", r"block_\1/norm1"),
        *_transformers_attention(block),
        *_norm(rf"{block}\.layernorm_after", r"block_\1/norm2"),
        *linear(rf"{block}\.intermediate\.dense", r"block_\1/mlp/fc1"),
        *linear(rf"{block}\.output\.dense", r"block_\1/mlp/fc2"),
        *_norm(rf"{prefix}layernorm", "norm"),
        *linear("classifier", "head"),
    )


def _transformers_dinov2() -> Rules:
    prefix = r"(?:dinov2\.)?"
    block = rf"{prefix}encoder\.layer\.(\d+)"
    return (
        *_transformers_embedding(prefix),
        *_norm(rf"{block}\.norm([12])", r"block_\1/norm\2"),
        *_transformers_attention(block),
        Rule(rf"{block}\.layer_scale([12])\.lambda1", r"params/block_\1/scale\2"),
        *linear(rf"{block}\.mlp\.fc([12])", r"block_\1/mlp/fc\2"),
        *_norm(rf"{prefix}layernorm", "norm"),
    )


def _transformers_clip() -> Rules:
    block = r"vision_model\.encoder\.layers\.(\d+)"
    start = r"vision_model\.embeddings\."
    attention = rf"{block}\.self_attn"
    return (
        *_embedding(
            start + "class_embedding", start + r"position_embedding\.weight", start + "patch_embedding", bias=False
        ),
        *_norm(r"vision_model\.pre_layrnorm", "norm_pre"),
        *_norm(rf"{block}\.layer_norm([12])", r"block_\1/norm\2"),
        *_separate(rf"{attention}\.q_proj", rf"{attention}\.k_proj", rf"{attention}\.v_proj", r"block_\1/attention"),
        *linear(rf"{attention}\.out_proj", r"block_\1/attention/out"),
        *linear(rf"{block}\.mlp\.fc([12])", r"block_\1/mlp/fc\2"),
        *_norm(r"vision_model\.post_layernorm", "norm"),
        Rule(r"visual_projection\.weight", "params/projection/kernel", "linear"),
    )


def _openai_clip() -> Rules:
    block = r"visual\.transformer\.resblocks\.(\d+)"
    return (
        *_embedding(r"visual\.class_embedding", r"visual\.positional_embedding", r"visual\.conv1", bias=False),
        *_norm(r"visual\.ln_pre", "norm_pre"),
        *_norm(rf"{block}\.ln_([12])", r"block_\1/norm\2"),
        *_fused(rf"{block}\.attn\.in_proj_weight", rf"{block}\.attn\.in_proj_bias", r"block_\1/attention"),
        *linear(rf"{block}\.attn\.out_proj", r"block_\1/attention/out"),
        *linear(rf"{block}\.mlp\.c_fc", r"block_\1/mlp/fc1"),
        *linear(rf"{block}\.mlp\.c_proj", r"block_\1/mlp/fc2"),
        *_norm(r"visual\.ln_post", "norm"),
        Rule(r"visual\.proj", "params/projection/kernel"),
    )


_MASK_TOKEN = "stands for patches that are hidden in pretraining"
_TEXT_TOWER = "CLIP's text tower and the temperature of its loss"

TABLES: dict[str, RuleTable] = {
    "torchvision/vit": RuleTable("vit", 1, _torchvision()),
    "timm/vit": RuleTable("vit", 1, _timm()),
    "facebook/dino": RuleTable("vit", 1, _timm()),
    "facebook/dinov2": RuleTable("vit", 1, _timm(), (Ignored("mask_token", _MASK_TOKEN),)),
    "transformers/vit": RuleTable(
        "vit",
        1,
        _transformers_vit(),
        (
            Ignored(r"(?:vit\.)?pooler\.dense\.(?:weight|bias)", "a tanh layer behind the features"),
            Ignored(r"(?:vit\.)?embeddings\.mask_token", _MASK_TOKEN),
        ),
    ),
    "transformers/dinov2": RuleTable(
        "vit",
        1,
        _transformers_dinov2(),
        (
            Ignored(r"(?:dinov2\.)?embeddings\.mask_token", _MASK_TOKEN),
            Ignored(
                r"classifier\.(?:weight|bias)",
                "a head on the class token beside the mean of the patches",
            ),
        ),
    ),
    "transformers/clip_vision": RuleTable(
        "vit",
        1,
        _transformers_clip(),
        (
            Ignored(r"vision_model\.embeddings\.position_ids", "the integers 0, 1, 2 …"),
            Ignored(r"text_model\..*|text_projection\.weight|logit_scale", _TEXT_TOWER),
        ),
    ),
    "openai/clip": RuleTable(
        "vit",
        1,
        _openai_clip(),
        (
            Ignored(
                r"transformer\..*|token_embedding\.weight|positional_embedding|ln_final\..*|text_projection|logit_scale",
                _TEXT_TOWER,
            ),
            Ignored("input_resolution|context_length|vocab_size", "numbers that describe the net"),
        ),
    ),
}
