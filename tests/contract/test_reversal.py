"""Which way an adversary's gradients point: finite differences of the reported losses tell, for every such method.

A reversal leaves values alone, so the metrics are what each side's loss really is. Of the gradient of every group that
an update trains, the slope along a random direction must be the sum of those of the metrics with the factors below:
``−λ`` of the discriminator's loss for the encoder, ``+1`` for the discriminator itself.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.methods import METHODS, Method, States
from dalib.methods.base import trained_groups
from dalib.tasks import classification
from dalib.train import make_forward
from tests.contract.cases import CLASSES, batch, classifier, methods, quick_jit, setup, widened
from tests.methods.passes import Context, joined

LAMBDA, WEIGHT = 0.7, 0.6
TASK = {"loss/task": 1.0}

Factors = dict[str, dict[str, float]]


class Adversary(NamedTuple):
    """A method in which one side minimises what the other maximises.

    Attributes:
        method: with a constant reversal, and without dropout.
        slopes: by update and group, the factors of the metrics whose slopes add up to the gradient's.
        constant: groups (or ``group/layer``) set to 0, so that what a method holds behind stop_gradient (predictions,
            weights of rows) does not move with the encoder in a finite difference either.
    """

    method: Callable[[], Method]
    slopes: dict[str, Factors]
    constant: tuple[str, ...] = ()


def reversed_loss(name: str, adversary: str, **more: float) -> dict[str, Factors]:
    """One update: task loss + w · domain loss, reversed towards the encoder; ``more`` metrics reach both sides."""
    loss = f"loss/{name}"
    return {
        "supervised": {
            "encoder": TASK | {loss: -WEIGHT * LAMBDA} | more,
            adversary: {loss: WEIGHT},
            "head": TASK,
        }
    }


SETTINGS: dict[str, Any] = {"weight": WEIGHT, "reversal": LAMBDA}
NET = {"hidden": (8,)}

ADVERSARIES: dict[str, Adversary] = {
    "dann": Adversary(lambda: METHODS["dann"](**SETTINGS, **NET), reversed_loss("dann", "discriminator")),
    "cdan": Adversary(
        lambda: METHODS["cdan"](**SETTINGS, **NET), reversed_loss("cdan", "discriminator"), constant=("head",)
    ),
    "cdan.entropy": Adversary(
        lambda: METHODS["cdan"](**SETTINGS, **NET, entropy=True, randomized=16),
        reversed_loss("cdan", "discriminator"),
        constant=("head",),
    ),
    "mdd": Adversary(lambda: METHODS["mdd"](**SETTINGS), reversed_loss("mdd", "adversary")),
    "dd": Adversary(lambda: METHODS["dd"](**SETTINGS), reversed_loss("dd", "adversary"), constant=("head",)),
    "pada": Adversary(lambda: METHODS["pada"](**SETTINGS, **NET), reversed_loss("pada", "discriminator")),
    "iwan": Adversary(
        lambda: METHODS["iwan"](**SETTINGS, **NET, adversary=1.5, weigher=2.0, entropy=0.3),
        {
            "supervised": {
                "encoder": TASK | {"loss/iwan": -WEIGHT * LAMBDA * 1.5, "loss/entropy": WEIGHT * 0.3},
                "discriminator": {"loss/iwan": WEIGHT * 1.5},
                "weigher": {"loss/iwan_weigher": WEIGHT * 2.0},
                "head": TASK | {"loss/entropy": WEIGHT * 0.3},
            }
        },
        constant=("weigher/Dense_1",),
    ),
    "osbp": Adversary(
        lambda: METHODS["osbp"](**SETTINGS),
        {
            "supervised": {
                "encoder": TASK | {"loss/osbp": -WEIGHT * LAMBDA},
                "head": TASK | {"loss/osbp": WEIGHT},
            }
        },
    ),
    "mme": Adversary(
        lambda: METHODS["mme"](weight=WEIGHT),
        {"supervised": {"encoder": TASK | {"loss/mme": WEIGHT}, "head": TASK | {"loss/mme": -WEIGHT}}},
    ),
    "bsp": Adversary(
        lambda: METHODS["bsp"](weight=WEIGHT, strength=0.01),
        {
            "supervised": {
                # DANN's own schedule, half way.
                "encoder": TASK | {"loss/dann": -WEIGHT * float(np.tanh(2.5)), "loss/spectral": WEIGHT * 0.01},
                "dann/discriminator": {"loss/dann": WEIGHT},
                "head": TASK,
            }
        },
    ),
    "vada": Adversary(
        lambda: METHODS["vada"](adversarial=0.02, source=0.0, target=0.0),
        {
            "supervised": {
                "encoder": TASK | {"loss/dann": -0.02},
                "dann/discriminator": {"loss/dann": 1.0},
                "head": TASK,
            }
        },
    ),
    "adda.tllib": Adversary(
        lambda: METHODS["adda"](variant="tllib", **SETTINGS, **NET),
        {"adversarial": {"encoder": {"loss/adda": -WEIGHT * LAMBDA}, "discriminator": {"loss/adda": WEIGHT}}},
    ),
    "adda": Adversary(
        lambda: METHODS["adda"](weight=WEIGHT, **NET),
        {"discriminator": {"discriminator": {"loss/domain": 1.0}}, "encoder": {"encoder": {"loss/adda": WEIGHT}}},
    ),
    "confusion": Adversary(
        lambda: METHODS["confusion"](weight=WEIGHT, **NET),
        {
            "discriminator": {"discriminator": {"loss/domain": 1.0}},
            "task": {"encoder": TASK | {"loss/confusion": WEIGHT}, "head": TASK},
        },
    ),
    "wdgrl": Adversary(
        lambda: METHODS["wdgrl"](weight=WEIGHT, hidden=(8,)),
        {
            "critic": {"critic": {"loss/critic": 1.0}},
            "task": {"encoder": TASK | {"loss/wdgrl": WEIGHT}, "head": TASK},
        },
    ),
    "mcd": Adversary(
        lambda: METHODS["mcd"](weight=WEIGHT),
        {
            "A": {"encoder": TASK, "head": TASK, "second_head": TASK},
            "B": {"head": TASK | {"loss/mcd": -WEIGHT}, "second_head": TASK | {"loss/mcd": -WEIGHT}},
            "C": {"encoder": {"loss/mcd": WEIGHT}},
        },
    ),
    "m3sda": Adversary(
        lambda: METHODS["m3sda"](weight=WEIGHT, discrepancy=0.4),
        {
            "A": {"encoder": TASK | {"loss/m3sda": WEIGHT}, "head": TASK, "heads": TASK},
            "B": {"head": TASK | {"loss/discrepancy": -0.4}, "heads": TASK | {"loss/discrepancy": -0.4}},
            "C": {"encoder": {"loss/discrepancy": 0.4}},
        },
    ),
}
"""JAN's adversarial maps are not here: the kernels' widths, behind stop_gradient, move in a finite difference
(``tests/methods/test_terms.py`` has their signs)."""

REVERSING = ("adda", "bsp", "cdan", "dann", "dd", "iwan", "mdd", "mme", "osbp", "pada", "vada")
"""Methods whose files, or those that they add up, use the gradient reversal."""


@pytest.mark.parametrize("name", methods(ADVERSARIES, core=("dann",)))
def test_gradients_are_the_slopes_of_their_side(name):
    case = ADVERSARIES[name]
    method = case.method()
    assert {update.name for update in method.updates} == set(case.slopes)
    state, _ = setup(method, "vectors")
    forward = make_forward(classifier("vectors"), method.needs.batch_norm)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        state, b = widened(state), widened(batch("vectors"))
        # Away from where the method starts: two heads, or both sides of ADDA, may begin alike.
        params = jax.tree.map(lambda x: x + 0.05 * jnp.asarray(rng.normal(size=x.shape)), state.params)
        for group, _, layer in (path.partition("/") for path in case.constant):
            zeros = jax.tree.map(jnp.zeros_like, params[group])
            params[group] = params[group] | {layer: zeros[layer]} if layer else zeros
        context = Context(jnp.int32(5), jnp.float64(0.5), jax.random.key(1), classification(CLASSES))
        for update in method.updates:

            def loss(trained, update=update):
                states = States(state.model, state.method)
                result = joined(method, update, params | trained, states, b, forward, context)
                return result.value, result.metrics

            groups = trained_groups(update, params)
            slopes = case.slopes[update.name]
            assert set(slopes) == set(groups), "every group that is trained has its side"
            f = quick_jit(jax.value_and_grad(loss, has_aux=True))
            trained = {group: params[group] for group in groups}
            gradient = f(trained)[1]
            for group in groups:
                along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), trained[group])
                slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient[group], along)))
                ahead, behind = (
                    f(trained | {group: jax.tree.map(lambda x, v, h=h: x + h * v, trained[group], along)})[0][1]
                    for h in (1e-6, -1e-6)
                )
                expected = 0.0
                for metric, factor in slopes[group].items():
                    of_metric = (ahead[metric] - behind[metric]) / 2e-6
                    assert metric == "loss/task" or abs(of_metric) > 1e-6, f"{metric} does not depend on {group}"
                    expected += factor * of_metric
                np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-7, err_msg=f"{update.name}: {group}")


def test_every_method_that_reverses_is_here():
    assert {name.split(".")[0] for name in ADVERSARIES} >= set(REVERSING)
    texts = {name: inspect.getsource(factory) for name, factory in METHODS.items()}
    direct = {name for name, text in texts.items() if "reverse_by(" in text or "reverse_gradient(" in text}
    calls = re.compile(r"adversarial_head\(|adversary\(|\bdann\(reversal")
    through = {name for name, text in texts.items() if calls.search(text)}
    assert direct | through == set(REVERSING) | {"jan"}
