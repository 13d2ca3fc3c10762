"""Encoder + bottleneck + head."""

from typing import Any

import flax.linen as nn

from dalib.checks import choose, input_error
from dalib.encoders.heads import BOTTLENECKS, HEADS
from dalib.types import Array, Outputs


def central(images: Array, size: int) -> Array:
    """The central square ``[n, size, size, c]`` of images ``[n, h, w, c]``.

    Raises:
        InputError: for other arrays, or smaller images.
    """
    if images.ndim != 4 or min(images.shape[1:3]) < size:
        raise input_error("inputs", got=f"shape {images.shape}", expected=f"images [n, h, w, c] of at least {size}²")
    top, left = (round((side - size) / 2) for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


class Classifier(nn.Module):
    """Encoder, bottleneck, head; the three are the parameter groups ``encoder``, ``bottleneck``, ``head``.

    Attributes:
        encoder: a net that returns ``Outputs`` with features ``[n, d]``.
        num_classes: C.
        bottleneck: a name of ``BOTTLENECKS`` (then 256 wide), a module from ``[n, d]`` to ``[n, d']``, or None.
        head: a name of ``HEADS`` (with its default fields), or a module from ``[n, d']`` to logits with a field
            ``num_classes`` equal to the classifier's.
        crop: of larger images ``[n, h, w, c]`` only the central square of so many pixels enters the encoder; 0: all.
            So one stored image serves training, whose views cut from all of it, and evaluation.
    """

    encoder: nn.Module
    num_classes: int
    bottleneck: nn.Module | str | None = None
    head: nn.Module | str = "linear"
    crop: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.num_classes, int) or self.num_classes < 2:
            raise input_error("num_classes", got=self.num_classes, expected="an integer of at least 2 classes")
        # Names become modules before Linen adopts the fields. parent=None: they belong to this module, not to one
        # that is being traced while it is built.
        if isinstance(self.bottleneck, str):
            build = choose("bottleneck", self.bottleneck, BOTTLENECKS)
            self.bottleneck = build(parent=None)
        if isinstance(self.head, str):
            self.head = choose("head", self.head, HEADS)(num_classes=self.num_classes, parent=None)
        classes = getattr(self.head, "num_classes", self.num_classes)
        if classes != self.num_classes:
            raise input_error(
                "head",
                got=f"a head of {classes} classes in a classifier of {self.num_classes}",
                expected="the same number of classes",
            )
        super().__post_init__()

    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Classifies a batch.

        Args:
            inputs: whatever the encoder takes, ``[n, ...]``.
            train: batch statistics and dropout (needs ``mutable=["batch_stats"]`` and a ``dropout`` key where the net
                has them).

        Returns:
            ``Outputs``: features ``[n, d']`` after the bottleneck, logits ``[n, C]``, and the encoder's hidden
            activations with its features ``[n, d]`` as ``hidden["encoder"]``.
        """
        encoded = self.encoder(central(inputs, self.crop) if self.crop else inputs, train=train)
        bottleneck: Any = self.bottleneck
        head: Any = self.head
        features = encoded.features if bottleneck is None else bottleneck(encoded.features, train=train)
        logits = head(features, train=train)
        return Outputs(features, logits, {**encoded.hidden, "encoder": encoded.features})

    def head_module(self) -> nn.Module:
        """The head alone, unbound: ``init(key, features)`` gives the parameters of one more head.

        ``apply({"params": p}, features, train=…, rngs=…)`` gives its logits; ``p`` may also be ``params["head"]``.
        """
        head: Any = self.head
        return head.clone(parent=None, name=None)

    def with_bn_momentum(self, momentum: float) -> "Classifier":
        """The same net with another BatchNorm momentum; with 0 a pass stores the statistics of its own batch."""
        changed = {
            name: module.clone(bn_momentum=momentum)
            for name in ("encoder", "bottleneck")
            if hasattr(module := getattr(self, name), "bn_momentum")
        }
        return self.clone(**changed)

    def with_convolution(self, form: str) -> "Classifier":
        """The same net with its encoder's convolutions in another form, a name of ``CONVOLUTIONS``.

        For ``vmap`` over parameters, as a population does it, on a CPU that is ``"patches"``; an encoder whose form was
        chosen by name (anything but ``"auto"``), or that has no convolutions, stays as it is.
        """
        if getattr(self.encoder, "conv", None) != "auto":
            return self
        return self.clone(encoder=self.encoder.clone(conv=form))
