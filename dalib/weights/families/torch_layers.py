"""Rules for torch's usual layers: the same few lines of every convolutional family's table."""

from dalib.weights.rules import Ignored, Rule

STEP_COUNTER = Ignored(r"(?:.*\.)?num_batches_tracked", "torch's count of steps, of no use with a fixed momentum")


def unused(foreign: str, reason: str) -> Ignored:
    """All arrays whose names begin with ``foreign``, a pattern, but for torch's step counters."""
    return Ignored(rf"(?!.*num_batches_tracked){foreign}.*", reason)


def convolution(foreign: str, ours: str, *, bias: bool = False) -> tuple[Rule, ...]:
    """Rules for a convolution: ``foreign`` is a pattern, ``ours`` a path below ``params`` with group references."""
    kernel = Rule(rf"{foreign}\.weight", f"params/{ours}/kernel", "conv")
    return (kernel, Rule(rf"{foreign}\.bias", f"params/{ours}/bias")) if bias else (kernel,)


def linear(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Rules for a linear layer with bias."""
    return (
        Rule(rf"{foreign}\.weight", f"params/{ours}/kernel", "linear"),
        Rule(rf"{foreign}\.bias", f"params/{ours}/bias"),
    )


def pointwise(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Rules for a 1×1 convolution with bias that is a linear layer here."""
    return (
        Rule(rf"{foreign}\.weight", f"params/{ours}/kernel", "pointwise"),
        Rule(rf"{foreign}\.bias", f"params/{ours}/bias"),
    )


def batch_norm(foreign: str, ours: str, *, frozen: bool = False) -> tuple[Rule, ...]:
    """Rules for BatchNorm; a frozen one keeps scale and bias with the statistics."""
    affine = "batch_stats" if frozen else "params"
    return (
        Rule(rf"{foreign}\.weight", f"{affine}/{ours}/scale"),
        Rule(rf"{foreign}\.bias", f"{affine}/{ours}/bias"),
        Rule(rf"{foreign}\.running_mean", f"batch_stats/{ours}/mean"),
        Rule(rf"{foreign}\.running_var", f"batch_stats/{ours}/var"),
    )
