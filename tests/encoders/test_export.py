"""Every family of encoders can be exported with a batch of any size."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders import ENCODERS, make_encoder
from dalib.encoders.layers.convolution import convolution_by_size, convolution_canonical

SMALLEST = {
    "mlp": (64,), "series_cnn": (128, 3), "lenet": (28, 28, 1), "dtn": (32, 32, 3), "cifar_resnet20": (32, 32, 3),
    "resnet18": (64, 64, 3), "resnext50_32x4d": (64, 64, 3), "squeezenet1_1": (64, 64, 3), "vgg11_bn": (64, 64, 3),
    "densenet121": (64, 64, 3), "mobilenet_v2": (64, 64, 3), "mobilenet_v3_small": (64, 64, 3),
    "efficientnet_b0": (64, 64, 3), "efficientnet_lite0": (64, 64, 3), "convnext_tiny": (64, 64, 3),
    "vit_s16": (64, 64, 3), "dinov2_vits14": (56, 56, 3), "clip_vit_b32": (64, 64, 3),
    "fasterrcnn_resnet50_fpn": (64, 64, 3), "yolov5n": (64, 64, 3), "bert_tiny": (16,), "roberta_base": (16,),
    "distilbert_base": (16,), "minilm_l6": (16,), "gpt2": (16,), "wav2vec2_base": (4000,), "logmel_cnn": (4000,),
}  # fmt: skip
"""The smallest member of every family, with the shape of an example."""
SHALLOW = {
    "roberta_base",
    "distilbert_base",
    "minilm_l6",
    "gpt2",
    "wav2vec2_base",
    "vit_s16",
    "dinov2_vits14",
    "clip_vit_b32",
}
"""One block says as much as twelve."""
TEXTS = {"bert_tiny", "roberta_base", "distilbert_base", "minilm_l6", "gpt2"}
FAST = {"mlp", "lenet", "series_cnn"}


def test_every_module_has_a_member_here():
    def module(name):
        return getattr(ENCODERS[name], "func", ENCODERS[name])

    assert {module(name) for name in SMALLEST} == {module(name) for name in ENCODERS}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in SMALLEST])
def test_a_batch_of_any_size(name):
    encoder = make_encoder(name, **({"depth": 1} if name in SHALLOW else {}))
    dtype = jnp.int32 if name in TEXTS else jnp.float32
    (n,) = jax.export.symbolic_shape("n")
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SMALLEST[name]), dtype))
    symbolic = jax.ShapeDtypeStruct((n, *SMALLEST[name]), dtype)
    forward = jax.jit(lambda variables, x: encoder.apply(variables, x, train=False).features)
    exported = jax.export.export(forward)(shapes, symbolic)
    assert exported.out_avals[0].shape[0] == n
    if name in FAST:  # compiling the others takes minutes, and their convolutions are tested one by one
        rng = np.random.default_rng(0)
        variables = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)
        x = jnp.asarray(rng.normal(size=(3, *SMALLEST[name])), dtype)
        wanted = np.asarray(forward(variables, x))
        np.testing.assert_allclose(exported.call(variables, x), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_convolution_of_an_unknown_size_takes_the_canonical_form():
    shapes = [jax.export.symbolic_shape("n, 8, 8, 2"), jax.export.symbolic_shape("2, s, 8, 2", constraints=["s >= 8"])]
    kernel = jnp.ones((3, 3, 2, 4))

    def texts(form):
        function = jax.make_jaxpr(lambda x: form(x, kernel, (2, 2), ((1, 1), (1, 1))))
        return [str(function(jax.ShapeDtypeStruct(shape, jnp.float32))) for shape in shapes]

    assert texts(convolution_by_size) == texts(convolution_canonical)
