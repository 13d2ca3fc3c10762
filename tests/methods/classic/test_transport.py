"""Transport plans and OT-DA against golden numbers, conditions of optimality and, where installed, POT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib import discrepancy
from dalib.core.checks import InputError
from dalib.methods.classic import ot
from dalib.methods.classic.shallow import squared_distances
from dalib.methods.classic.transport import exact_plan, group_lasso_plan, sinkhorn_plan
from tests.golden import extra, golden, inputs
from tests.methods.classic.test_contract import samples


def _cost() -> tuple[np.ndarray, np.ndarray]:
    source, labels, target = samples()
    cost = squared_distances(source, target)
    return cost / cost.max(), labels


def _objective(plan: np.ndarray, cost: np.ndarray, labels: np.ndarray, entropy: float, group: float) -> float:
    value = (plan * cost).sum() + entropy * (plan * np.log(plan * plan.size)).sum()
    for c in np.unique(labels):
        value += group * np.sqrt((plan[labels == c] ** 2).sum(0)).sum()
    return float(value)


def test_exact_plan_golden():
    cost = squared_distances(*inputs("f_s", "f_t"))
    found = exact_plan(cost)
    np.testing.assert_allclose((found.plan * cost).sum(), golden("ot.exact").value, rtol=1e-12)
    np.testing.assert_array_equal(found.plan.argmax(axis=1), extra("ot.exact/assignment"))


def test_sinkhorn_plan_golden_and_the_same_as_the_discrepancy():
    cost = squared_distances(*inputs("f_s", "f_t"))
    found = sinkhorn_plan(cost, entropy=5.0, tolerance=1e-13)
    assert found.converged
    np.testing.assert_allclose(found.plan, extra("sinkhorn.eps5/plan"), rtol=1e-9)
    np.testing.assert_allclose((found.plan * cost).sum(), golden("sinkhorn.eps5").value, rtol=1e-10)
    cost, _ = _cost()
    other = jax.jit(lambda c: discrepancy.sinkhorn(c, epsilon=0.1, tolerance=1e-6).plan)(jnp.asarray(cost, jnp.float32))
    np.testing.assert_allclose(sinkhorn_plan(cost, entropy=0.1).plan, other, rtol=1e-3, atol=1e-6)


def test_margins():
    cost, labels = _cost()
    for found in (
        exact_plan(cost),
        exact_plan(cost[:11]),
        sinkhorn_plan(cost, entropy=0.02),
        group_lasso_plan(cost, labels, entropy=0.05, group=0.3),
    ):
        assert found.converged and (found.plan >= 0).all()
        n, m = found.plan.shape
        np.testing.assert_allclose(found.plan.sum(1), np.full(n, 1 / n), rtol=1e-6)
        np.testing.assert_allclose(found.plan.sum(0), np.full(m, 1 / m), rtol=1e-6)


def test_exact_plan_of_unequal_sizes_by_hand():
    # Two sources of 1/2 at 0 and 4, targets of 1/3 at 0, 2, 4: the middle one is shared, cost 2·(1/6)·4.
    cost = squared_distances(np.array([[0.0], [4]]), np.array([[0.0], [2], [4]]))
    expected = np.array([[1 / 3, 1 / 6, 0], [0, 1 / 6, 1 / 3]])
    np.testing.assert_allclose(exact_plan(cost).plan, expected, atol=1e-12)


def test_small_entropy_approaches_the_exact_plan_and_large_the_product():
    cost, _ = _cost()
    exact = exact_plan(cost)
    close = sinkhorn_plan(cost, entropy=2e-3, max_iterations=20_000, tolerance=1e-8)
    assert 0 <= ((close.plan - exact.plan) * cost).sum() < 2e-3 * np.log(cost.size)
    np.testing.assert_allclose(sinkhorn_plan(cost, entropy=1e4).plan, 1 / cost.size, rtol=1e-3)
    assert not sinkhorn_plan(cost, entropy=2e-3, max_iterations=3).converged


@pytest.mark.parametrize(("entropy", "group"), [(0.1, 0.05), (1.0, 0.1), (0.05, 0.5)])
def test_group_lasso_plan_is_the_minimum(entropy, group):
    cost, labels = _cost()
    found = group_lasso_plan(cost, labels, entropy=entropy, group=group, tolerance=1e-10, max_iterations=500)
    assert found.converged and 0 <= found.gap <= 1e-10
    # Stationary: the gradient is the sum of a row and a column term wherever the plan is positive.
    norms = np.stack([np.sqrt((found.plan[labels == c] ** 2).sum(0)) for c in labels])
    gradient = cost + entropy * np.log(found.plan * cost.size) + group * found.plan / norms
    rest = gradient - gradient.mean(0) - gradient.mean(1, keepdims=True) + gradient.mean()
    np.testing.assert_allclose(rest * np.sqrt(found.plan * cost.size), 0, atol=1e-3)
    value = _objective(found.plan, cost, labels, entropy, group)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = sinkhorn_plan(cost + 0.2 * rng.normal(size=cost.shape), entropy=entropy).plan
        mixed = found.plan + 0.01 * (other - found.plan)
        assert _objective(mixed, cost, labels, entropy, group) >= value - 1e-10


def test_groups_gather_each_target_example_in_fewer_classes():
    cost, labels = _cost()

    def share(group: float) -> float:
        plan = group_lasso_plan(cost, labels, entropy=0.1, group=group).plan
        by_class = np.stack([plan[labels == c].sum(0) for c in range(3)]) * plan.shape[1]
        return float(by_class.max(0).mean())

    assert share(0.0) < share(0.2) < share(1.0)


def test_exact_transport_undoes_a_translation():
    source, labels, _ = samples()
    order = np.random.default_rng(1).permutation(len(source))
    fitted = ot(plan="exact").fit(source, None, source[order] + 5)
    np.testing.assert_allclose(fitted.source, source + 5, rtol=1e-12)
    # A further row moves as its nearest row does.
    np.testing.assert_allclose(fitted.transform_source(source[:4] + 0.01), source[:4] + 5.01, rtol=1e-12)


def test_mapped_rows_are_means_of_target_rows():
    source, labels, target = samples()
    cost = squared_distances(source, target)
    plan = group_lasso_plan(cost / np.median(cost), labels, entropy=0.5, group=0.2).plan
    fitted = ot(entropy=0.5, group=0.2, cost_scale="median").fit(source, labels, target)
    np.testing.assert_allclose(fitted.source, len(source) * plan @ target, rtol=1e-6, atol=1e-8)
    assert fitted.info["converged"]


def test_doors():
    for arguments, word in (
        ({"plan": "emd"}, "plan"),
        ({"cost_scale": "maximum"}, "cost_scale"),
        ({"entropy": 0}, "entropy"),
        ({"group": -1}, "group"),
    ):
        with pytest.raises(InputError, match=word):
            ot(**arguments)


def test_the_same_as_pot():
    pot = pytest.importorskip("ot")
    cost, labels = _cost()
    n, m = cost.shape
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    np.testing.assert_allclose((exact_plan(cost).plan * cost).sum(), pot.emd2(a, b, cost), rtol=1e-9)
    np.testing.assert_allclose(sinkhorn_plan(cost, entropy=0.1).plan, pot.sinkhorn(a, b, cost, 0.1), rtol=1e-5)
    ours = group_lasso_plan(cost, labels, entropy=0.1, group=0.1).plan
    theirs = pot.da.sinkhorn_l1l2_gl(a, labels, b, cost, 0.1, 0.1, numItermax=200)
    ours, theirs = (_objective(plan, cost, labels, 0.1, 0.1) for plan in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
