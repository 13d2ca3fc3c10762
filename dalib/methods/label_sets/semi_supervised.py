"""MME: semi-supervised adaptation by minimax entropy, with a few labels of the target."""

import jax

from dalib.core.options import Count, Weight, checked
from dalib.core.types import Array, Metrics
from dalib.discrepancy import mean_entropy
from dalib.methods.base import SUPERVISED, Method, Needs, Update, supervised_loss, weigh
from dalib.methods.parts.domains import split_domains
from dalib.methods.parts.nets import reverse_gradient
from dalib.methods.view import View

SHOTS = 0x5407
"""Keeps the dropout of the pass over the shots apart from that of the common pass."""


@checked
def mme(*, weight: Weight = 0.1, alternate: bool = False, sources: Count = 2) -> Method:
    """Semi-supervised adaptation: the head maximises the entropy of the unlabelled target, the encoder minimises it.

    Source: Saito, Kim, Sclaroff, Darrell, Saenko, ICCV 2019, arXiv 1904.06487, section 3. **The few labelled target
    examples (shots)** come as the third stream ``batch.shots``, or as a source domain, interleaved half and half by
    :func:`dalib.data.paired_stream`. The unlabelled target must not contain them. The paper's head takes features at
    unit length and divides by a temperature of 0.05, ``head="cosine"`` (:class:`dalib.encoders.classifier.CosineHead`),
    the default of ``dalib adapt``. With a linear head the encoder can lower the entropy by longer features alone.
    Metrics: ``loss/mme``, the target's entropy; ``mme/accuracy_shots``, of ``batch.shots`` or the last domain.

    Args:
        weight: λ; 0.1 in the paper.
        alternate: two updates a step, labelled and then entropy with a forward pass of its own, as in the authors' code
            (one optimiser keeps both momenta, as dalib's does); False adds the two gradients.
        sources: domains interleaved in the labelled rows, which must divide them: 2 with shots among them, 1 without.
            Without ``batch.shots`` it serves the metrics; all labelled rows count equally.
    """

    def labelled(view: View) -> tuple[Array, View, Metrics]:
        value, after, metrics = supervised_loss(view)
        shots = view.batch.shots
        if shots is None:
            return value, after, metrics
        outputs, after = after.again(shots.inputs, "target", key=jax.random.fold_in(view.key, SHOTS))
        # Half the source's mean and half the shots', as in the authors' code.
        value = 0.5 * (value + view.task.loss(outputs, shots.labels).mean())
        right = view.task.predict(outputs) == shots.labels
        return value, after, {**metrics, "loss/task": value, "mme/accuracy_shots": right.mean()}

    def of_shots(view: View) -> Metrics:
        if sources == 1 or view.batch.shots is not None:
            return {}
        right = view.source.logits.argmax(-1) == view.labels
        return {"mme/accuracy_shots": split_domains(right, sources)[-1].mean()}

    def penalty(view: View) -> tuple[Array, View, Metrics]:
        value = mean_entropy(view.head(reverse_gradient(view.target.features, 1.0), view.key))
        # Minus: the head maximises; the reversal turns the sign once more, so the encoder minimises.
        return -weigh(weight, view) * value, view, {"loss/mme": value, **of_shots(view)}

    def unlabelled(view: View) -> tuple[Array, View, Metrics]:
        return penalty(view.pair())

    needs = Needs(setting="semi-supervised", sources=sources, classes=True, head="cosine")
    main = SUPERVISED._replace(loss=labelled)
    if not alternate:
        return Method("mme", penalties=(penalty,), updates=(main,), needs=needs)
    entropy = Update("entropy", unlabelled, ("encoder", "bottleneck", "head"), joins=False)
    return Method("mme", updates=(main._replace(name="labelled"), entropy), needs=needs)
