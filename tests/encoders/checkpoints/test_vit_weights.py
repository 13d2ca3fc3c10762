"""Rule tables of vision transformers on synthetic arrays: what a fused matrix becomes, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import ViT
from dalib.encoders.pretrained import assemble
from dalib.encoders.pretrained.tables import TABLES

WIDTH = 4
NORM = {"weight": (WIDTH,), "bias": (WIDTH,)}
SQUARE = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}
FC1 = {"weight": (2 * WIDTH, WIDTH), "bias": (2 * WIDTH,)}
FC2 = {"weight": (WIDTH, 2 * WIDTH), "bias": (WIDTH,)}
PATCHES = {"weight": (WIDTH, 3, 2, 2), "bias": (WIDTH,)}
FUSED = {"weight": (3 * WIDTH, WIDTH), "bias": (3 * WIDTH,)}


def _torchvision():
    block = "encoder.layers.encoder_layer_0."
    shapes = {"class_token": (1, 1, WIDTH), "encoder.pos_embedding": (1, 5, WIDTH)}
    shapes |= {f"{block}self_attention.in_proj_{leaf}": shape for leaf, shape in FUSED.items()}
    layers = {"conv_proj": PATCHES, "encoder.ln": NORM, f"{block}ln_1": NORM, f"{block}ln_2": NORM}
    layers |= {f"{block}self_attention.out_proj": SQUARE, f"{block}mlp.linear_1": FC1, f"{block}mlp.linear_2": FC2}
    return shapes, layers


def _timm():
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 5, WIDTH), "mask_token": (1, WIDTH)}
    layers = {"patch_embed.proj": PATCHES, "norm": NORM, "blocks.0.norm1": NORM, "blocks.0.norm2": NORM}
    layers |= {"blocks.0.attn.qkv": FUSED, "blocks.0.attn.proj": SQUARE}
    layers |= {"blocks.0.mlp.fc1": FC1, "blocks.0.mlp.fc2": FC2}
    return shapes, layers


def _transformers():
    start, block = "vit.embeddings.", "vit.encoder.layer.0."
    shapes = {f"{start}cls_token": (1, 1, WIDTH), f"{start}position_embeddings": (1, 5, WIDTH)}
    layers = {f"{start}patch_embeddings.projection": PATCHES, "vit.layernorm": NORM, "vit.pooler.dense": SQUARE}
    layers |= {f"{block}layernorm_before": NORM, f"{block}layernorm_after": NORM}
    layers |= {f"{block}attention.attention.{part}": SQUARE for part in ("query", "key", "value")}
    layers |= {f"{block}attention.output.dense": SQUARE, f"{block}intermediate.dense": FC1, f"{block}output.dense": FC2}
    return shapes, layers


FILES = {"torchvision/vit": _torchvision, "facebook/dinov2": _timm, "transformers/vit": _transformers}


def _arrays(layout):
    shapes, layers = FILES[layout]()
    shapes = shapes | {f"{name}.{leaf}": shape for name, leaves in layers.items() for leaf, shape in leaves.items()}
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _like():
    net = ViT(patch=2, width=WIDTH, depth=1, heads=2, mlp_ratio=2.0, image_size=4)
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize("layout", FILES)
def test_every_array_has_its_place(layout):
    arrays = _arrays(layout)
    params = assemble(arrays, TABLES[layout], _like())["params"]
    block = params["block_0"]
    query, key, value = (block["attention"][part] for part in ("query", "key", "value"))
    kernels = np.concatenate([query["kernel"], key["kernel"], value["kernel"]], axis=1)
    biases = np.concatenate([query["bias"], key["bias"], value["bias"]])
    if layout == "transformers/vit":
        inner = "vit.encoder.layer.0.attention.attention."
        names = [f"{inner}{part}" for part in ("query", "key", "value")]
        fused = tuple(np.concatenate([arrays[f"{name}.{leaf}"] for name in names]) for leaf in ("weight", "bias"))
        others = ("vit.encoder.layer.0.intermediate.dense.weight", "vit.embeddings.position_embeddings")
    elif layout == "torchvision/vit":
        inner = "encoder.layers.encoder_layer_0."
        fused = tuple(arrays[f"{inner}self_attention.in_proj_{leaf}"] for leaf in ("weight", "bias"))
        others = (f"{inner}mlp.linear_1.weight", "encoder.pos_embedding")
    else:
        fused = arrays["blocks.0.attn.qkv.weight"], arrays["blocks.0.attn.qkv.bias"]
        others = ("blocks.0.mlp.fc1.weight", "pos_embed")
    np.testing.assert_array_equal(kernels, fused[0].T)
    np.testing.assert_array_equal(biases, fused[1])
    np.testing.assert_array_equal(block["mlp"]["fc1"]["kernel"], arrays[others[0]].T)
    np.testing.assert_array_equal(params["pos_embed"], arrays[others[1]][0])


def test_what_has_no_counterpart_is_refused():
    arrays = _arrays("facebook/dinov2") | {"register_tokens": np.zeros((1, 4, WIDTH), np.float32)}
    with pytest.raises(InputError, match=r"register_tokens(.|\n)*not known"):
        assemble(arrays, TABLES["facebook/dinov2"], _like())
