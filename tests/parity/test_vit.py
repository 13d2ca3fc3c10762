"""Vision transformers against torchvision, timm and transformers: random weights, written to files, read, compared."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders import ViT
from dalib.encoders.layers.positions import resample_positions
from dalib.encoders.pretrained import assemble, read_arrays
from dalib.encoders.pretrained.tables import TABLES
from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import (
    assert_stage_close,
    declare_torchvision_operators,
    nhwc,
    randomise,
    record_hidden,
    save_state_dict,
)

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
declare_torchvision_operators()

WIDTH, DEPTH, HEADS, CLASSES = 64, 2, 4, 10


class Reference(NamedTuple):
    """A reference on disk, how to call it, and the net of ours that should equal it.

    Attributes:
        module: the reference, randomised.
        arrays: its checkpoint, read by our reader.
        layout: name of the rule table.
        forward: from images ``[n, 3, h, w]`` and the flag "other size than the table's" to (features or None, logits or
            None).
        stages: our names of stages to the reference's modules.
        fields: of our net.
        odd: height and width in pixels with another grid than the table's.
    """

    module: Any
    arrays: dict[str, np.ndarray]
    layout: str
    forward: Callable[[Any, bool], tuple[Any, Any]]
    stages: dict[str, str]
    fields: dict[str, Any]
    odd: tuple[int, int]


def _blocks(pattern: str) -> dict[str, str]:
    return {f"block_{i}": pattern.format(i) for i in range(DEPTH)}


def torchvision_vit(folder):
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    sizes = {"patch_size": 16, "num_layers": DEPTH, "num_heads": HEADS, "hidden_dim": WIDTH, "mlp_dim": 4 * WIDTH}
    module = randomise(VisionTransformer(image_size=64, num_classes=CLASSES, **sizes), 1)
    larger = VisionTransformer(image_size=112, num_classes=CLASSES, **sizes).eval()
    larger.load_state_dict(interpolate_embeddings(112, 16, {k: v.clone() for k, v in module.state_dict().items()}))
    arrays = read_arrays(save_state_dict(module, folder / "vit.pth"))

    def forward(x, other):
        return None, (larger if other else module)(x)

    stages = _blocks("encoder.layers.encoder_layer_{}") | {"tokens": "encoder.ln"}
    fields = {"resample": "corners", "num_classes": CLASSES}
    return Reference(module, arrays, "torchvision/vit", forward, stages, fields, (112, 112))


def _timm(folder, layout, *, patch, image, odd, fields, extra=None, **options):
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"patch_size": patch, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    module = VisionTransformer(img_size=image, dynamic_img_size=True, **sizes, **options)
    module = randomise(module, 2)
    state = module.state_dict() | (extra or {})
    torch.save(state, folder / "vit.pth")

    def forward(x, other):
        tokens = module.forward_features(x)
        return tokens[:, 0], (module.forward_head(tokens) if module.num_classes else None)

    stages = _blocks("blocks.{}") | {"tokens": "norm"}
    return Reference(module, read_arrays(folder / "vit.pth"), layout, forward, stages, fields, odd)


def timm_vit(folder):
    fields = {"resample": "antialias", "num_classes": CLASSES}
    return _timm(folder, "timm/vit", patch=16, image=64, odd=(48, 112), fields=fields, num_classes=CLASSES)


def facebook_dinov2(folder):
    """timm's net has DINOv2's names; the original's positions are put in by hand, since they are not timm's."""
    fields = {"resample": "offset", "layer_scale": 1e-5, "patch": 14, "image_size": 70}
    extra = {"mask_token": torch.zeros(1, WIDTH)}
    options = {"num_classes": 0, "init_values": 1e-5, "extra": extra}
    reference = _timm(folder, "facebook/dinov2", patch=14, image=70, odd=(42, 98), fields=fields, **options)
    module, table = reference.module, reference.module.pos_embed.data

    def forward(x, other):
        # The original gives the scale (new + 0.1) / old, from which torch derives both size and coordinates.
        rows, columns = (side // 14 for side in x.shape[2:])
        factors = [(n + 0.1) / 5 for n in (rows, columns)]
        grid = table[:, 1:].reshape(1, 5, 5, WIDTH).permute(0, 3, 1, 2)
        moved = torch.nn.functional.interpolate(grid, scale_factor=factors, mode="bicubic")
        moved = torch.cat([table[:, :1], moved.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)], dim=1)
        module.pos_embed.data = moved if other else table
        module.patch_embed.grid_size = (rows, columns)
        return module.forward_features(x)[:, 0], None

    return reference._replace(forward=forward)


def _sizes(patch, image):
    return {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS} | {
        "patch_size": patch,
        "image_size": image,
    }


def transformers_vit(folder):
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**_sizes(16, 64), intermediate_size=4 * WIDTH, num_labels=CLASSES)
    module = randomise(ViTForImageClassification(config), 3)
    module.save_pretrained(folder)

    def forward(x, other):
        return None, module(x, interpolate_pos_encoding=other).logits

    stages = _blocks("vit.layers.{}") | {"tokens": "vit.layernorm"}
    fields = {"epsilon": 1e-12, "num_classes": CLASSES}
    return Reference(module, read_arrays(folder), "transformers/vit", forward, stages, fields, (97, 71))


def transformers_dinov2(folder):
    from transformers import Dinov2Config, Dinov2Model

    module = randomise(Dinov2Model(Dinov2Config(**_sizes(14, 70))), 4)
    module.save_pretrained(folder)

    def forward(x, other):
        return module(x).pooler_output, None

    stages = _blocks("encoder.layer.{}") | {"tokens": "layernorm"}
    fields = {"layer_scale": 1e-5, "patch": 14, "image_size": 70}
    return Reference(module, read_arrays(folder), "transformers/dinov2", forward, stages, fields, (97, 71))


def transformers_clip(folder):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(**_sizes(16, 64), intermediate_size=4 * WIDTH, projection_dim=32)
    module = randomise(CLIPVisionModelWithProjection(config), 5)
    module.save_pretrained(folder)

    def forward(x, other):
        return module(x, interpolate_pos_encoding=other).image_embeds, None

    stages = {"embedded": "vision_model.pre_layrnorm"} | _blocks("vision_model.encoder.layers.{}")
    fields = {"epsilon": 1e-5, "activation": "quick_gelu", "norm_pre": True, "projection": 32}
    return Reference(module, read_arrays(folder), "transformers/clip_vision", forward, stages, fields, (97, 71))


REFERENCES = {
    f.__name__: f
    for f in (torchvision_vit, timm_vit, facebook_dinov2, transformers_vit, transformers_dinov2, transformers_clip)
}


@pytest.fixture(scope="module", params=REFERENCES)
def reference(request, tmp_path_factory):
    built = REFERENCES[request.param](tmp_path_factory.mktemp(request.param))
    built.module.requires_grad_(False)  # the gradient is asked for with respect to the images alone
    return built


def _ours(reference, **fields):
    sizes = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "image_size": 64}
    net = ViT(**(sizes | reference.fields | fields))
    like = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, net.image_size, net.image_size, 3)))
    return net, assemble(reference.arrays, TABLES[reference.layout], like)


@pytest.mark.parametrize("size", ["table", "odd"])
def test_every_stage_and_the_gradient(reference, size):
    net, variables = _ours(reference)
    height, width = (net.image_size,) * 2 if size == "table" else reference.odd
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(6)).requires_grad_()
    with record_hidden(reference.module, reference.stages) as theirs:
        if size == "odd" and reference.layout == "torchvision/vit":
            theirs.clear()  # the larger net is another module
        features, logits = reference.forward(images, size == "odd")
    result = features if logits is None else logits
    weights = torch.linspace(-1, 1, result.numel()).reshape(result.shape)
    (result * weights).sum().backward()

    def value(x):
        outputs = net.apply(variables, x)
        chosen = outputs.features if logits is None else outputs.logits
        return jnp.sum(chosen * weights.numpy()), outputs

    gradient, ours = jax.jit(jax.grad(value, has_aux=True))(nhwc(images))
    for name in theirs:
        assert_stage_close(ours.hidden[name], theirs[name], name)
    assert theirs or size == "odd"
    if features is not None:
        assert_stage_close(ours.features, features, "features")
    if logits is not None:
        assert_stage_close(ours.logits, logits, "logits")
    assert_stage_close(gradient, nhwc(images.grad), "gradient", tolerance=1e-3)


def test_openai_names_equal_timms_reading_of_them(tmp_path):
    """timm has a converter of its own for OpenAI's names; both readings of one file must give one net."""
    from timm.models.vision_transformer import VisionTransformer, _convert_openai_clip

    options = {"pre_norm": True, "act_layer": "quick_gelu", "num_classes": 32}
    norm = torch.nn.LayerNorm  # eps 1e-5
    module = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, norm_layer=norm, **options
    )
    shapes = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (17, WIDTH),
        "conv1.weight": (WIDTH, 3, 16, 16),
        "proj": (WIDTH, 32),
    }
    linears = {"attn.in_proj_": 3 * WIDTH, "attn.out_proj.": WIDTH, "mlp.c_fc.": 4 * WIDTH, "mlp.c_proj.": WIDTH}
    for i in range(DEPTH):
        block = f"transformer.resblocks.{i}."
        for name, out in linears.items():
            incoming = 4 * WIDTH if name == "mlp.c_proj." else WIDTH
            shapes |= {f"{block}{name}weight": (out, incoming), f"{block}{name}bias": (out,)}
    norms = ["ln_pre", "ln_post", *(f"transformer.resblocks.{i}.ln_{j}" for i in range(DEPTH) for j in (1, 2))]
    shapes |= {f"{name}.{leaf}": (WIDTH,) for name in norms for leaf in ("weight", "bias")}
    generator = torch.Generator().manual_seed(7)
    state = {
        f"visual.{name}": torch.randn(shape, generator=generator) / math.sqrt(max(shape[-1], math.prod(shape[1:])))
        + (1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        for name, shape in shapes.items()
    }
    text = {"logit_scale": torch.ones(()), "token_embedding.weight": torch.ones(3, 4)}
    torch.save(state | text, tmp_path / "clip.pth")
    module.load_state_dict(_convert_openai_clip(dict(state), module))
    fields = {"epsilon": 1e-5, "activation": "quick_gelu", "norm_pre": True, "projection": 32}
    reference = Reference(module, read_arrays(tmp_path / "clip.pth"), "openai/clip", None, {}, fields, (64, 64))
    net, variables = _ours(reference)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.no_grad(), record_hidden(module, _blocks("blocks.{}")) as theirs:
        projected = module.eval()(images)
    ours = jax.jit(net.apply)(variables, nhwc(images))
    for name in theirs:
        assert_stage_close(ours.hidden[name], theirs[name], name)
    assert_stage_close(ours.features, projected, "features")


@pytest.mark.parametrize("how", ["half_pixel", "offset", "antialias", "corners"])
@pytest.mark.parametrize("grid", [(5, 9), (14, 3), (7, 7), (37, 20)])
def test_positions_equal_torchs_interpolation(how, grid):
    table = torch.randn(1, 6, 7, 7, generator=torch.Generator().manual_seed(8))
    options = {
        "half_pixel": {"size": grid},
        "offset": {"scale_factor": [(n + 0.1) / 7 for n in grid]},
        "antialias": {"size": grid, "antialias": True},
        "corners": {"size": grid, "align_corners": True},
    }[how]
    theirs = torch.nn.functional.interpolate(table, mode="bicubic", **options)
    ours = resample_positions(jnp.asarray(table.numpy()[0].transpose(1, 2, 0).reshape(49, 6)), grid, how)
    assert_stage_close(ours.reshape(*grid, 6), nhwc(theirs)[0], "positions", tolerance=1e-5)


def _published(layout, name):
    """The published net ``name`` of the reference on torch's meta device: names and shapes, no memory."""
    if layout == "torchvision/vit":
        import torchvision

        with torch.device("meta"):
            return torchvision.models.get_model(name).state_dict()
    if layout == "transformers/clip_vision":
        from transformers import CLIPConfig, CLIPModel

        patch, width, depth, out = {"b32": (32, 768, 12, 512), "b16": (16, 768, 12, 512), "l14": (14, 1024, 24, 768)}[
            name
        ]
        vision = {"patch_size": patch, "hidden_size": width, "num_hidden_layers": depth}
        vision |= {"num_attention_heads": width // 64, "intermediate_size": 4 * width}
        config = CLIPConfig(vision_config=vision, projection_dim=out)
        with torch.device("meta"):
            return CLIPModel(config).state_dict()
    import timm

    with torch.device("meta"):
        return timm.create_model(name).state_dict()


@pytest.mark.parametrize(
    "ours, layout, name",
    [
        ("vit_b16", "torchvision/vit", "vit_b_16"),
        ("vit_b32", "torchvision/vit", "vit_b_32"),
        ("vit_l16", "torchvision/vit", "vit_l_16"),
        ("vit_s16", "timm/vit", "vit_small_patch16_224"),
        ("deit_s16", "timm/vit", "deit_small_patch16_224"),
        ("deit_b16", "timm/vit", "deit_base_patch16_224"),
        ("dino_vits16", "facebook/dino", "vit_small_patch16_224.dino"),
        ("dino_vits8", "facebook/dino", "vit_small_patch8_224.dino"),
        ("dino_vitb16", "facebook/dino", "vit_base_patch16_224.dino"),
        ("dinov2_vits14", "facebook/dinov2", "vit_small_patch14_dinov2"),
        ("dinov2_vitb14", "facebook/dinov2", "vit_base_patch14_dinov2"),
        ("dinov2_vitl14", "facebook/dinov2", "vit_large_patch14_dinov2"),
        ("clip_vit_b32", "transformers/clip_vision", "b32"),
        ("clip_vit_b16", "transformers/clip_vision", "b16"),
        ("clip_vit_l14", "transformers/clip_vision", "l14"),
    ],
)
def test_published_sizes_by_name_and_shape(ours, layout, name):
    state = _published(layout, name)
    arrays = {key: np.broadcast_to(np.float32(0), tuple(x.shape)) for key, x in state.items()}
    fields = {}
    for key, field in (("heads.head.weight", "num_classes"), ("head.weight", "num_classes")):
        if key in arrays:
            fields[field] = arrays[key].shape[0]
    if layout == "transformers/clip_vision":
        fields["projection"] = arrays["visual_projection.weight"].shape[0]
    net = make_encoder(ours, **fields)
    like = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    variables = assemble(arrays, TABLES[layout], like)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, like)
