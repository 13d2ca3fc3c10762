"""Predictions on all devices are those of one, for any number of rows."""

import jax
import numpy as np

from dalib.methods import source_only
from dalib.train import make_forward, make_mesh, make_predict
from dalib.train.devices.processes import replicate
from tests.contract.cases import classifier, setup, vectors


def test_rows_are_split_over_devices_whatever_their_number():
    method = source_only()
    state, _ = setup(method, "vectors", norm=True)
    forward = make_forward(classifier("vectors", True), "source")
    mesh = make_mesh(jax.devices()[:4])
    one, four = (make_predict(method, forward, "target", mesh=m) for m in (None, mesh))
    params, model = replicate((state.params, state.model), mesh)
    for n in (8, 7, 1):
        inputs = vectors(np.random.default_rng(n), n)
        expected, found = one(state.params, state.model, inputs), four(params, model, inputs)
        assert found.hidden == {} and expected.hidden == {}
        for a, b in zip(expected[:2], found[:2], strict=True):
            assert b.shape == a.shape and len(b.sharding.device_set) == 1
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
