"""Every encoder through one contract, and what is particular to each."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors, traverse_util

from dalib.core.checks import InputError
from dalib.core.platform import tracing_for
from dalib.core.types import Outputs
from dalib.encoders import LeNet
from dalib.encoders.registry import ENCODERS, make_encoder
from dalib.encoders.vision import efficientnet, mobilenet
from dalib.encoders.vision.mobilenet import Block as MobileBlock
from dalib.encoders.vision.resnet import _Block as Block
from tests.encoders.fill import filled

IMAGES = (4, 16, 16, 1)
LENET_HIDDEN = {"conv1", "conv2", "fc1"}
RESNET_HIDDEN = {"stem", "layer1", "layer2", "layer3", "layer4"}
TINY_VIT = {"patch": 4, "width": 8, "depth": 1, "heads": 2, "image_size": 8}
TINY = {"vocabulary": 11, "width": 8, "depth": 1, "heads": 2}
TINY_SPEECH = {"channels": (4, 4), "kernels": (10, 3), "strides": (5, 2), "width": 8, "depth": 1, "heads": 2}
TINY_SPEECH |= {"mlp_width": 8, "position_kernel": 4, "position_groups": 2}
TINY_LOGMEL = {"sample_rate": 8000, "bands": 8, "channels": (2, 3), "width": 6}
IMAGE = (2, 32, 32, 3)
TINY_V2 = {"stages": (mobilenet.Stage(1, 3, 1, 4, 1), mobilenet.Stage(2, 3, 2, 8, 1)), "width": 0.25}
TINY_V3 = {"blocks": (MobileBlock(3, 16, 8, True, False, 2), MobileBlock(5, 24, 8, False, True, 1)), "features": 6}
TINY_EFFICIENTNET = {"stages": (efficientnet.Stage(1, 3, 1, 8, 1), efficientnet.Stage(2, 5, 2, 8, 2)), "width": 0.25}
TOKENS = ("bert_base", "gpt2")
TINY_IMAGES = (2, 32, 32, 3)
DENSE_HIDDEN = {"stem", "denseblock1", "denseblock2", "denseblock3", "denseblock4"}
VGG_HIDDEN = {"stage1", "stage2", "stage3", "stage4", "stage5", "fc6", "fc7"}
FPN_HIDDEN = {"p2", "p3", "p4", "p5", "pool", "layer1", "layer2", "layer3", "layer4"}
ONCE = {"depths": (1, 1, 1, 1)}

# encoder, fields, shape of the inputs, width of the features, names of the hidden activations
CASES = {
    "lenet": ("lenet", {"channels": (4, 6), "width": 8}, IMAGES, 8, LENET_HIDDEN),
    "lenet-bn": ("lenet", {"channels": (4, 6), "width": 8, "norm": True, "dropout": 0.5}, IMAGES, 8, LENET_HIDDEN),
    "lenet-flat": ("lenet", {"channels": (4, 6), "width": None}, (4, 28, 28, 3), 4 * 4 * 6, {"conv1", "conv2"}),
    "dtn": ("dtn", {"channels": (4, 6, 8), "width": 8}, (4, 8, 8, 3), 8, {"conv1", "conv2", "conv3", "fc1"}),
    "mlp": ("mlp", {"widths": (8, 6)}, (4, 5), 6, {"fc1", "fc2"}),
    "mlp-bn": ("mlp", {"widths": (8, 6), "norm": True, "dropout": 0.3}, (4, 5), 6, {"fc1", "fc2"}),
    "mlp-empty": ("mlp", {"widths": ()}, (4, 5), 5, set()),
    "resnet": ("resnet50", {"width": 2, "depths": (1, 1, 1, 1)}, (2, 32, 32, 3), 64, RESNET_HIDDEN),
    "cifar": ("cifar_resnet20", {"depth": 1, "width": 4}, (2, 8, 8, 3), 16, RESNET_HIDDEN - {"layer4"}),
    "squeezenet": ("squeezenet1_1", {"width": 16}, TINY_IMAGES, 128, {"conv1", "fire3", "fire5", "fire9"}),
    "densenet": ("densenet121", {**ONCE, "growth": 4, "width": 4}, TINY_IMAGES, 8, DENSE_HIDDEN),
    "vgg": ("vgg11_bn", {"depths": (1, 1, 1, 1, 1), "width": 2, "units": 4}, TINY_IMAGES, 4, VGG_HIDDEN),
    "fpn": ("fasterrcnn_resnet50_fpn", {**ONCE, "width": 2, "channels": 3}, TINY_IMAGES, 12, FPN_HIDDEN),
    "yolo": ("yolov5s", {"width_multiple": 0.125, "depth_multiple": 0.1}, TINY_IMAGES, 128, {"p3", "p4", "p5"}),
    "vit": ("vit_s16", TINY_VIT, (2, 12, 20, 3), 8, {"embedded", "block_0", "tokens"}),
    "bert": ("bert_base", {**TINY, "mlp_width": 8}, (3, 5), 8, {"embeddings", "block_0", "tokens"}),
    "gpt2": ("gpt2", {**TINY, "pooling": "mean"}, (3, 5), 8, {"embeddings", "block_0", "tokens"}),
    "wav2vec2": ("wav2vec2_base", TINY_SPEECH, (2, 90), 8, {"conv", "embeddings", "block_0", "tokens"}),
    "logmel": ("logmel_cnn", TINY_LOGMEL, (2, 900), 6, {"logmel", "conv1", "conv2", "pooled"}),
    "series": (
        "series_cnn",
        {"channels": (4, 6), "sizes": (5, 3), "width": 6},
        (2, 24, 3),
        6,
        {"conv1", "conv2", "pooled"},
    ),
    "mobilenet-v2": ("mobilenet_v2", TINY_V2, IMAGE, 1280, {"stem", "stage1", "stage2", "last"}),
    "mobilenet-v3": ("mobilenet_v3_small", TINY_V3, IMAGE, 6, {"stem", "stage1", "last", "pool"}),
    "efficientnet": ("efficientnet_b0", TINY_EFFICIENTNET, IMAGE, 32, {"stem", "stage1", "stage2", "last"}),
    "convnext": ("convnext_tiny", {"depths": (1, 1), "widths": (4, 6)}, IMAGE, 6, {"stem", "layer1", "layer2"}),
}


class Built(NamedTuple):
    encoder: nn.Module
    inputs: np.ndarray
    variables: dict[str, Any]
    evaluate: Callable[..., Any]


@functools.cache
def _built(case):
    name, fields, shape, _, _ = CASES[case]
    encoder = make_encoder(name, **fields)
    random = np.random.default_rng(7)
    inputs = random.integers(1, 11, shape) if name in TOKENS else random.normal(size=shape).astype(np.float32)
    variables = filled(encoder, inputs)
    evaluate = jax.jit(functools.partial(encoder.apply, train=False, mutable=["batch_stats"]))
    return Built(encoder, inputs, variables, evaluate)


def _train(encoder, variables, inputs):
    return encoder.apply(variables, inputs, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)})


# The default suite has one net of each kind; these are like others in it.
SLOW = ("squeezenet", "densenet", "vgg", "fpn", "yolo")


@pytest.fixture(params=[pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES])
def case(request):
    return request.param


def test_outputs(case):
    built = _built(case)
    _, _, shape, width, hidden = CASES[case]
    outputs, _ = built.evaluate(built.variables, built.inputs)
    assert isinstance(outputs, Outputs)
    assert outputs.features.shape == (shape[0], width)
    assert outputs.features.dtype == jnp.float32
    assert outputs.logits is None
    assert set(outputs.hidden) == hidden
    assert all(h.shape[0] == shape[0] for h in outputs.hidden.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(outputs))


def test_training_changes_statistics_and_evaluation_does_not(case):
    built = _built(case)
    _, kept = built.evaluate(built.variables, built.inputs)
    before = built.variables.get("batch_stats", {})
    kinds = ("lenet-bn", "dtn", "mlp-bn", "resnet", "logmel", "series", "cifar", "densenet", "vgg", "fpn", "yolo")
    kinds += ("mobilenet-v2", "mobilenet-v3", "efficientnet")
    assert bool(before) == (case in kinds)
    jax.tree.map(np.testing.assert_array_equal, kept.get("batch_stats", {}), before)
    if not before:
        return
    _, changed = jax.jit(functools.partial(_train, built.encoder))(built.variables, built.inputs)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(changed.get("batch_stats", {})), strict=True):
        assert (np.abs(old - new).max() > 0) == (case != "fpn")  # its BatchNorm is frozen


def test_bfloat16_keeps_float32_parameters_and_statistics(case):
    built = _built(case)
    half = built.encoder.clone(dtype=jnp.bfloat16)

    def loss(params):
        outputs, changed = _train(half, {**built.variables, "params": params}, built.inputs)
        return jnp.sum(outputs.features**2), (outputs, changed)

    params = built.variables.get("params", {})
    gradient, (outputs, changed) = jax.eval_shape(jax.grad(loss, has_aux=True), params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((gradient, changed)))
    assert all(h.dtype == jnp.bfloat16 for h in outputs.hidden.values())
    assert outputs.features.dtype == jnp.float32
    if case == "resnet":
        exact, _ = built.evaluate(built.variables, built.inputs)
        rough = jax.jit(half.apply)(built.variables, built.inputs)
        scale = float(np.abs(exact.features).max())
        np.testing.assert_allclose(rough.features, exact.features, atol=0.05 * scale)
    if case == "lenet-bn":
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(loss, has_aux=True))(params)))


def test_momentum_zero_stores_the_statistics_of_the_batch():
    x = np.random.default_rng(0).normal(size=(32, 5)).astype(np.float32)
    encoder = make_encoder("mlp", widths=(3,), norm=True)
    variables = encoder.init(jax.random.key(1), x)
    _, changed = encoder.clone(bn_momentum=0.0).apply(variables, x, train=True, mutable=["batch_stats"])
    linear = x @ np.asarray(variables["params"]["fc1"]["kernel"])
    np.testing.assert_allclose(changed["batch_stats"]["bn1"]["mean"], linear.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(changed["batch_stats"]["bn1"]["var"], linear.var(0), rtol=1e-4)
    _, changed = encoder.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(changed["batch_stats"]["bn1"]["var"], 0.9 + 0.1 * linear.var(0), rtol=1e-4)


def test_dropout_needs_a_key_only_in_training():
    x = jnp.ones((2, 5))
    encoder = make_encoder("mlp", widths=(64,), dropout=0.5)
    variables = encoder.init(jax.random.key(0), x)
    encoder.apply(variables, x, train=False)
    with pytest.raises(errors.InvalidRngError):
        encoder.apply(variables, x, train=True)
    first, again, other = (
        encoder.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)}).features for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_lenet_is_the_classic_one_at_28():
    shapes = jax.eval_shape(LeNet().init, jax.random.key(0), jnp.ones((1, 28, 28, 1)))["params"]
    sizes = {"/".join(k): v.shape for k, v in traverse_util.flatten_dict(shapes).items()}
    assert sizes["conv1/kernel"] == (5, 5, 1, 20)
    assert sizes["conv2/kernel"] == (5, 5, 20, 50)
    assert sizes["fc1/kernel"] == (4 * 4 * 50, 500)


@pytest.mark.parametrize("side, channels, padding, flat", [(16, 1, (), 50), (16, 3, (2, 2), 800), (32, 3, (), 1250)])
def test_lenet_geometries(side, channels, padding, flat):
    encoder = LeNet(padding=padding)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.ones((1, side, side, channels)))["params"]
    assert shapes["fc1"]["kernel"].shape == (flat, 500)


@pytest.mark.parametrize("name", ["lenet", "dtn", "resnet18"])
def test_form_of_the_convolution_is_as_asked(name):
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    encoders = {form: make_encoder(name, conv=form) for form in ("library", "canonical", "patches", "auto")}
    variables = {form: jax.eval_shape(encoder.init, jax.random.key(0), x) for form, encoder in encoders.items()}
    assert variables["library"] == variables["patches"]
    programs = {form: str(jax.make_jaxpr(e.apply)(variables[form], x)) for form, e in encoders.items()}
    assert "conv_general_dilated" in programs["library"]
    assert "conv_general_dilated" not in programs["patches"]
    assert "_canonical" in programs["canonical"] and "_canonical" not in programs["library"]
    assert programs["auto"] == programs["patches"]  # the tests run on a CPU, and one image is small


@pytest.mark.parametrize("name, features", [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_resnet_shapes(name, features):
    encoder = make_encoder(name)
    x = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(encoder.init, jax.random.key(0), x)
    outputs = jax.eval_shape(encoder.apply, variables, x)
    assert outputs.features.shape == (2, features)
    sides = {stage: h.shape[1] for stage, h in outputs.hidden.items()}
    assert sides == {"stem": 56, "layer1": 56, "layer2": 28, "layer3": 14, "layer4": 7}
    assert outputs.hidden["layer1"].shape[-1] == features // 8


def test_resnet_block_is_shortcut_plus_branch():
    built = _built("resnet")
    params, statistics = built.variables["params"]["layer1_0"], built.variables["batch_stats"]["layer1_0"]
    without_branch = {**params, "bn3": jax.tree.map(np.zeros_like, params["bn3"])}
    variables = {**built.variables, "params": {**built.variables["params"], "layer1_0": without_branch}}
    hidden = built.evaluate(variables, built.inputs)[0].hidden
    shortcut = np.asarray(hidden["stem"]) @ params["downsample_conv"]["kernel"][0, 0]
    norm, seen = params["downsample_bn"], statistics["downsample_bn"]
    shortcut = (shortcut - seen["mean"]) / np.sqrt(seen["var"] + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(hidden["layer1"], np.maximum(shortcut, 0), rtol=1e-4, atol=1e-5)


def test_zero_init_residual_starts_the_last_scale_at_zero():
    for zero, expected in ((True, 0.0), (False, 1.0)):
        block = Block(
            channels=1, stride=1, bottleneck=False, zero_init_residual=zero, conv="auto", bn_momentum=0.9, dtype=None
        )
        params = jax.jit(block.init, static_argnums=2)(jax.random.key(0), jnp.ones((1, 4, 4, 1)), False)["params"]
        assert params["bn2"]["scale"] == expected
        assert params["bn1"]["scale"] == 1.0


def test_resnet_strides_are_torchs():
    """On an even side, padding 3 centres the stem's window on pixels 0, 2, 4 …, where "SAME" would take 1, 3, 5 …"""
    built = _built("resnet")
    x = jnp.zeros((2, 32, 32, 3)).at[0, 0, 0, 0].set(1.0).at[1, 1, 1, 0].set(1.0)
    kernel = jnp.zeros((7, 7, 3, 2)).at[3, 3, 0, 0].set(1.0)
    identity = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    params = {**built.variables["params"], "conv1": {"kernel": kernel}, "bn1": identity}
    statistics = {**built.variables["batch_stats"], "bn1": {"mean": jnp.zeros(2), "var": jnp.ones(2)}}
    outputs, _ = built.evaluate({"params": params, "batch_stats": statistics}, x)
    stem = outputs.hidden["stem"][..., 0]
    np.testing.assert_allclose(stem[0, 0, 0], 1.0, rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(stem), stem[0, 0, 0])


@pytest.mark.parametrize("name", ["lenet", "dtn", "resnet18"])
@pytest.mark.parametrize(
    "inputs, message",
    [
        (jnp.ones((28, 28, 1)), r"rank 3(.|\n)*x\[None\]"),
        (jnp.ones((2, 4, 4, 1)), r"4×4 pixels(.|\n)*at least"),
        (jnp.ones((0, 32, 32, 1)), "without elements"),
        (jnp.ones((2, 32, 32, 1), jnp.uint8), "uint8"),
        ([[1.0]], "list"),
    ],
)
def test_wrong_images_are_named(name, inputs, message):
    encoder = make_encoder(name)
    with pytest.raises(InputError, match=message):
        encoder.init(jax.random.key(0), inputs)


def test_smallest_lenet_image_is_the_smallest_that_works():
    for padding, smallest in (((), 16), ((2, 0), 12), ((2, 2), 4)):
        encoder = LeNet(channels=(2, 2), width=2, padding=padding)
        jax.eval_shape(encoder.init, jax.random.key(0), jnp.ones((1, smallest, smallest, 1)))
        with pytest.raises(InputError, match=f"{smallest}×{smallest}"):
            jax.eval_shape(encoder.init, jax.random.key(0), jnp.ones((1, smallest, smallest - 1, 1)))


def test_mlp_refuses_images():
    with pytest.raises(InputError, match=r"vectors \[n, d\]"):
        make_encoder("mlp").init(jax.random.key(0), jnp.ones((2, 8, 8, 1)))


def test_lists_of_wrong_length_are_named():
    x = jnp.ones((1, 32, 32, 1))
    with pytest.raises(InputError, match="padding"):
        LeNet(padding=(2,)).init(jax.random.key(0), x)
    with pytest.raises(InputError, match="dropout"):
        make_encoder("dtn", dropout=(0.1,)).init(jax.random.key(0), x)


def test_names_and_fields_get_a_did_you_mean():
    with pytest.raises(InputError, match="did you mean 'lenet'"):
        make_encoder("leenet")
    with pytest.raises(InputError, match="did you mean 'dropout'"):
        make_encoder("lenet", drop_out=0.5)
    with pytest.raises(InputError, match="did you mean 'depths'"):
        make_encoder("resnet18", depth=(1, 1, 1, 1))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_common_fields(name):
    encoder = make_encoder(name, dtype=jnp.bfloat16)
    assert isinstance(encoder, nn.Module)
    if hasattr(encoder, "bn_momentum"):
        assert make_encoder(name, bn_momentum=0.5).bn_momentum == 0.5
    hash(encoder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in CASES if CASES[case][0] not in ("mlp", "bert_base", "gpt2", "series_cnn")]
)
def test_another_platform_gets_the_librarys_forms(case):
    """What is chosen by platform (convolutions, pools) is made for a CPU here, and for nothing but a CPU elsewhere."""
    name, fields, shape, _, _ = CASES[case]
    net, x = make_encoder(name, **fields), jnp.zeros(shape)
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), x))
    texts = {}
    for kind in ("cpu", "tpu"):
        with tracing_for(kind):
            texts[kind] = str(jax.make_jaxpr(lambda v: net.apply(v, x).features)(variables))
    assert "conv_general_dilated" in texts["tpu"]
    assert not any(own in texts["tpu"] for own in ("_canonical", "_taps"))
    assert texts["tpu"] != texts["cpu"]
