"""One device, eight, and two processes of four each: the same losses, gradients, statistics and steps."""

import jax
import numpy as np
import pytest

from dalib.train import make_mesh
from tests.contract.cases import ALL
from tests.multiprocess.processes import finish, start
from tests.multiprocess.trajectory import trajectory

CORE = ("source_only", "dan", "dann")
"""No term, a term on all pairs of rows, an adversary with parameters of its own; the others with ``-m slow``."""


def in_two_processes(names, folder):
    file = folder / "two.npz"
    finish(start(2, 4, "tests.multiprocess.worker", file, *names), timeout=560)
    with np.load(file) as arrays:
        assert (int(arrays["processes"]), int(arrays["devices"])) == (2, 8)
        return {key: arrays[key] for key in arrays.files if "/" in key}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    return in_two_processes(CORE, tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return in_two_processes(ALL, tmp_path_factory.mktemp("all"))


@pytest.mark.parametrize("name", CORE)
def test_two_processes_are_one_device(name, core):
    compare(trajectory(name), part(core, name), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_method_on_eight_devices_and_in_two_processes(name, everything):
    one = trajectory(name)
    compare(one, trajectory(name, make_mesh(jax.devices()[:8])), name)
    compare(one, part(everything, name), name)


def part(found, name):
    return {key.removeprefix(f"{name}/"): x for key, x in found.items() if key.startswith(f"{name}/")}


def compare(one, other, name):
    assert one.keys() == other.keys()
    assert any("statistics" in key for key in one)
    for key, x in one.items():
        # A sum of terms that cancel is as exact as its largest terms: those of the same part of the state.
        part = key.rsplit("/", 2)[0]
        scale = max(float(np.abs(y).max(initial=0)) for k, y in one.items() if k.startswith(part))
        np.testing.assert_allclose(other[key], x, rtol=1e-5, atol=1e-5 * scale, err_msg=f"{name} {key}")
