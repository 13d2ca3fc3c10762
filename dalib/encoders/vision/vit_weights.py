"""Rule tables for vision transformers of torchvision, timm, transformers, Facebook (DINO, DINOv2) and OpenAI (CLIP).

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

from dalib.encoders.checkpoints.rules import Ignored, Rule, RuleTable, convolution, layer_norm_rules, linear

Rules = tuple[Rule, ...]
QKV = ("query", "key", "value")


def _embedding(token: str, positions: str, patches: str, *, bias: bool = True) -> Rules:
    return (
        Rule(token, "params/cls_token", "squeeze"),
        Rule(positions, "params/pos_embed", "squeeze"),
        *convolution(patches, "patch_embed", bias=bias),
    )


def _block(block: str, norms: str, qkv: str, out: str, mlp: str, scale: str = "") -> Rules:
    """Make rules of the blocks: ``block`` is a pattern with the number as its only group, the others come after it.

    ``norms`` and ``mlp`` are two names, ``qkv`` three linear layers, or weight and bias of a fused one; ``scale`` has a
    place for the number of a branch.
    """
    parts = tuple(rf"params/block_\1/attention/{part}" for part in QKV)
    rules: list[Rule] = []
    # Two names are weight and bias of a fused matrix, three are separate layers.
    if len(names := qkv.split()) == 2:
        rules.append(Rule(rf"{block}\.{names[0]}", tuple(f"{part}/kernel" for part in parts), "split_qkv_linear"))
        rules.append(Rule(rf"{block}\.{names[1]}", tuple(f"{part}/bias" for part in parts), "split3"))
    else:
        for theirs, ours in zip(names, QKV, strict=True):
            rules += linear(rf"{block}\.{theirs}", rf"block_\1/attention/{ours}")
    rules += linear(rf"{block}\.{out}", r"block_\1/attention/out")
    for i, norm, layer in zip((1, 2), norms.split(), mlp.split(), strict=True):
        rules += layer_norm_rules(rf"{block}\.{norm}", rf"block_\1/norm{i}")
        rules += linear(rf"{block}\.{layer}", rf"block_\1/mlp/fc{i}")
        if scale:
            rules.append(Rule(rf"{block}\.{scale.format(i)}", rf"params/block_\1/scale{i}"))
    return tuple(rules)


def _transformers(prefix: str, norms: str, mlp: str, scale: str = "") -> Rules:
    start, qkv = rf"{prefix}embeddings\.", " ".join(rf"attention\.attention\.{part}" for part in QKV)
    return (
        *_embedding(start + "cls_token", start + "position_embeddings", start + r"patch_embeddings\.projection"),
        *_block(rf"{prefix}encoder\.layer\.(\d+)", norms, qkv, r"attention\.output\.dense", mlp, scale),
        *layer_norm_rules(rf"{prefix}layernorm", "norm"),
    )


_TORCHVISION_BLOCK, _OPENAI_BLOCK = r"encoder\.layers\.encoder_layer_(\d+)", r"visual\.transformer\.resblocks\.(\d+)"
_FUSED = r"{0}\.in_proj_weight {0}\.in_proj_bias"
TORCHVISION = (
    *_embedding("class_token", r"encoder\.pos_embedding", "conv_proj"),
    *_block(
        _TORCHVISION_BLOCK,
        "ln_1 ln_2",
        _FUSED.format("self_attention"),
        r"self_attention\.out_proj",
        # The published files have the first names; what newer versions of torchvision save has the second ones.
        r"mlp\.(?:linear_1|0) mlp\.(?:linear_2|3)",
    ),
    *layer_norm_rules(r"encoder\.ln", "norm"),
    *linear(r"heads\.head", "head"),
)
_TIMM_QKV = r"attn\.qkv\.weight attn\.qkv\.bias"
TIMM = (
    *_embedding("cls_token", "pos_embed", r"patch_embed\.proj"),
    *layer_norm_rules("norm_pre", "norm_pre"),
    *_block(r"blocks\.(\d+)", "norm1 norm2", _TIMM_QKV, r"attn\.proj", r"mlp\.fc1 mlp\.fc2", r"ls{}\.gamma"),
    *layer_norm_rules("norm", "norm"),
    *linear("head", "head"),
)
_BERT_MLP = r"intermediate\.dense output\.dense"
TRANSFORMERS_VIT = (
    *_transformers(r"(?:vit\.)?", "layernorm_before layernorm_after", _BERT_MLP),
    *linear("classifier", "head"),
)
TRANSFORMERS_DINOV2 = _transformers(r"(?:dinov2\.)?", "norm1 norm2", r"mlp\.fc1 mlp\.fc2", r"layer_scale{}\.lambda1")
_CLIP, _CLIP_QKV = r"vision_model\.embeddings\.", " ".join(rf"self_attn\.{part}_proj" for part in "qkv")
TRANSFORMERS_CLIP = (
    *_embedding(
        _CLIP + "class_embedding", _CLIP + r"position_embedding\.weight", _CLIP + "patch_embedding", bias=False
    ),
    *layer_norm_rules(r"vision_model\.pre_layrnorm", "norm_pre"),
    *_block(
        r"vision_model\.encoder\.layers\.(\d+)",
        "layer_norm1 layer_norm2",
        _CLIP_QKV,
        r"self_attn\.out_proj",
        r"mlp\.fc1 mlp\.fc2",
    ),
    *layer_norm_rules(r"vision_model\.post_layernorm", "norm"),
    Rule(r"visual_projection\.weight", "params/projection/kernel", "linear"),
)
OPENAI_CLIP = (
    *_embedding(r"visual\.class_embedding", r"visual\.positional_embedding", r"visual\.conv1", bias=False),
    *layer_norm_rules(r"visual\.ln_pre", "norm_pre"),
    *_block(_OPENAI_BLOCK, "ln_1 ln_2", _FUSED.format("attn"), r"attn\.out_proj", r"mlp\.c_fc mlp\.c_proj"),
    *layer_norm_rules(r"visual\.ln_post", "norm"),
    Rule(r"visual\.proj", "params/projection/kernel"),
)

_MASK_TOKEN = "replaces patches that are hidden in pretraining"
_TEXT_TOWER = "CLIP's text tower and the temperature of its loss"
_TEXT = r"transformer\..*|token_embedding\.weight|positional_embedding|ln_final\..*|text_projection|logit_scale"
_LAYOUTS: dict[str, tuple[Rules, tuple[Ignored, ...]]] = {
    "torchvision/vit": (TORCHVISION, ()),
    "timm/vit": (TIMM, ()),
    "facebook/dino": (TIMM, ()),
    "facebook/dinov2": (TIMM, (Ignored("mask_token", _MASK_TOKEN),)),
    "transformers/vit": (
        TRANSFORMERS_VIT,
        (
            Ignored(r"(?:vit\.)?pooler\.dense\.(?:weight|bias)", "a tanh layer after the features"),
            Ignored(r"(?:vit\.)?embeddings\.mask_token", _MASK_TOKEN),
        ),
    ),
    "transformers/dinov2": (
        TRANSFORMERS_DINOV2,
        (
            Ignored(r"(?:dinov2\.)?embeddings\.mask_token", _MASK_TOKEN),
            Ignored(r"classifier\.(?:weight|bias)", "a head on the class token and the mean of the patches"),
        ),
    ),
    "transformers/clip_vision": (
        TRANSFORMERS_CLIP,
        (
            Ignored(r"vision_model\.embeddings\.position_ids", "the integers 0, 1, 2 …"),
            Ignored(r"text_model\..*|text_projection\.weight|logit_scale", _TEXT_TOWER),
        ),
    ),
    "openai/clip": (
        OPENAI_CLIP,
        (
            Ignored(_TEXT, _TEXT_TOWER),
            Ignored("input_resolution|context_length|vocab_size", "numbers that describe the net"),
        ),
    ),
}
TABLES = {layout: RuleTable("vit", 1, *rules) for layout, rules in _LAYOUTS.items()}
