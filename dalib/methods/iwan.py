"""IWAN: partial adaptation by a second discriminator that weighs source examples."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dalib.discrepancy import mean_entropy
from dalib.methods.base import Method, Needs, Spec, View, weigh
from dalib.methods.discriminator import Discriminator, discriminate, discriminate_both, domain_loss
from dalib.methods.reversal import Reversal, dann_schedule, reverse_by
from dalib.methods.reweighting import importance_weights
from dalib.types import Array, Metrics, Params, PyTree


def iwan(
    *,
    weight: Any = 1.0,
    adversary: Any = 3.0,
    weigher: Any = 4.5,
    entropy: Any = 0.1,
    reversal: Reversal = dann_schedule,
    hidden: Sequence[int] = (1024, 1024),
    norm: bool = False,
    dropout: float = 0.0,
) -> Method:
    """Partial adaptation with importance-weighted adversarial nets.

    A first discriminator D learns domains on features that it does not change; source rows that it takes for target get
    large weights ``w = (1 − D(f_s)) / mean``. A second one D₀ is DANN's, with source rows weighted by w. The loss is
    ``task + λ · (a · L_D0(w) + b · L_D + c · mean H(p_t))``. Setting: the target's classes are among the source's.

    Whose numbers: the factors are TLlib's (3, 1.5 · 3, 0.1). As in TLlib both domains share the encoder, whereas the
    paper adapts a copy of a frozen source encoder. With ``norm`` D normalises by its batch, so the weights depend on
    the batch, as in TLlib.

    Args:
        weight: λ of the whole penalty. At 0 the discriminators do not learn either.
        adversary: a, of the weighted adversarial loss.
        weigher: b, of D's own loss; it reaches D alone.
        entropy: c, of the target's entropy.
        reversal: the reversal's coefficient, a function of the view or a number.
        hidden, norm, dropout: of both discriminators, as in :func:`~dalib.methods.dann`.

    Metrics: ``loss/iwan`` (D₀, ln 2 at equilibrium of equal weights), ``loss/iwan_weigher`` (D), ``loss/entropy``,
    ``iwan/domain_accuracy``, ``iwan/weigher_accuracy``, ``iwan/reversal``, ``iwan/effective_rows`` (``(Σw)²/(n Σw²)``,
    1 for equal weights, and 0 if all weights are 0).

    References:
        Zhang, Ding, Li, Ogunbona, CVPR 2018, arXiv 1803.09210, section 3.
    """
    net = Discriminator(tuple(hidden), norm=norm, dropout=dropout)

    def init(key: Array, spec: Spec) -> tuple[Params, PyTree]:
        rows = jnp.zeros((2, spec.width))
        keys = jax.random.split(key)
        return {"weigher": net.init(keys[0], rows)["params"], "discriminator": net.init(keys[1], rows)["params"]}, {}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        features = view.source.features, view.target.features
        source, target = jax.lax.stop_gradient(features)
        keys = jax.random.split(view.key)
        seen = discriminate_both(net, view.params["weigher"], source, target, keys[0])
        own, own_accuracy = domain_loss(*seen)
        # The weights come from a pass of the source alone, without dropout: with BatchNorm it is not the pass above.
        weights = importance_weights(discriminate(net, view.params["weigher"], view.source.features))
        (source, target), coefficient = reverse_by(reversal, view, features)
        logits = discriminate_both(net, view.params["discriminator"], source, target, keys[1])
        loss, accuracy = domain_loss(*logits, source_weights=weights)
        uncertainty = mean_entropy(view.target.logits)
        squares = jnp.square(weights).mean()
        metrics = {
            "loss/iwan": loss,
            "loss/iwan_weigher": own,
            "loss/entropy": uncertainty,
            "iwan/domain_accuracy": accuracy,
            "iwan/weigher_accuracy": own_accuracy,
            "iwan/reversal": coefficient,
            "iwan/effective_rows": jnp.square(weights.mean()) / jnp.where(squares > 0, squares, 1),
        }
        value = adversary * loss + weigher * own + entropy * uncertainty
        return weigh(weight, view) * value, view, metrics

    return Method("iwan", init=init, penalties=(penalty,), needs=Needs(setting="partial"))
