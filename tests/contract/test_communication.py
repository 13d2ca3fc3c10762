"""What a step sends between devices: sums and, where a loss compares examples with one another, gathered rows."""

import jax
import pytest

from dalib.methods import METHODS
from dalib.run.preflight.program_text import REDEALS, collectives, parse
from dalib.tasks import classification
from dalib.train import make_forward, make_mesh, make_optimizer, make_step
from tests.contract.cases import CLASSES, STEPS, batch, classifier, methods, setup, small_method
from tests.discrepancy.cases import accepted

REDEALING = {
    "dare_gram": "eigh symmetrises the matrix of all rows' products with all rows, and a device holds rows of it only",
    "deepjdot": "transport alternates between rows and columns of the matrix of all pairs",
    "dsan": "the gradient of the matrix of all pairs is needed along its rows and along its columns",
    "swd": "every projection is sorted over the whole batch, so projections change places with rows",
}
"""Methods whose losses need examples on other devices, and why."""
ROWS = {"rsd": 8}
"""Rows of each domain, 48 unless the method refuses so many: six a device, for the methods of two source domains."""


@pytest.mark.parametrize("name", methods(sorted(METHODS), core=("dann",)))
def test_examples_stay_on_their_devices(name):
    """On eight devices no method moves examples from one to another, unless it is listed with its reason."""
    method, mesh, rows = small_method(name), make_mesh(), ROWS.get(name, 48)
    state, _ = setup(method, "vectors")
    net = classifier("vectors", name == "adabn")
    parts = method, make_forward(net, method.needs.batch_norm), make_optimizer(learning_rate=0.01)
    step = make_step(*parts, mesh=mesh, total_steps=STEPS, task=classification(CLASSES))
    shapes = jax.eval_shape(lambda x: x, (state, batch("vectors", rows, rows)))
    options = accepted({"xla_backend_optimization_level": 0})
    found = collectives(parse(step.lower(*shapes).compile(compiler_options=options).as_text()))
    assert "all-reduce" in found
    assert bool(found.keys() & set(REDEALS)) == (name in REDEALING), {kind: c.instructions for kind, c in found.items()}
