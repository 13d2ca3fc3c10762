"""Text encoders against transformers: random weights through the files that transformers writes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders import BERT, GPT2
from dalib.encoders.pretrained import assemble, read_arrays
from dalib.encoders.pretrained.tables import TABLES
from tests.parity.torch_reference import assert_stage_close, declare_torchvision_operators, randomise, record_hidden

torch = pytest.importorskip("torch")
declare_torchvision_operators()
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity

SIZES = {"vocabulary": 61, "width": 48, "depth": 3, "heads": 4, "positions": 40}
BERT_SIZES = {
    "vocab_size": 61,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
}


def _ids(length, pad_id, seed=0):
    """Four texts of different lengths; the first fills the row, the last is a single token."""
    ids = np.random.default_rng(seed).integers(5, 61, size=(4, length)).astype(np.int32)
    for row, used in enumerate((length, length - 3, length // 2, 1)):
        ids[row, used:] = pad_id
    return ids


def _bert():
    config = transformers.BertConfig(**BERT_SIZES)
    ours = BERT(**SIZES, mlp_width=80, pooling="pooler")
    names = {f"block_{i}": f"bert.encoder.layer.{i}" for i in range(3)} | {"embeddings": "bert.embeddings"}
    return transformers.BertForPreTraining(config), ours, names, "bert.embeddings.word_embeddings", 0


def _roberta():
    config = transformers.RobertaConfig(**BERT_SIZES, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5)
    ours = BERT(**SIZES, mlp_width=80, position_offset=2, token_types=1, pad_id=1, epsilon=1e-5)
    names = {f"block_{i}": f"roberta.encoder.layer.{i}" for i in range(3)} | {"embeddings": "roberta.embeddings"}
    return transformers.RobertaForMaskedLM(config), ours, names, "roberta.embeddings.word_embeddings", 1


def _distilbert():
    config = transformers.DistilBertConfig(
        vocab_size=61, dim=48, n_layers=3, n_heads=4, hidden_dim=80, max_position_embeddings=40
    )
    ours = BERT(**SIZES, mlp_width=80, token_types=0)
    names = {f"block_{i}": f"distilbert.transformer.layer.{i}" for i in range(3)}
    names |= {"embeddings": "distilbert.embeddings"}
    return transformers.DistilBertForMaskedLM(config), ours, names, "distilbert.embeddings.word_embeddings", 0


def _gpt2():
    config = transformers.GPT2Config(vocab_size=61, n_embd=48, n_layer=3, n_head=4, n_positions=40, bos_token_id=0)
    names = {f"block_{i}": f"transformer.h.{i}" for i in range(3)} | {"tokens": "transformer.ln_f"}
    return transformers.GPT2LMHeadModel(config), GPT2(**SIZES), names, "transformer.wte", -1


FAMILIES = {"bert": _bert, "roberta": _roberta, "distilbert": _distilbert, "gpt2": _gpt2}


def _like(encoder):
    return jax.eval_shape(encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 5), jnp.int32))


def _converted(reference, encoder, family, folder):
    reference.save_pretrained(folder)
    table = TABLES[f"transformers/{family}"]
    return jax.tree.map(jnp.asarray, assemble(read_arrays(folder), table, _like(encoder)))


def _run(reference, ids, pad_id):
    valid = torch.from_numpy(ids != pad_id)
    tokens = torch.from_numpy(np.where(ids == -1, 0, ids)).long()
    base = getattr(reference, reference.base_model_prefix)
    return base(input_ids=tokens, attention_mask=valid.long())


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_and_gradients(family, tmp_path):
    reference, encoder, names, embedding, pad_id = FAMILIES[family]()
    randomise(reference, 3)
    variables = _converted(reference, encoder, family, tmp_path)
    evaluate = jax.jit(encoder.apply)
    for length in (37, 8):
        ids = _ids(length, pad_id)
        with torch.no_grad(), record_hidden(reference, names) as theirs:
            outputs = _run(reference, ids, pad_id)
        ours = evaluate(variables, ids)
        # GPT-2's padding is no token: what the nets compute there differs and means nothing.
        seen = (ids != pad_id)[..., None] if family == "gpt2" else np.ones((*ids.shape, 1), bool)
        for stage, activation in theirs.items():
            assert_stage_close(ours.hidden[stage] * seen, activation * seen, f"{stage}, {length} tokens")
        last = outputs.last_hidden_state.numpy()
        assert_stage_close(ours.hidden["tokens"] * seen, last * seen, f"tokens, {length}")
        expected = {
            "bert": lambda o, last=last: o.pooler_output,
            "gpt2": lambda o, last=last, ids=ids: last[np.arange(4), (ids != -1).sum(1) - 1],
        }.get(family, lambda o, last=last: last[:, 0])
        assert_stage_close(ours.features, expected(outputs), f"features, {length}")

    ids = _ids(8, pad_id, seed=1)
    weights = np.random.default_rng(2).normal(size=(4, 48)).astype(np.float32)
    seen = (ids != pad_id)[..., None].astype(np.float32)

    def scalar(params):
        tokens = encoder.apply({"params": params}, ids).hidden["tokens"]
        return jnp.sum(jnp.sum(tokens * seen, axis=1) * weights)

    gradient = jax.jit(jax.grad(scalar))(variables["params"])
    table = dict(reference.named_modules())[embedding]
    last = _run(reference, ids, pad_id).last_hidden_state
    ((last * torch.from_numpy(seen)).sum(1) * torch.from_numpy(weights)).sum().backward()
    own = gradient["wte" if family == "gpt2" else "word_embeddings"]["embedding"]
    assert_stage_close(own, table.weight.grad, "gradient of the word embeddings", 1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_mode_without_dropout_and_rematerialisation_change_nothing(family, tmp_path):
    reference, encoder, _, _, pad_id = FAMILIES[family]()
    randomise(reference, 4)
    variables = _converted(reference, encoder, family, tmp_path)
    for module in reference.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for module in reference.modules():
        for name in ("attention_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    reference.train()
    ids = _ids(9, pad_id)
    with torch.no_grad():
        last = _run(reference, ids, pad_id).last_hidden_state
    seen = (ids != pad_id)[..., None]
    ours = jax.jit(functools.partial(encoder.clone(dropout=0.0, remat=True).apply, train=True))(variables, ids)
    assert_stage_close(ours.hidden["tokens"] * seen, last.numpy() * seen, "tokens in training mode")


def test_gpt2_with_a_token_as_padding():
    """Any id that no text holds serves as padding: 60 gives the same features as −1."""
    encoder = GPT2(**SIZES)
    variables = encoder.init(jax.random.key(0), jnp.ones((1, 4), jnp.int32))
    own = np.where((ids := _ids(12, -1)) == 60, 59, ids)
    ours = jax.jit(encoder.apply)(variables, own).features
    theirs = jax.jit(encoder.clone(pad_id=60).apply)(variables, np.where(own == -1, 60, own)).features
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_old_files_and_files_without_a_prefix(tmp_path):
    """gamma and beta, position_ids, no prefix, no pooler: as the first published files of BERT."""
    reference, encoder, *_ = _bert()
    randomise(reference, 5)
    full = _converted(reference, encoder, "bert", tmp_path)
    state = {name.removeprefix("bert."): x.numpy() for name, x in reference.state_dict().items()}
    rename = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, x in state.items():
        for new, before in rename.items():
            name = name.replace(new, before)
        old[name] = x
    old["embeddings.position_ids"] = np.arange(40)[None]
    old = {name: x for name, x in old.items() if not name.startswith("cls.predictions.decoder")}
    table = TABLES["transformers/bert"]
    again = assemble(old, table, _like(encoder))
    jax.tree.map(np.testing.assert_array_equal, again, full)
    plain = encoder.clone(pooling="mean")
    without = assemble(old, table, _like(plain), without=("params/pooler/",))
    assert "pooler" not in without["params"]


def test_sizes_of_published_nets_are_the_references():
    from dalib import encoders

    configs = {
        "bert_base": transformers.BertConfig(),
        "bert_large": transformers.BertConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
        ),
        "bert_tiny": transformers.BertConfig(
            hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512
        ),
        "roberta_base": transformers.RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
        "distilbert_base": transformers.DistilBertConfig(),
        "gpt2": transformers.GPT2Config(),
        "gpt2_medium": transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16),
    }
    for name, config in configs.items():
        with torch.device("meta"):
            reference = transformers.AutoModel.from_config(config)
        shapes = {k: np.broadcast_to(np.float32(0), tuple(v.shape)) for k, v in reference.state_dict().items()}
        fields = {"pooling": "pooler"} if "pooler.dense.weight" in shapes else {}
        encoder = encoders.make_encoder(name, **fields)
        family = config.model_type
        assemble(shapes, TABLES[f"transformers/{family}"], _like(encoder))
