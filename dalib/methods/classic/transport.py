"""Optimal transport of source features to the target, with its solver."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dalib.core.checks import check_positive, choose, input_error
from dalib.methods.classic.shallow import Fitted, Shallow, checked, fitted, identity, nearest, squared_distances

# Transport plans between two samples of uniform weights, float64 on the host: exact, entropic, with class groups.


class Plan(NamedTuple):
    """A transport plan.

    Attributes:
        plan: ``[n, m]`` ≥ 0; rows sum to 1/n, columns to 1/m (within the tolerance for entropic plans).
        converged: whether the tolerance was reached.
        iterations: outer iterations made; 1 for an exact plan.
        gap: upper bound of ``objective(plan) − minimum``, 0 if exact; for a Sinkhorn plan the L1 error of the row sums.
    """

    plan: np.ndarray
    converged: bool
    iterations: int
    gap: float


def exact_plan(cost: np.ndarray) -> Plan:
    """Earth mover's plan ``min ⟨P, C⟩`` of a cost ``[n, m]``. n = m is an assignment, O(n³). Otherwise a linear
    programme with n·m variables, slow from about a thousand rows on."""
    from scipy.optimize import linear_sum_assignment, linprog
    from scipy.sparse import eye_array, kron, vstack

    n, m = cost.shape
    if n == m:
        rows, columns = linear_sum_assignment(cost)
        plan = np.zeros_like(cost)
        plan[rows, columns] = 1 / n
        return Plan(plan, True, 1, 0.0)
    sums = vstack([kron(eye_array(n), np.ones((1, m))), kron(np.ones((1, n)), eye_array(m))]).tocsr()
    # In units of 1/(n·m) the margins are whole numbers, which keeps the solver's tolerances away from 1/n.
    margins = np.concatenate([np.full(n, float(m)), np.full(m, float(n))])
    solution = linprog(cost.ravel(), A_eq=sums, b_eq=margins, bounds=(0, None), method="highs")
    if solution.status != 0:
        raise input_error("cost", got=f"no solution ({solution.message})", expected="finite costs of moderate size")
    return Plan(np.maximum(solution.x, 0).reshape(n, m) / (n * m), True, 1, 0.0)


def sinkhorn_plan(cost: np.ndarray, *, entropy: float, tolerance: float = 1e-9, max_iterations: int = 2000) -> Plan:
    """``min ⟨P, C⟩ + ε KL(P | a bᵀ)`` by log-domain Sinkhorn iterations; ε = ``entropy`` > 0 in units of the cost. The
    host's float64 twin of :func:`dalib.discrepancy.sinkhorn` stops at row sums within ``tolerance`` of 1/n in L1."""
    check_positive(entropy=entropy, tolerance=tolerance, max_iterations=max_iterations)
    n, m = cost.shape
    scaled = cost / -entropy
    g = np.zeros(m)
    f = -_log_mean_exp(scaled + g, axis=1)
    error, iterations = np.inf, 0
    while error > tolerance and iterations < max_iterations:
        g = -_log_mean_exp(scaled + f[:, None], axis=0)
        renewed = -_log_mean_exp(scaled + g, axis=1)
        # The row sums of the plan of (f, g), times n, are exp(f − renewed).
        error = float(np.abs(np.expm1(f - renewed)).mean())
        iterations += 1
        if error > tolerance:
            f = renewed
    return Plan(np.exp(scaled + f[:, None] + g) / (n * m), error <= tolerance, iterations, error)


def group_lasso_plan(
    cost: np.ndarray,
    labels: np.ndarray,
    *,
    entropy: float,
    group: float,
    tolerance: float = 1e-7,
    max_iterations: int = 100,
) -> Plan:
    """``min ⟨P, C⟩ + ε KL(P | a bᵀ) + η Σ_j Σ_c ‖P[I_c, j]‖₂``: a target example should take from few classes. ``I_c``
    are the source rows of class c. Source: Courty, Flamary, Tuia, Rakotomamonjy, TPAMI 2017, arXiv 1507.00504.

    Args:
        cost: ``[n, m]``.
        labels: ``[n]`` integers.
        entropy: ε > 0.
        group: η ≥ 0; 0 is the Sinkhorn plan.
        tolerance: > 0, largest duality gap, in units of the cost.
        max_iterations: of the outer loop.
    """
    check_positive(tolerance=tolerance, max_iterations=max_iterations)
    if not group >= 0:
        raise input_error("group", got=group, expected="a number ≥ 0")
    members = np.equal.outer(np.unique(labels), labels).astype(np.float64)
    index = np.searchsorted(np.unique(labels), labels)
    solve = functools.partial(sinkhorn_plan, entropy=entropy)
    objective = functools.partial(_objective, cost=cost, members=members, entropy=entropy, group=group)
    current = solve(cost)
    if group == 0:
        return current
    plan, converged, gap, iterations = current.plan, False, np.inf, 0
    value = objective(plan)
    while iterations < max_iterations:
        # Generalised conditional gradient: linearise the group term alone, so that each round is one Sinkhorn plan and
        # a line search.
        norms = np.sqrt(members @ (plan * plan))[index]
        slope = cost + group * np.divide(plan, norms, out=np.zeros_like(plan), where=norms > 0)
        inner = solve(slope)
        step = inner.plan - plan
        # The duality gap bounds the distance from the minimum, as the problem is convex.
        gap = float(-(slope * step).sum() + entropy * (_divergence(plan) - _divergence(inner.plan)))
        iterations += 1
        if gap <= tolerance:
            converged = inner.converged
            break
        plan, value = _line_search(plan, step, value, gap, objective)
    return Plan(plan, converged, iterations, max(gap, 0.0))


def _line_search(
    plan: np.ndarray, step: np.ndarray, value: float, gap: float, objective: Callable[[np.ndarray], float]
) -> tuple[np.ndarray, float]:
    """The first of 1, ½, ¼, … that lowers the objective by a fair share of what the slope promises."""
    length = 1.0
    while True:
        candidate = plan + length * step
        lowered = objective(candidate)
        if lowered <= value - 0.1 * length * gap or length < 1e-6:
            return candidate, lowered
        length /= 2


def _objective(plan: np.ndarray, *, cost: np.ndarray, members: np.ndarray, entropy: float, group: float) -> float:
    groups = np.sqrt(members @ (plan * plan)).sum()
    return float((plan * cost).sum() + entropy * _divergence(plan) + group * groups)


def _divergence(plan: np.ndarray) -> float:
    """``Σ P log(P / a b)`` with uniform a and b, 0 log 0 = 0."""
    from scipy.special import xlogy

    return float(xlogy(plan, plan * plan.size).sum())


def _log_mean_exp(values: np.ndarray, *, axis: int) -> np.ndarray:
    largest = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - largest).mean(axis=axis)) + largest.squeeze(axis)


PLANS = ("group_lasso", "sinkhorn", "exact")
COST_SCALES: dict[str, Callable[[np.ndarray], np.floating]] = {
    "max": np.max,
    "mean": np.mean,
    "median": np.median,
    "none": lambda cost: np.float64(1),
}


def ot(*, plan: str = "group_lasso", entropy: float = 0.02, group: float = 0.1, cost_scale: str = "max") -> Shallow:
    """OT-DA: each source example moves to the mean of the target's that a plan P gives it, ``x_i ← n Σ_j P_ij x_j``.
    The target stays as it is. The cost is the squared Euclidean distance over ``cost_scale``; weights are uniform. A
    further source row moves as its nearest row of the fit does (its displacement is added); of equal rows the first
    counts. ``info`` has the plan's ``converged``, ``iterations`` and ``gap``. Equal features everywhere give cost 0 and
    the uniform plan. Source: Courty, Flamary, Tuia, Rakotomamonjy, TPAMI 2017, arXiv 1507.00504.

    Args:
        plan: ``"group_lasso"`` (entropy and class groups, with source labels), ``"sinkhorn"`` (entropy alone) or
            ``"exact"`` (earth mover; n ≠ m is a linear programme of n·m variables).
        entropy: ε > 0 of both regularised plans; a smaller one is nearer to the exact plan and slower. With the cost
            over its maximum, 0.02 keeps classes apart on rows of any length. The 1 of many published tables is strong:
            the source shrinks towards the target's mean and only directions are left.
        group: η ≥ 0 of the class groups, which keep examples of different classes from one target example.
        cost_scale: ``"max"``, ``"mean"``, ``"median"`` or ``"none"``: the unit of ``entropy`` and ``group``.
    """
    choose("plan", plan, dict.fromkeys(PLANS))
    choose("cost_scale", cost_scale, COST_SCALES)
    check_positive(entropy=entropy)
    if not group >= 0:
        raise input_error("group", got=group, expected="a number ≥ 0")

    def fit(xs: np.ndarray, ys: np.ndarray | None, xt: np.ndarray) -> Fitted:
        samples = checked(xs, ys, xt, needs_labels=plan == "group_lasso")
        cost = squared_distances(samples.xs, samples.xt)
        unit = COST_SCALES[cost_scale](cost)
        found = _solve(cost / unit if unit > 0 else cost, samples.ys)
        moved = (found.plan / found.plan.sum(axis=1, keepdims=True)) @ samples.xt

        # The plan knows only the rows of the fit: others follow their nearest one.
        def transform(x: np.ndarray) -> np.ndarray:
            guide = nearest(x, samples.xs)
            return moved[guide] + (x - samples.xs[guide])

        info = {"converged": found.converged, "iterations": found.iterations, "gap": found.gap}
        return fitted(xs, xt, transform, identity, source=moved, info=info)

    def _solve(cost: np.ndarray, labels: np.ndarray | None) -> Plan:
        if plan == "exact":
            return exact_plan(cost)
        if plan == "sinkhorn" or labels is None:
            return sinkhorn_plan(cost, entropy=entropy)
        return group_lasso_plan(cost, labels, entropy=entropy, group=group)

    return Shallow("ot", fit, needs_labels=plan == "group_lasso")
