"""Files that torch itself writes, in every protocol and form; torch is there to write them, never to read."""

import argparse
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders import load
from dalib.encoders.checkpoints.reading import read_checkpoint

pytestmark = pytest.mark.parity
NORM = ("weight", "bias", "running_mean", "running_var")


def extras():
    import torch

    return {
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "dtype": torch.float32,
        "classes": {"cat", "dog"},
        "history": defaultdict(list, loss=[1.0]),
        "path": Path("x"),
        "rng": torch.get_rng_state(),
        "device": torch.device("cpu"),
        "epoch": 3,
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_protocol_and_form(protocol, zipped, tmp_path):
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).double()
    optimizer = torch.optim.Adam(net.parameters())
    content = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), **extras()}
    torch.save(content, tmp_path / "f", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "f")
    assert found.part == "net" and {"optimizer", "args"} & set(found.left) == {"optimizer"}
    assert found.arrays.keys() == net.state_dict().keys()
    for name, x in net.state_dict().items():
        np.testing.assert_array_equal(found.arrays[name], x.numpy())
    classes = {"set", "builtins.set"} & found.passed.keys()
    assert classes and found.passed.keys() - classes == {"argparse.Namespace", "torch.float32", "pathlib.PosixPath"}


@pytest.fixture(scope="module")
def resnet18():
    """The names and shapes of torchvision's net, filled at random, without torchvision."""
    import torch

    draw = torch.Generator().manual_seed(0)

    def norm(name, channels):
        four = {f"{name}.{part}": torch.rand(channels, generator=draw) for part in NORM}
        return four | {f"{name}.num_batches_tracked": torch.tensor(7)}

    def conv(name, features, channels, side):
        return {f"{name}.weight": torch.rand(features, channels, side, side, generator=draw)}

    state = conv("conv1", 64, 3, 7) | norm("bn1", 64)
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            state |= conv(f"{name}.conv1", width, before, 3) | norm(f"{name}.bn1", width)
            state |= conv(f"{name}.conv2", width, width, 3) | norm(f"{name}.bn2", width)
            if width != before:
                state |= conv(f"{name}.downsample.0", width, before, 1) | norm(f"{name}.downsample.1", width)
            before = width
    return state


def test_nets_as_people_save_them(resnet18, tmp_path):
    import torch

    plain = resnet18
    torch.save(plain, tmp_path / "plain")
    _, wanted, _ = load("resnet18", weights=tmp_path / "plain")

    def under(prefix):
        return {prefix + name: x for name, x in plain.items()}

    cases = {
        "net": {"net": plain, "acc": 91.2},
        "data parallel": {"state_dict": under("module.")},
        "lightning": {"state_dict": under("model."), "hyper_parameters": extras()},
        "compiled": {"model": under("_orig_mod."), **extras()},
        "compiled and parallel": under("module._orig_mod."),
        "averaged": {"model_ema": under("module.")},
        "dino": {"student": {}, "teacher": under("module.backbone.")},
        "wide": {name: x.double() for name, x in plain.items()},
    }
    for content in cases.values():
        torch.save(content, tmp_path / "f")
        _, found, _ = load("resnet18", weights=tmp_path / "f")
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
    whole = tmp_path / "whole"
    torch.save(torch.nn.Linear(2, 2), whole)
    with pytest.raises(InputError, match="objects of torch.nn.modules.linear.Linear"):
        load("resnet18", weights=whole)
    torch.save(
        {name: torch.full_like(x, float("nan")) if x.is_floating_point() else x for name, x in plain.items()}, whole
    )
    with pytest.raises(InputError, match="values are not finite") as error:
        load("resnet18", weights=whole)
    assert str(error.value).count("\n") < 24
    torch.save(under("other.one.") | {"x": torch.ones(1)}, whole)
    load_error = pytest.raises(InputError, load, "resnet18", weights=whole)
    assert "x [1] of the checkpoint: not known" in str(load_error.value) and str(load_error.value).count("\n") < 5
    with pytest.raises(InputError, match="all names begin with layer|not known to the rule table") as error:
        load("vgg16", weights=tmp_path / "plain")
    assert str(error.value).count("\n") < 24
