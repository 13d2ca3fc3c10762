"""Adding methods up: ``combine(dann(), mcc(weight=0.5))`` is a method again."""

from typing import Any

import jax

from dalib.core.checks import InputError, input_error
from dalib.core.types import Array, Metrics, Outputs, Params, PyTree
from dalib.methods.base import SUPERVISED, Hooks, Loss, Method, Needs, Update, supervised_loss
from dalib.methods.view import NET_GROUPS, Spec, States, View


def combine(*methods: Method, name: str | None = None, batch_norm: str | None = None) -> Method:
    """Sum methods: one main loss, all penalties, and all further updates in the order of the arguments. Names keep
    parameter groups and states apart (``dann/discriminator``), positions the randomness. The main loss is the
    supervised one unless a method brings another (MCD's A, SHOT's without labels). Updates before a method's main one
    come before the sum's, the others after it. The sum starts from a trained source net if any method does.

    Args:
        *methods: one or more methods with different names; rename by ``method._replace(name=...)``.
        name: of the result; default: the names joined by ``+``.
        batch_norm: BatchNorm convention of the sum; None takes the one that all methods ask for.

    Raises an InputError on equal names, settings that exclude each other, and different conventions without
    ``batch_norm``. Two methods may not both replace the supervised loss, nor both bring ``predict``, ``evaluate`` or
    ``calibrate``.
    """
    if not methods:
        raise input_error("methods", got="none", expected="one or more methods")
    if strange := [m for m in methods if not isinstance(m, Method)]:
        raise input_error("methods", got=repr(strange[0]), expected="methods, made by their factories")
    names = [m.name for m in methods]
    if len(set(names)) < len(names):
        raise input_error(
            "methods", got=", ".join(names), expected="different names", todo="rename one: method._replace(name=...)"
        )
    leader = _leader(methods)
    # These replace something that a run has once, so two of them cannot add up.
    for what in ("predict", "calibrate", "evaluate"):
        owners = [m.name for m in methods if getattr(m.hooks, what)]
        if len(owners) > 1:
            raise InputError(
                f"combine: {' and '.join(owners)} each bring their own {what}; at most one method of a sum may"
            )

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        params: Params = {}
        state: dict[str, PyTree] = {}
        for i, m in enumerate(methods):
            # Folded by position: a method draws the same numbers whatever follows it.
            own, state[m.name] = m.init(jax.random.fold_in(key, i), spec)
            params |= {f"{m.name}/{group}": value for group, value in own.items()}
        return params, state

    return Method(
        name or "+".join(names),
        init=init,
        penalties=_penalties(methods),
        updates=_updates(methods, leader),
        needs=_needs(methods, batch_norm),
        hooks=_hooks(methods),
    )


def main_of(method: Method) -> Update:
    """The one update that penalties join; raises an InputError unless there is exactly one."""
    found = [u for u in method.updates if u.joins]
    if len(found) != 1:
        names = ", ".join(u.name for u in method.updates)
        raise InputError(f"method {method.name!r}: {len(found)} of its updates ({names}) join; expected: exactly one")
    return found[0]


def _leader(methods: tuple[Method, ...]) -> Method | None:
    """The method that gives the sum its main update; None for the supervised loss of everything."""
    replacing = [m for m in methods if main_of(m).loss is not supervised_loss or main_of(m).gradient is not None]
    if len(replacing) > 1:
        raise InputError(
            f"combine: {' and '.join(m.name for m in replacing)} each replace the supervised loss, or how it is "
            "differentiated, by their own; at most one method of a sum may"
        )
    return replacing[0] if replacing else next((m for m in methods if main_of(m) != SUPERVISED), None)


def narrow(method: Method, view: View) -> View:
    """The view as ``method`` alone would have it: its own groups and state, without prefix."""
    return view._replace(params=_groups(method, view.params), states=_enter(method, view.states))


def widen(method: Method, outer: View, inner: View) -> View:
    """The sum's view with what ``method`` changed: states, and outputs shown."""
    states = _restore(method, outer.states, inner.states)
    shown = {field: getattr(inner, field) for field in ("batch", "source", "target", "labels")}
    return outer._replace(states=states, **shown)


def _penalties(methods: tuple[Method, ...]) -> tuple[Loss, ...]:
    """All penalties as one, so that the randomness of a method depends on its own position alone."""
    if not any(m.penalties for m in methods):
        return ()

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        total: Any = 0.0
        metrics: Metrics = {}
        for i, m in enumerate(methods):
            base = jax.random.fold_in(view.key, i)
            for j, function in enumerate(m.penalties):
                key = base if j == 0 else jax.random.fold_in(base, j)
                value, after, more = function(narrow(m, view)._replace(key=key))
                # A penalty changes states; what it shows is its own affair.
                view = view._replace(states=_restore(m, view.states, after.states))
                total, metrics = total + value, metrics | more
        return total, view, metrics

    return (penalty,)


def _updates(methods: tuple[Method, ...], leader: Method | None) -> tuple[Update, ...]:
    """The main update with the further ones of every method around it."""
    before: list[Update] = []
    after: list[Update] = []
    for m in methods:
        # Order matters: a critic trained before the net must stay before it.
        at = m.updates.index(main_of(m))
        before += [_lift(m, u, m is leader) for u in m.updates[:at]]
        after += [_lift(m, u, m is leader) for u in m.updates[at + 1 :]]
    if leader is None:
        return (*before, SUPERVISED, *after)
    main = _lift(leader, main_of(leader), True)
    # The main update also trains what penalties own (a discriminator), unless their method has updates for it.
    joined = tuple(f"{m.name}/*" for m in methods if m is not leader and not _trained_elsewhere(m))
    return (*before, main._replace(trains=main.trains + joined), *after)


def _trained_elsewhere(method: Method) -> bool:
    """Whether a method's own groups are for its further updates only."""
    main = main_of(method)
    return len(method.updates) > 1 and "*" not in main.trains and not set(main.trains) - set(NET_GROUPS)


def _lift(method: Method, update: Update, leads: bool) -> Update:
    """An update of ``method`` as an update of the sum."""

    def loss(view: View) -> tuple[Array, View, Metrics]:
        value, after, metrics = update.loss(narrow(method, view))
        return value, widen(method, view, after), metrics

    # "Everything" is what the method alone would have: another one's groups may be for its own updates.
    named = (*NET_GROUPS, "*") if "*" in update.trains else update.trains
    trains = tuple(g if g in NET_GROUPS else f"{method.name}/{g}" for g in named)
    return update._replace(name=update.name if leads else f"{method.name}/{update.name}", loss=loss, trains=trains)


def _needs(methods: tuple[Method, ...], batch_norm: str | None) -> Needs:
    # "closed" fits every setting; of the others a sum has one at most.
    settings = [m.needs.setting for m in methods if m.needs.setting != "closed"]
    if len(set(settings)) > 1:
        owners = ", ".join(f"{m.name} ({m.needs.setting})" for m in methods if m.needs.setting != "closed")
        raise InputError(f"combine: {owners} are for different settings; expected: one setting besides closed")
    counts = {m.needs.sources for m in methods if m.needs.sources > 1}
    if len(counts) > 1:
        owners = ", ".join(f"{m.name} ({m.needs.sources})" for m in methods if m.needs.sources > 1)
        raise InputError(f"combine: {owners} expect different numbers of sources")
    if batch_norm is None and len({m.needs.batch_norm for m in methods}) > 1:
        raise input_error(
            "batch_norm",
            got="None for " + ", ".join(f"{m.name} ({m.needs.batch_norm})" for m in methods),
            expected="one BatchNorm convention for the sum",
            todo=f"name one of theirs: combine(..., batch_norm={methods[0].needs.batch_norm!r})",
        )
    return Needs(
        setting=settings[0] if settings else "closed",
        sources=max(m.needs.sources for m in methods),
        start="source" if any(m.needs.start == "source" for m in methods) else "scratch",
        batch_norm=batch_norm or methods[0].needs.batch_norm,
        per_example=all(m.needs.per_example for m in methods),
        extra_outputs=max(m.needs.extra_outputs for m in methods),
        rejects=any(m.needs.rejects for m in methods),
        target_rows=any(m.needs.target_rows for m in methods),
        classes=any(m.needs.classes for m in methods),
        head=next((m.needs.head for m in methods if m.needs.head != "linear"), "linear"),
    )


def _hooks(methods: tuple[Method, ...]) -> Hooks:
    """Hooks that add up (after_step, refresh, gradients) are called in turn; a sum has one at most of the others."""

    def after_step(view: View) -> States:
        for m in methods:
            if m.hooks.after_step is not None:
                states = m.hooks.after_step(narrow(m, view))
                view = view._replace(states=_restore(m, view.states, states))
        return view.states

    def refresh(params: Params, states: States, look: Any) -> States:
        for m in methods:
            if m.hooks.refresh is not None:
                own = m.hooks.refresh(_groups(m, params), _enter(m, states), look)
                states = _restore(m, states, own)
        return states

    def gradients(update: str, found: Params, view: View) -> Params:
        for m in methods:
            if m.hooks.gradients is not None:
                found = m.hooks.gradients(update, found, view)
        return found

    hooks = Hooks()
    if any(m.hooks.after_step for m in methods):
        hooks = hooks._replace(after_step=after_step)
    if any(m.hooks.gradients for m in methods):
        hooks = hooks._replace(gradients=gradients)
    if refreshing := [m for m in methods if m.hooks.refresh]:
        # One clock: a run refreshes outside the compiled step, at one interval.
        every = {m.hooks.refresh_every for m in refreshing}
        if len(every) > 1:
            owners = ", ".join(f"{m.name} ({m.hooks.refresh_every})" for m in refreshing)
            raise InputError(f"combine: {owners} refresh at different steps; expected: one refresh_every")
        hooks = hooks._replace(refresh=refresh, refresh_every=every.pop())
    else:
        hooks = hooks._replace(refresh_every=methods[0].hooks.refresh_every)
    for m in methods:
        hooks = hooks._replace(**_single(m))
    return hooks


def _single(method: Method) -> dict[str, Any]:
    """The hooks that a sum may have once, seen from the sum."""
    own = method.hooks

    def predict(params: Params, outputs: Outputs, forward: Any) -> Array:
        assert own.predict is not None
        return own.predict(_groups(method, params), outputs, forward)

    def calibrate(params: Params, states: States, recompute: Any) -> States:
        assert own.calibrate is not None
        return _restore(method, states, own.calibrate(_groups(method, params), _enter(method, states), recompute))

    def evaluate(params: Params, states: States) -> tuple[Params, States]:
        assert own.evaluate is not None
        found, inner = own.evaluate(_groups(method, params), _enter(method, states))
        whole = params | {g if g in NET_GROUPS else f"{method.name}/{g}": value for g, value in found.items()}
        return whole, _restore(method, states, inner)

    functions = {"predict": predict, "calibrate": calibrate, "evaluate": evaluate}
    return {name: function for name, function in functions.items() if getattr(own, name) is not None}


def _groups(method: Method, params: Params) -> Params:
    """The net's groups, and the method's own without prefix."""
    prefix = f"{method.name}/"
    net = {g: params[g] for g in NET_GROUPS if g in params}
    return net | {g.removeprefix(prefix): value for g, value in params.items() if g.startswith(prefix)}


def _enter(method: Method, states: States) -> States:
    return states._replace(method=states.method[method.name])


def _restore(method: Method, outer: States, inner: States) -> States:
    return States(inner.model, {**outer.method, method.name: inner.method})
