"""SqueezeNet 1.1 against torchvision's; the Caffe layout gives the same variables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.encoders.pretrained import assemble
from dalib.encoders.pretrained.tables import TABLES
from dalib.encoders.registry import make_encoder
from tests.parity.torch_reference import declare_torchvision_operators
from tests.parity.vision import check_names, compare, meta_arrays

pytestmark = pytest.mark.parity
pytest.importorskip("torch")
STAGES = {"conv1": "features.1", "fire3": "features.4", "fire5": "features.7", "fire9": "features.12"}
FIRES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}


@pytest.fixture(scope="module")
def models():
    declare_torchvision_operators()
    return pytest.importorskip("torchvision.models")


# The pools round up: sides of 61 and 63 leave a row over at the first pool, 67 at the second, 70 at the third.
@pytest.mark.parametrize("odd", [(61, 67), (63, 70)])
def test_squeezenet(models, tmp_path, odd):
    theirs = models.squeezenet1_1(num_classes=10, dropout=0.0)
    ours = make_encoder("squeezenet1_1", num_classes=10, dropout=0.0)
    compare(theirs, ours, "torchvision/squeezenet", tmp_path, STAGES, odd=odd, train=False)


def test_names_and_shapes(models):
    check_names(meta_arrays(models.squeezenet1_1), "squeezenet1_1", "torchvision/squeezenet")


def test_both_layouts_give_the_same_variables(models):
    state = {name: x.numpy() for name, x in models.squeezenet1_1(num_classes=4).state_dict().items()}
    foreign = {"conv1": "features.0", "conv10": "classifier.1"}
    for ours, theirs in FIRES.items():
        foreign |= {f"fire{ours}/squeeze1x1": f"features.{theirs}.squeeze"}
        foreign |= {f"fire{ours}/{e}": f"features.{theirs}.{e}" for e in ("expand1x1", "expand3x3")}
    caffe = {f"{name}.0": state[f"{key}.weight"].transpose(2, 3, 1, 0) for name, key in foreign.items()}
    caffe |= {f"{name}.1": state[f"{key}.bias"] for name, key in foreign.items()}
    assert len(caffe) == len(state)
    encoder = make_encoder("squeezenet1_1", num_classes=4)
    like = jax.eval_shape(encoder.init, jax.random.key(0), jnp.ones((1, 64, 64, 3)))
    tables = TABLES["torchvision/squeezenet"], TABLES["caffe/squeezenet"]
    ours = [assemble(arrays, table, like) for arrays, table in zip((state, caffe), tables, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, *ours)
