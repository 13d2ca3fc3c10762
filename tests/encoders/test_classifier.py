"""Parameter groups, bottleneck forms, and heads that live alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import BOTTLENECKS, MLP, Bottleneck, Classifier, LinearHead, MLPHead
from dalib.encoders.classifier import CosineHead, WeightNormHead
from dalib.encoders.registry import make_bottleneck, make_encoder, make_head
from tests.encoders.fill import filled

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def _variables(classifier):
    return filled(classifier, X)


def _count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "name, count",
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_published_parameter_counts(name, count):
    classifier = Classifier(make_encoder(name), 1000)
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(classifier.init, jax.random.key(0), x)
    assert _count(variables["params"]) == count


@pytest.mark.parametrize("bottleneck", sorted(BOTTLENECKS))
def test_groups_and_outputs(bottleneck):
    classifier = Classifier(MLP(widths=(7,)), 3, bottleneck=make_bottleneck(bottleneck, width=4))
    variables = _variables(classifier)
    none = bottleneck == "none"
    assert set(variables["params"]) == ({"encoder", "head"} if none else {"encoder", "bottleneck", "head"})
    assert set(variables.get("batch_stats", {})) == ({"bottleneck"} if "bn" in bottleneck else set())
    outputs = jax.jit(classifier.apply)(variables, X)
    assert outputs.features.shape == (6, 7 if none else 4)
    assert outputs.logits.shape == (6, 3)
    assert outputs.hidden["encoder"].shape == (6, 7)
    assert set(outputs.hidden) == {"fc1", "encoder"}
    negative = bool((outputs.features < 0).any())
    assert negative == (bottleneck == "linear-bn")


@pytest.mark.parametrize(
    "name, norm, activation, dropout",
    [
        ("linear-bn-relu", True, "relu", 0.0),
        ("linear-bn-relu-dropout", True, "relu", 0.5),
        ("linear-relu-dropout", False, "relu", 0.5),
        ("linear-relu", False, "relu", 0.0),
        ("linear-bn", True, "none", 0.0),
    ],
)
def test_named_bottlenecks_are_what_they_say(name, norm, activation, dropout):
    expected = Bottleneck(width=9, norm=norm, activation=activation, dropout=dropout)
    assert make_bottleneck(name, width=9) == expected


def test_bottleneck_is_the_equation():
    bottleneck = Bottleneck(width=4, norm=True, activation="relu")
    variables = bottleneck.init(jax.random.key(0), X)
    y, _ = bottleneck.apply(variables, X, train=True, mutable=["batch_stats"])
    linear = X @ np.asarray(variables["params"]["fc"]["kernel"])
    expected = np.maximum((linear - linear.mean(0)) / np.sqrt(linear.var(0) + 1e-5), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [LinearHead(3), MLPHead(3, widths=(8, 6), dropout=0.5)])
def test_a_second_head_lives_alone(head):
    classifier = Classifier(MLP(widths=(7,)), 3, bottleneck=Bottleneck(4), head=head)
    variables = _variables(classifier)
    outputs = jax.jit(classifier.apply)(variables, X)
    alone = classifier.head_module()
    second = jax.jit(alone.init)(jax.random.key(9), outputs.features)
    assert set(second) == {"params"}
    same_shapes = jax.tree.map(lambda a, b: a.shape == b.shape, second["params"], variables["params"]["head"])
    assert all(jax.tree.leaves(same_shapes))
    logits = alone.apply({"params": variables["params"]["head"]}, outputs.features, train=False)
    np.testing.assert_allclose(logits, outputs.logits, rtol=1e-6)
    other = alone.apply({"params": second["params"]}, outputs.features, train=True, rngs={"dropout": jax.random.key(3)})
    assert other.shape == (6, 3)
    assert np.abs(other - logits).max() > 0


def test_names_build_modules():
    classifier = Classifier(MLP(widths=(7,)), 3, bottleneck="linear-bn-relu", head="mlp")
    assert classifier.bottleneck == Bottleneck(256)
    assert classifier.head == MLPHead(3)
    assert make_head("mlp", 3, widths=(5,)) == MLPHead(3, widths=(5,))
    assert classifier == classifier.clone()
    hash(classifier)


def test_bfloat16_leaves_as_float32():
    half = jnp.bfloat16
    classifier = Classifier(
        MLP(widths=(7,), dtype=half), 3, bottleneck=Bottleneck(4, dtype=half), head=LinearHead(3, dtype=half)
    )
    outputs, changed = classifier.apply(_variables(classifier), X, train=True, mutable=["batch_stats"])
    assert outputs.features.dtype == outputs.logits.dtype == jnp.float32
    assert outputs.hidden["fc1"].dtype == half
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(changed))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs))


def test_jit_is_eager():
    classifier = Classifier(MLP(widths=(7,), norm=True), 3, bottleneck=Bottleneck(4))
    variables = _variables(classifier)

    def run(variables, x):
        return classifier.apply(variables, x, train=True, mutable=["batch_stats"])

    eager, jitted = run(variables, X), jax.jit(run)(variables, X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), eager, jitted)


def test_mistakes_are_named():
    encoder = MLP(widths=(7,))
    with pytest.raises(InputError, match="head(.|\n)*4 classes(.|\n)*3"):
        Classifier(encoder, 3, head=LinearHead(4))
    with pytest.raises(InputError, match="num_classes"):
        Classifier(encoder, 1)
    with pytest.raises(InputError, match="did you mean 'linear-bn-relu'"):
        Classifier(encoder, 3, bottleneck="linear-bn-rel")
    with pytest.raises(InputError, match="linear"):
        Classifier(encoder, 3, head="lineer")
    with pytest.raises(InputError, match="did you mean 'width'"):
        make_bottleneck("linear-bn", widht=4)
    with pytest.raises(InputError, match="did you mean 'widths'"):
        make_head("mlp", 3, width=(4,))
    with pytest.raises(InputError, match="activation"):
        Bottleneck(activation="tanh").init(jax.random.key(0), X)
    with pytest.raises(InputError, match="features(.|\n)*rank 4"):
        LinearHead(3).init(jax.random.key(0), jnp.ones((2, 4, 4, 1)))


@pytest.mark.parametrize("unit_weights", [False, True])
def test_cosine_head_by_hand(unit_weights):
    head = CosineHead(num_classes=3, unit_weights=unit_weights)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 5)).astype(np.float32)
    variables = head.init(jax.random.key(0), features)
    (kernel,) = (np.asarray(x) for x in jax.tree.leaves(variables))
    cosines = features @ kernel / np.linalg.norm(features, axis=1, keepdims=True)
    expected = cosines / (np.linalg.norm(kernel, axis=0) if unit_weights else 1) / 0.05
    np.testing.assert_allclose(head.apply(variables, features), expected, rtol=2e-5)
    np.testing.assert_allclose(head.apply(variables, 7 * features), expected, rtol=2e-5)
    zero = np.zeros((2, 5), np.float32)
    slope = jax.grad(lambda x: head.apply(variables, x).sum())(zero)
    assert (np.asarray(head.apply(variables, zero)) == 0).all() and (np.asarray(slope) == 0).all()


def test_weight_norm_head_by_hand():
    head = WeightNormHead(num_classes=3)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 5)).astype(np.float32)
    params = head.init(jax.random.key(0), features)["params"]
    np.testing.assert_allclose(
        head.apply({"params": params}, features), features @ np.asarray(params["direction"]), rtol=2e-5
    )
    changed = {"direction": 5 * params["direction"], "length": 2 * params["length"], "bias": jnp.arange(3.0)}
    expected = 2 * features @ np.asarray(params["direction"]) + np.arange(3)
    np.testing.assert_allclose(head.apply({"params": changed}, features), expected, rtol=2e-5)
