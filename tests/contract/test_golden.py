"""Every golden number of the table that says which methods have one."""

import jax
import numpy as np
import pytest

from dalib.methods import METHODS
from dalib.methods.classic import CLASSIC
from tests.golden import golden
from tests.golden.methods import CHECKS


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.method}-{check.case}")
def test_golden(check):
    with jax.enable_x64(True):
        ours, expected = np.asarray(check.ours()), check.of_golden(golden(check.case).value)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, expected, rtol=check.rtol, atol=check.rtol * np.abs(expected).max())


def test_the_table_names_methods_and_cases():
    names = {*METHODS, *(f"classic.{name}" for name in CLASSIC)}
    assert {check.method for check in CHECKS} <= names
    assert all(np.all(np.isfinite(golden(check.case).value)) for check in CHECKS)
    assert len({(check.method, check.case) for check in CHECKS}) == len(CHECKS)
