"""Adding methods up: ``combine(dann(), mcc(weight=0.5))`` is a method again."""

from collections.abc import Callable
from typing import Any

import jax

from dalib.checks import InputError, input_error
from dalib.methods.base import NET_GROUPS, SUPERVISED, Context, Forward, Method, Pass, Spec, States, Update
from dalib.types import Array, Batch, Metrics, Outputs, Params, PyTree


def combine(*methods: Method, name: str | None = None) -> Method:
    """The sum of methods: one task loss, all penalties, and the updates of the one that has its own.

    Parameter groups and state are kept apart by the methods' names (``dann/discriminator``). The BatchNorm convention
    is that of the first method; if one of them starts from a trained source net, the sum does. At most one of them may
    bring updates other than the supervised one (MCD, WDGRL); the penalties of the others join its updates marked
    ``joins``.

    Args:
        *methods: two or more methods with different names; rename by ``method._replace(name=...)``.
        name: of the result; default: the names joined by ``+``.

    Raises:
        InputError: on equal names, or when more than one brings updates, ``predict``, ``calibrate``, ``refresh`` or
            ``evaluate_with``.
    """
    if not methods:
        raise input_error("methods", got="none", expected="one or more methods")
    names = [m.name for m in methods]
    if len(set(names)) < len(names):
        raise input_error(
            "methods", got=", ".join(names), expected="different names", todo="rename one: method._replace(name=...)"
        )
    multi = [m for m in methods if m.updates != (SUPERVISED,)]
    for what, owners in {
        "updates": multi,
        "predict": [m for m in methods if m.predict],
        "calibrate": [m for m in methods if m.calibrate],
        "refresh": [m for m in methods if m.refresh],
        "evaluate_with": [m for m in methods if m.evaluate_with],
    }.items():
        if len(owners) > 1:
            got = " and ".join(m.name for m in owners)
            raise InputError(f"combine: {got} each bring their own {what}; at most one method of a sum may")

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        params: Params = {}
        state: dict[str, PyTree] = {}
        for i, m in enumerate(methods):
            own, state[m.name] = m.init(jax.random.fold_in(key, i), spec)
            params |= {f"{m.name}/{group}": value for group, value in own.items()}
        return params, state

    def penalty(params: Params, state: PyTree, outputs: Pass, forward: Forward, context: Context):
        total: Any = 0.0
        metrics: Metrics = {}
        state = dict(state)
        for i, m in enumerate(methods):
            if m.penalty is None:
                continue
            own = context._replace(key=jax.random.fold_in(context.key, i))
            value, state[m.name], more = m.penalty(_view(m, params), state[m.name], outputs, forward, own)
            total = total + value
            metrics |= more
        return total, state, metrics

    def finish(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> States:
        for m in methods:
            if m.finish is not None:
                states = _restore(m, states, m.finish(_view(m, params), _enter(m, states), batch, forward, context))
        return states

    leader = multi[0] if multi else None
    predictor = next((m for m in methods if m.predict), None)
    calibrator = next((m for m in methods if m.calibrate), None)
    refresher = next((m for m in methods if m.refresh), None)
    averager = next((m for m in methods if m.evaluate_with), None)

    def predict(params: Params, outputs: Outputs, forward: Forward) -> Array:
        assert predictor is not None and predictor.predict is not None
        return predictor.predict(_view(predictor, params), outputs, forward)

    def calibrate(params: Params, states: States, recompute) -> States:
        assert calibrator is not None and calibrator.calibrate is not None
        return _restore(
            calibrator, states, calibrator.calibrate(_view(calibrator, params), _enter(calibrator, states), recompute)
        )

    def refresh(params: Params, states: States, look: Callable[[], Outputs]) -> States:
        assert refresher is not None and refresher.refresh is not None
        return _restore(refresher, states, refresher.refresh(_view(refresher, params), _enter(refresher, states), look))

    def evaluate_with(params: Params, states: States) -> Params:
        assert averager is not None and averager.evaluate_with is not None
        own = averager.evaluate_with(_view(averager, params), _enter(averager, states))
        return params | {g if g in NET_GROUPS else f"{averager.name}/{g}": value for g, value in own.items()}

    return Method(
        name or "+".join(names),
        init=init,
        penalty=penalty if any(m.penalty for m in methods) else None,
        updates=tuple(_lift(leader, u, methods) for u in leader.updates) if leader else (SUPERVISED,),
        batch_norm=methods[0].batch_norm,
        finish=finish if any(m.finish for m in methods) else None,
        calibrate=calibrate if calibrator else None,
        predict=predict if predictor else None,
        refresh=refresh if refresher else None,
        refresh_every=refresher.refresh_every if refresher else methods[0].refresh_every,
        evaluate_with=evaluate_with if averager else None,
        starts_from="source" if any(m.starts_from == "source" for m in methods) else "scratch",
        per_example=all(m.per_example for m in methods),
    )


def _view(method: Method, params: Params) -> Params:
    """The parameters as ``method`` alone would see them: the net's groups and its own without prefix."""
    prefix = f"{method.name}/"
    net = {g: params[g] for g in NET_GROUPS if g in params}
    return net | {g.removeprefix(prefix): value for g, value in params.items() if g.startswith(prefix)}


def _enter(method: Method, states: States) -> States:
    return states._replace(method=states.method[method.name])


def _restore(method: Method, outer: States, inner: States) -> States:
    return States(inner.model, {**outer.method, method.name: inner.method})


def _lift(method: Method, update: Update, methods: tuple[Method, ...]) -> Update:
    """An update of ``method`` as an update of the sum; where penalties join, it trains their groups as well."""

    def loss(params: Params, states: States, batch: Batch, forward: Forward, context: Context):
        result = update.loss(_view(method, params), _enter(method, states), batch, forward, context)
        return result._replace(states=_restore(method, states, result.states))

    trains = tuple(g if g in (*NET_GROUPS, "*") else f"{method.name}/{g}" for g in update.trains)
    if update.joins:
        trains += tuple(f"{m.name}/*" for m in methods if m is not method)
    return update._replace(loss=loss, trains=trains)
