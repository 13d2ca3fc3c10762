"""The golden numbers that a method of the table, made by its own factory, must give: one table for tests and docs.

``tests/contract/test_golden.py`` runs every entry; ``dalib methods`` prints which methods have one.
Gradients of the same cases are compared in ``tests/methods`` and ``tests/discrepancy``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.core.types import Batch, Outputs, Source, Target
from dalib.methods import METHODS, States
from dalib.methods.classic import CLASSIC
from dalib.methods.view import Forward
from tests.golden import golden, inputs
from tests.methods.passes import (
    FORWARD,
    discriminator_parameters,
    joined,
    loss_of,
    make_context,
    make_pass,
    penalty_of,
)


class Check(NamedTuple):
    """One number of one method.

    Attributes:
        method: name in the table of methods; ``classic.*`` for those on features.
        case: name of the golden case.
        ours: computes the method's number in float64.
        of_golden: what that number is of the golden one.
        rtol: relative tolerance.
    """

    method: str
    case: str
    ours: Callable[[], Any]
    of_golden: Callable[[Any], Any] = lambda value: value
    rtol: float = 1e-10


def sample(features: tuple[str, str] = ("f_s", "f_t"), logits: tuple[str, str] = ("g_s", "g_t")):
    """The golden inputs as one pass of both domains."""
    f_s, f_t, g_s, g_t = (jnp.asarray(x) for x in inputs(*features, *logits))
    return make_pass(f_s, f_t, g_s, g_t, jnp.asarray(inputs("y_s")[0], jnp.int32))


def penalty(name: str, metric: str | None = None, *, discriminator: str | None = None, **settings: Any):
    """A metric of the method's penalty on the golden pass."""

    def ours():
        own, state = None, None
        more = {}
        if discriminator:
            own, state = {"discriminator": discriminator_parameters(discriminator)}, {}
            more = {"hidden": (12, 12), "norm": True}
        _, (_, metrics) = penalty_of(METHODS[name](**settings, **more), own, state)(sample())
        return metrics[metric or f"loss/{name}"]

    return ours


def heads(name: str, **settings: Any):
    """The discrepancy of two heads on the target: the second one's logits are the features, see ``passes.head``."""

    def ours():
        outputs, method = sample(("a_s", "a_t")), METHODS[name](**settings)
        forward = FORWARD._replace(pair=lambda params, model, batch, key: (outputs, model))
        params, states = {"second_head": {}}, States({}, {})
        result = loss_of(method.updates[-1], params, states, outputs.batch, forward, make_context())
        return result.metrics[f"loss/{name}"]

    return ours


def regression_adversary():
    """DD's disparity of softmax outputs, the adversary's being the features."""
    p = {name: np.exp(x) / np.exp(x).sum(1, keepdims=True) for name, x in named("a_s", "a_t", "g_s", "g_t").items()}
    outputs = make_pass(*(jnp.asarray(p[name]) for name in ("a_s", "a_t", "g_s", "g_t")))
    return penalty_of(METHODS["dd"](reversal=1.0), {"adversary": {}}, {})(outputs)[1][1]["loss/dd"]


def named(*names: str) -> dict[str, np.ndarray]:
    return dict(zip(names, inputs(*names), strict=True))


def views(name: str, student: slice, teacher: slice, **settings: Any):
    """A consistency method whose two views of the target are the logits a_t (columns to 5) and g_t (from 5 on)."""

    def one(params, model, x, domain, key, train):
        del params, domain, key, train
        return Outputs(x, x), model

    def pair(params, model, batch, key):
        return make_pass(*(x for z in zip(batch.source.inputs, strict=True) for x in z)), model

    def ours():
        g_s, y_s, a_t, g_t = (jnp.asarray(x) for x in inputs("g_s", "y_s", "a_t", "g_t"))
        batch = Batch(Source(g_s, y_s.astype(jnp.int32)), Target(jnp.concatenate([a_t, g_t], 1)))

        def both(params, model, b, key):
            del params, key
            return make_pass(b.source.inputs, b.target.inputs, b.source.inputs, b.target.inputs, b.source.labels), model

        method = METHODS[name](strong=lambda key, x: x[:, student], weak=lambda key, x: x[:, teacher], **settings)
        states = States({}, {"teacher": {}})
        result = joined(method, method.updates[0], {}, states, batch, Forward(both, one, None), make_context())
        return result.metrics[f"loss/{name}"]

    return ours


def adda_domains():
    """The domain loss of ADDA's discriminator, source and target each by itself."""
    f_s, f_t = (jnp.asarray(x) for x in inputs("f_s", "f_t"))
    method = METHODS["adda"](hidden=(12, 12), norm=True)

    def one(params, model, x, domain, key, train):
        del params, x, key, train
        return Outputs({"source": f_s, "target": f_t}[domain]), model

    params = {"discriminator": discriminator_parameters("D_feat")}
    states = States({}, {"source_net": None, "source_stats": None})
    batch, forward = make_pass(f_s, f_t).batch, FORWARD._replace(one=one)
    return loss_of(method.updates[0], params, states, batch, forward, make_context()).value


def adda_target():
    return golden("adda.target").value


def weighted_rows(name: str, metric: str, state: Any, **groups: str):
    """A partial method whose weights of rows are all 1."""

    def ours():
        params = {group: discriminator_parameters(prefix) for group, prefix in groups.items()}
        method = METHODS[name](hidden=(12, 12), norm=True)
        return penalty_of(method, params, state)(sample())[1][1][metric]

    return ours


def irm_of_one_domain(form: str):
    """IRM's penalty where the batch holds two copies of one domain."""

    def ours():
        g_s, y_s = (jnp.repeat(jnp.asarray(x), 2, axis=0) for x in inputs("g_s", "y_s"))
        outputs = make_pass(g_s, g_s, g_s, g_s, y_s.astype(jnp.int32))
        return penalty_of(METHODS["irm"](form=form, sources=2))(outputs)[1][1]["loss/irm"]

    return ours


def classic_coral():
    rows = inputs("rank_f")[0]
    return CLASSIC["coral"](epsilon=1.0, form="paper").fit(rows[:30], None, rows[30:]).source


def classic_exact_transport():
    """Mean squared distance of the source rows to where the exact plan moves them."""
    f_s, f_t = inputs("f_s", "f_t")
    moved = CLASSIC["ot"](plan="exact", cost_scale="none").fit(f_s, None, f_t).source
    return np.square(f_s - moved).sum(1).mean()


FIRST, SECOND = slice(None, 5), slice(5, None)

CHECKS: tuple[Check, ...] = (
    Check("ddc", "mmd2.linear", penalty("ddc")),
    Check("dan", "mmd2.unbiased.mk5", penalty("dan")),
    Check("dan", "mkmmd.linear", penalty("dan", estimator="linear"), lambda value: value - 2 / 7),
    Check("jan", "jmmd.linear", penalty("jan", estimator="linear"), lambda value: value - 2 / 7),
    Check("deep_coral", "coral.paper", penalty("deep_coral", layer="features")),
    Check("cmd", "cmd.K5.sigmoid", penalty("cmd")),
    Check("homm", "homm.p3.full", penalty("homm")),
    Check("rsd", "rsd.w0.1", penalty("rsd"), rtol=1e-8),
    Check("dann", "dann.sigmoid", penalty("dann", discriminator="D_feat")),
    Check(
        "pada",
        "dann.sigmoid",
        weighted_rows("pada", "loss/pada", {"class_weights": np.ones(5), "refreshes": 0}, discriminator="D_feat"),
    ),
    Check(
        "iwan",
        "dann.sigmoid",
        weighted_rows("iwan", "loss/iwan_weigher", {}, discriminator="D_feat", weigher="D_feat"),
    ),
    Check("adda", "adda.source", lambda: 2 * adda_domains(), lambda value: value + adda_target()),
    Check("cdan", "cdan", penalty("cdan", discriminator="D_mlm")),
    # The golden entropy has 1e-5 inside its logarithm.
    Check(
        "cdan", "cdan.entropy", penalty("cdan", discriminator="D_mlm", entropy=True, normalisation="joint"), rtol=1e-6
    ),
    Check("mcd", "mcd.discrepancy", heads("mcd")),
    Check("dd", "mdd.regression.margin1", regression_adversary, lambda value: -value),
    Check("entmin", "entropy.exact", penalty("entmin")),
    Check("im", "im", penalty("im"), lambda value: -value),
    Check("mcc", "mcc.T2.5", penalty("mcc", epsilon=1e-5)),
    Check("bnm", "bnm.neg_over_n", penalty("bnm"), rtol=1e-8),
    Check("afn", "afn.delta1", penalty("afn")),
    Check("fixmatch", "pseudo_label.thr0.7", views("fixmatch", FIRST, SECOND, threshold=0.7)),
    Check(
        "cc_loss",
        "cc_loss.T2.5.thr0.4",
        views("cc_loss", FIRST, SECOND, threshold=0.4, epsilon=1e-5, confusion=0.0),
    ),
    Check("mean_teacher", "pi_model.l2", views("mean_teacher", SECOND, FIRST, threshold=0.0, tllib_form=True)),
    Check("irm", "irm.square", irm_of_one_domain("square")),
    Check("irm", "irm.split", irm_of_one_domain("split")),
    Check("classic.coral", "coral.transform.eps1", classic_coral),
    Check("classic.ot", "ot.exact", classic_exact_transport),
)
