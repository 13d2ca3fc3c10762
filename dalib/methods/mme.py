"""MME: semi-supervised adaptation by minimax entropy."""

from typing import Any

from dalib.discrepancy import mean_entropy
from dalib.methods.base import SUPERVISED, Context, Forward, Method, Pass, Result, States, Update, weigh
from dalib.methods.domains import check_sources, split_domains
from dalib.methods.reversal import reverse_gradient
from dalib.types import Array, Batch, Params, PyTree


def mme(*, weight: Any = 0.1, alternate: bool = False, sources: int = 2) -> Method:
    """Semi-supervised adaptation: the head maximises the entropy of the unlabelled target, the encoder minimises it
    (Saito, Kim, Sclaroff, Darrell, Saenko, ICCV 2019, arXiv 1904.06487, section 3).

    **Where the labelled target examples are.** A target in dalib never carries labels. The few labelled target examples
    (shots) are a source domain of their own: give :func:`dalib.data.paired_stream` the true source and the domain of
    shots, so that labelled rows interleave them half and half, as in the authors' code. Whoever makes that second
    domain decides openly to spend these labels; the unlabelled target must not contain the shots.

    The paper's head takes features at unit length and divides by a temperature of 0.05: give the classifier
    ``head="cosine"`` (:class:`dalib.encoders.heads.CosineHead`). Any head works here; with a linear one the
    entropy depends on the features' length too, and the encoder can lower it by longer features alone.

    Args:
        weight: λ; 0.1 in the paper.
        alternate: two updates a step, labelled and then entropy with a forward pass of its own, as in the authors' code
            (its "update" keeps the momentum of both in one optimiser, as dalib's does); False adds the two gradients.
        sources: domains interleaved in the labelled rows: 2 with shots, 1 without. It serves the metrics; all labelled
            rows count equally.

    Metrics: ``loss/mme``, the target's entropy; with 2 or more domains ``mme/accuracy_shots``, of the last one.

    Raises:
        InputError: for fewer than 1 domain, or (when traced) a batch that does not divide by them.
    """
    check_sources(sources, least=1)

    def entropy(params: Params, features: Array, forward: Forward, key: Array) -> Array:
        return mean_entropy(forward.head(params["head"], reverse_gradient(features, 1.0), key))

    def of_shots(outputs: Pass) -> dict[str, Array]:
        if sources == 1:
            return {}
        assert outputs.source.logits is not None
        right = outputs.source.logits.argmax(-1) == outputs.batch.source.labels
        return {"mme/accuracy_shots": split_domains(right, sources)[-1].mean()}

    def penalty(params: Params, state: PyTree, outputs: Pass, forward: Forward, context: Context):
        value = entropy(params, outputs.target.features, forward, context.key)
        # Minus: the head maximises; the reversal turns the sign once more, so the encoder minimises.
        return -weigh(weight, context) * value, state, {"loss/mme": value, **of_shots(outputs)}

    def unlabelled(params: Params, states: States, batch: Batch, forward: Forward, context: Context) -> Result:
        outputs, model = forward.pair(params, states.model, batch, context.key)
        value, _, metrics = penalty(params, states.method, outputs, forward, context)
        return Result(value, states._replace(model=model), metrics)

    if not alternate:
        return Method("mme", penalty=penalty)
    labelled = SUPERVISED._replace(name="labelled")
    return Method(
        "mme", updates=(labelled, Update("entropy", unlabelled, ("encoder", "bottleneck", "head"), joins=False))
    )
