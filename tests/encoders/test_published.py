"""Nets with published weights: their sizes, heads, frozen statistics, and recomputation in the backward pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import SqueezeNet
from dalib.encoders.layers.published import FrozenBatchNorm
from dalib.encoders.registry import make_encoder
from tests.encoders.fill import filled

IMAGES = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

# Published numbers of parameters with the head of so many classes, and the width of the features. torchvision prints
# the counts of its models; those of CIFAR ResNets come with their checkpoints.
PUBLISHED = {
    "resnext50_32x4d": (1000, 25_028_904, 2048),
    "vgg11_bn": (1000, 132_868_840, 4096),
    "vgg16": (1000, 138_357_544, 4096),
    "squeezenet1_1": (1000, 1_235_496, 512),
    "cifar_resnet20": (10, 269_722, 64),
}
SLOW = {
    "resnext101_32x8d": (1000, 88_791_336, 2048),
    "resnext101_64x4d": (1000, 83_455_272, 2048),
    "wide_resnet50_2": (1000, 68_883_240, 2048),
    "wide_resnet101_2": (1000, 126_886_696, 2048),
    "cifar_resnet32": (10, 464_154, 64),
    "vgg11": (1000, 132_863_336, 4096),
    "vgg13": (1000, 133_047_848, 4096),
    "vgg13_bn": (1000, 133_053_736, 4096),
    "vgg16_bn": (1000, 138_365_992, 4096),
    "vgg19": (1000, 143_667_240, 4096),
    "vgg19_bn": (1000, 143_678_248, 4096),
    "densenet121": (1000, 7_978_856, 1024),
    "densenet161": (1000, 28_681_000, 2208),
    "densenet169": (1000, 14_149_480, 1664),
    "densenet201": (1000, 20_013_928, 1920),
}
# One short net of every class here: encoder and fields.
SMALL = {
    "resnet": ("resnext50_32x4d", {"depths": (1, 1, 1, 1), "width": 8, "groups": 2, "group_width": 16}),
    "cifar": ("cifar_resnet20", {"depth": 1, "width": 4}),
    "squeezenet": ("squeezenet1_1", {"width": 16}),
    "vgg": ("vgg11_bn", {"depths": (1, 1, 1, 1, 1), "width": 2, "units": 4, "dropout": 0.0}),
    "densenet": ("densenet121", {"depths": (1, 2, 1, 1), "growth": 4, "width": 4}),
    "fpn": ("fasterrcnn_resnet50_fpn", {"depths": (1, 1, 1, 1), "width": 2, "channels": 3}),
    "yolo": ("yolov5s", {"width_multiple": 0.125, "depth_multiple": 0.1}),
}


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", [*PUBLISHED, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_published_sizes(name):
    classes, parameters, width = (PUBLISHED | SLOW)[name]
    encoder = make_encoder(name, num_classes=classes)
    outputs, variables = jax.eval_shape(encoder.init_with_output, jax.random.key(0), IMAGES)
    assert count(variables["params"]) == parameters
    assert outputs.features.shape == (2, width)
    assert outputs.logits.shape == (2, classes)


def test_size_of_a_backbone():
    """Layer by layer as YOLOv5s prints itself when it is built."""
    variables = jax.eval_shape(make_encoder("yolov5s").init, jax.random.key(0), IMAGES)
    sizes = [count(variables["params"][f"model_{i}"]) for i in range(10)]
    assert sizes == [3520, 18560, 18816, 73984, 115712, 295424, 625152, 1180672, 1182720, 656896]


@pytest.mark.parametrize("case", SMALL)
def test_head_and_remat_leave_the_other_variables_alone(case):
    name, fields = SMALL[case]
    plain = make_encoder(name, **fields)
    outputs, variables = jax.eval_shape(plain.init_with_output, jax.random.key(0), IMAGES)
    other = make_encoder(name, **fields, num_classes=5, remat=True)
    program, (with_head, more) = jax.make_jaxpr(other.init_with_output, return_shape=True)(jax.random.key(0), IMAGES)
    assert "remat" in str(program) or "checkpoint" in str(program)
    assert (with_head.logits.shape, with_head.logits.dtype) == ((2, 5), jnp.float32)
    assert more["params"].pop("head")["kernel"].shape[-1] == 5
    assert (with_head._replace(logits=None), more) == (outputs, variables)


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALL)
def test_remat_keeps_values_and_gradients(case):
    """In float64, because BatchNorm over the few values of these small maps magnifies rounding."""
    name, fields = SMALL[case]
    x = np.random.default_rng(0).normal(size=(2, 33, 40, 3)).astype(np.float32)
    variables = filled(make_encoder(name, **fields), x)
    results = []
    with jax.enable_x64(True):
        variables, x = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (variables, x))
        for remat in (False, True):
            apply = functools.partial(make_encoder(name, **fields, remat=remat).apply, train=True)

            def loss(params, apply=apply):
                given = {**variables, "params": params}
                outputs, changed = apply(given, x, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
                return jnp.sum(jnp.sin(outputs.features)), (outputs, changed)

            results.append(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(results[0][0])) > 0.01
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), *results)


@pytest.mark.parametrize("classes", [-1, 2.0, True])
def test_wrong_number_of_classes_is_named(classes):
    for name in ("cifar_resnet20", "squeezenet1_1"):
        with pytest.raises(InputError, match="num_classes"):
            jax.eval_shape(make_encoder(name, num_classes=classes).init, jax.random.key(0), IMAGES)


def test_features_of_vgg():
    fields = {"depths": (1, 1, 1, 1, 1), "width": 2, "units": 8}
    for features, width, names in (("fc7", 8, {"fc6", "fc7"}), ("fc6", 8, {"fc6"}), ("pool", 16, set())):
        encoder = make_encoder("vgg11", **fields, features=features)
        outputs, variables = jax.eval_shape(encoder.init_with_output, jax.random.key(0), IMAGES)
        assert outputs.features.shape == (2, width)
        assert {name for name in variables["params"] if name.startswith("fc")} == names
    with pytest.raises(InputError, match="did you mean 'pool'"):
        jax.eval_shape(make_encoder("vgg11", features="pol").init, jax.random.key(0), IMAGES)
    with pytest.raises(InputError, match=r"num_classes(.|\n)*fc7"):
        jax.eval_shape(make_encoder("vgg11", features="pool", num_classes=3).init, jax.random.key(0), IMAGES)


def test_groups_need_three_layer_blocks():
    with pytest.raises(InputError, match=r"groups(.|\n)*bottleneck=True"):
        jax.eval_shape(make_encoder("resnet18", groups=2).init, jax.random.key(0), IMAGES)


def test_frozen_batch_norm_is_an_affine_map_and_no_parameter():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    net = FrozenBatchNorm(epsilon=0.5)
    variables = net.init(jax.random.key(0), x)
    assert set(variables) == {"batch_stats"}
    random = np.random.default_rng(1)
    drawn = {name: random.uniform(0.5, 2, 5).astype(np.float32) for name in variables["batch_stats"]}
    expected = (x - drawn["mean"]) / np.sqrt(drawn["var"] + 0.5) * drawn["scale"] + drawn["bias"]
    np.testing.assert_allclose(net.apply({"batch_stats": drawn}, x), expected, rtol=1e-5, atol=1e-5)


def test_frozen_statistics_stay_in_training():
    name, fields = SMALL["fpn"]
    encoder = make_encoder(name, **fields)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = filled(encoder, x)
    assert not any("bn" in str(path) for path, _ in jax.tree.leaves_with_path(variables["params"]))
    program = [
        str(jax.make_jaxpr(functools.partial(encoder.apply, train=train, mutable=["batch_stats"]))(variables, x))
        for train in (False, True)
    ]
    assert program[0] == program[1]
    usual = jax.eval_shape(encoder.clone(frozen_bn=False).init, jax.random.key(0), x)
    assert set(usual["params"]["body"]["bn1"]) == {"scale", "bias"}


def test_squeezenet_logits_are_means_of_rectified_maps():
    """With one class of negative weights only, on maps that are not, the logit is zero."""
    x = np.random.default_rng(0).normal(size=(1, 33, 33, 3)).astype(np.float32)
    encoder = SqueezeNet(width=16, num_classes=2)
    variables = filled(encoder, x)
    kernel = variables["params"]["head"]["kernel"]
    kernel[..., 0], variables["params"]["head"]["bias"][:] = -1.0, 0.0
    kernel[..., 1] = 1.0
    outputs = jax.jit(encoder.apply)(variables, x)
    np.testing.assert_allclose(outputs.logits[0], [0.0, outputs.features.sum()], rtol=1e-5)
