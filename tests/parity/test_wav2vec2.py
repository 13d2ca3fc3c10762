"""wav2vec 2.0 against transformers: random weights through the files that transformers writes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders import Wav2Vec2, wav2vec2_base
from dalib.encoders.pretrained import assemble, read_arrays
from dalib.encoders.pretrained.tables import TABLES
from tests.parity.torch_reference import assert_stage_close, declare_torchvision_operators, randomise, record_hidden

torch = pytest.importorskip("torch")
declare_torchvision_operators()
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity

TABLE = TABLES["transformers/wav2vec2"]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 12,
    "num_conv_pos_embedding_groups": 4,
    "codevector_dim": 8,
    "num_codevectors_per_group": 6,
    "proj_codevector_dim": 8,
}
OURS = {
    "channels": (16,) * 7,
    "width": 32,
    "depth": 2,
    "heads": 4,
    "mlp_width": 48,
    "position_kernel": 12,
    "position_groups": 4,
}
STAGES = {
    "embeddings": "wav2vec2.encoder.layer_norm",
    "block_0": "wav2vec2.encoder.layers.0",
    "block_1": "wav2vec2.encoder.layers.1",
}


def _like(encoder):
    return jax.eval_shape(encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 4000), jnp.float32))


@functools.cache
def _reference():
    return randomise(transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**SMALL)), 6)


def _waves(length):
    return np.random.default_rng(length).normal(size=(2, length)).astype(np.float32)


def test_activations_and_gradient(tmp_path):
    reference, encoder = _reference(), Wav2Vec2(**OURS)
    reference.save_pretrained(tmp_path)
    variables = jax.tree.map(jnp.asarray, assemble(read_arrays(tmp_path), TABLE, _like(encoder)))
    evaluate = jax.jit(encoder.apply)
    for length in (400, 4321, 8007):
        x = _waves(length)
        with torch.no_grad(), record_hidden(reference, STAGES) as theirs:
            outputs = reference.wav2vec2(torch.from_numpy(x))
            first = reference.wav2vec2.feature_extractor(torch.from_numpy(x)).transpose(1, 2)
        ours = evaluate(variables, x)
        assert_stage_close(ours.hidden["conv"], first, f"conv, {length} samples")
        for stage, activation in theirs.items():
            assert_stage_close(ours.hidden[stage], activation, f"{stage}, {length} samples")
        assert_stage_close(ours.features, outputs.last_hidden_state.mean(1), f"features, {length} samples")

    x = _waves(4321)
    weights = np.random.default_rng(1).normal(size=(2, 32)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(encoder.apply(variables, x).features * weights)))(x)
    theirs = torch.from_numpy(x).requires_grad_()
    (reference.wav2vec2(theirs).last_hidden_state.mean(1) * torch.from_numpy(weights)).sum().backward()
    assert_stage_close(gradient, theirs.grad, "gradient of the waveform", 1e-3)


def test_both_names_of_weight_norm():
    """The files of older versions say weight_g and weight_v."""
    state = {name: x.numpy() for name, x in _reference().state_dict().items()}
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): x
        for name, x in state.items()
    }
    assert old.keys() != state.keys()
    encoder = Wav2Vec2(**OURS)
    new, again = (assemble(arrays, TABLE, _like(encoder)) for arrays in (state, old))
    jax.tree.map(np.testing.assert_array_equal, new, again)


def test_sizes_of_the_published_net_are_the_references():
    with torch.device("meta"):
        reference = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config())
    state = {k: np.ones(tuple(v.shape), np.float32) for k, v in reference.state_dict().items() if "pos_conv" in k}
    state |= {
        k: np.broadcast_to(np.float32(0), tuple(v.shape)) for k, v in reference.state_dict().items() if k not in state
    }
    assemble(state, TABLE, _like(wav2vec2_base()))
