"""A classifier: an encoder, a bottleneck and a head; heads and bottlenecks by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dalib.core.checks import choose, input_error
from dalib.core.options import Count, Rate
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.inputs import check_rows
from dalib.encoders.layers.layers import batch_norms, leave

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "none": lambda x: x}


class Bottleneck(nn.Module):
    """Linear (– BatchNorm) – activation (– dropout) between encoder and head.

    Maps ``[n, d]`` to ``[n, width]``, the features that the methods align. The usual forms have names in
    ``BOTTLENECKS``; they differ from method to method and published numbers hinge on them. ``activation`` is ``"relu"``
    or ``"none"``, ``dropout`` the rate at the end, ``bn_momentum`` the weight of the old running statistics.
    """

    width: Count = 256
    norm: bool = True
    activation: str = "relu"
    dropout: Rate = 0.0
    bn_momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> Array:
        check_rows(features, net="Bottleneck", name="features")
        x = nn.Dense(self.width, dtype=self.dtype, name="fc")(features)
        if self.norm:
            x = batch_norms(self, train)(x, name="bn")
        x = choose("activation", self.activation, ACTIVATIONS)(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return leave(x)


BOTTLENECKS: dict[str, Callable[..., Bottleneck | None]] = {
    "none": lambda **fields: None,
    "linear-bn-relu": partial(Bottleneck, norm=True, activation="relu"),
    "linear-bn-relu-dropout": partial(Bottleneck, norm=True, activation="relu", dropout=0.5),
    "linear-relu-dropout": partial(Bottleneck, norm=False, activation="relu", dropout=0.5),
    "linear-relu": partial(Bottleneck, norm=False, activation="relu"),
    "linear-bn": partial(Bottleneck, norm=True, activation="none"),
}
"""Bottlenecks by name: DANN, CDAN, MCC use linear-bn-relu; JAN adds dropout; DAN has no BatchNorm; SHOT no ReLU."""


class LinearHead(nn.Module):
    """One linear layer from features ``[n, d]`` to logits ``[n, num_classes]``."""

    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> Array:
        del train
        check_rows(features, net="LinearHead", name="features")
        return leave(nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(features))


class MLPHead(nn.Module):
    """Linear – ReLU – dropout layers of ``widths``, then a linear one to logits. No BatchNorm: parameters alone."""

    num_classes: int
    widths: tuple[Count, ...] = (256,)
    dropout: Rate = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> Array:
        check_rows(features, net="MLPHead", name="features")
        x = features
        for i, width in enumerate(self.widths, start=1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{i}")(x))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return leave(nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x))


class CosineHead(nn.Module):
    """``Wᵀf / (T ‖f‖)``: features at unit length, no bias, a temperature; the head of MME (Saito et al., ICCV 2019).

    Features of zeros get zeros, without a gradient. ``unit_weights`` also brings the rows of W to unit length, so that
    logits are cosines over T; the paper (T = 0.05) and its code leave their lengths free.
    """

    num_classes: int
    temperature: float = 0.05
    unit_weights: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> Array:
        del train
        check_rows(features, net="CosineHead", name="features")
        x = unit(features, axis=1)
        if not self.unit_weights:
            x = nn.Dense(self.num_classes, use_bias=False, dtype=self.dtype, name="fc")(x)
            return leave(x / self.temperature)
        shape = (features.shape[-1], self.num_classes)
        kernel: Any = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return leave(x @ unit(kernel, axis=0).astype(x.dtype) / self.temperature)


class WeightNormHead(nn.Module):
    """A linear layer with bias and a kernel ``g_k v_k / ‖v_k‖`` per class; the head of SHOT.

    ``g`` starts as the norms of v, so that the layer starts as a plain one. Reference: Salimans and Kingma, "Weight
    normalization", NIPS 2016, arXiv 1602.07868, eq. 2.
    """

    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> Array:
        del train
        check_rows(features, net="WeightNormHead", name="features")
        direction: Any = self.param(
            "direction", nn.initializers.glorot_normal(), (features.shape[-1], self.num_classes)
        )
        length: Any = self.param("length", lambda key: jnp.linalg.norm(direction, axis=0))
        bias: Any = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        kernel = unit(direction, axis=0) * length[None]
        x, kernel, bias = nn.dtypes.promote_dtype(features, kernel, bias, dtype=self.dtype)
        return leave(x @ kernel + bias[None])


def unit(x: Array, *, axis: int) -> Array:
    """Scale ``x`` to Euclidean length 1 along an axis; zeros stay zeros and get no gradient."""
    square = jnp.square(x).sum(axis, keepdims=True)
    return x * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


HEADS: dict[str, Callable[..., nn.Module]] = {
    "linear": LinearHead,
    "mlp": MLPHead,
    "cosine": CosineHead,
    "weight-norm": WeightNormHead,
}


def central(images: Array, size: int) -> Array:
    """Cut the central square ``[n, size, size, c]`` of images ``[n, h, w, c]``; smaller ones are an InputError."""
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
            So one stored image serves training, with views cut from all of it, and evaluation.
        numbers: whether the logits are real numbers to be predicted; one column is then enough.
    """

    encoder: nn.Module
    num_classes: int
    bottleneck: nn.Module | str | None = None
    head: nn.Module | str = "linear"
    crop: int = 0
    numbers: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.num_classes, int) or self.num_classes < (1 if self.numbers else 2):
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
        """Classify a batch ``[n, ...]`` of the encoder's inputs.

        ``train`` means batch statistics and dropout (``mutable=["batch_stats"]`` and a ``dropout`` key where the net
        has them). ``Outputs`` are features ``[n, d']`` after the bottleneck, logits ``[n, C]``, and the encoder's
        hidden activations with its features ``[n, d]`` as ``hidden["encoder"]``.
        """
        encoded = self.encoder(central(inputs, self.crop) if self.crop else inputs, train=train)
        bottleneck: Any = self.bottleneck
        head: Any = self.head
        features = encoded.features if bottleneck is None else bottleneck(encoded.features, train=train)
        logits = head(features, train=train)
        return Outputs(features, logits, {**encoded.hidden, "encoder": encoded.features})

    def head_module(self) -> nn.Module:
        """Return the head alone, unbound: ``init(key, features)`` gives the parameters of one more head.

        ``apply({"params": p}, features, train=…, rngs=…)`` gives its logits; ``p`` may also be ``params["head"]``.
        """
        head: Any = self.head
        return head.clone(parent=None, name=None)

    def with_convolution(self, form: str) -> "Classifier":
        """Return the same net with its encoder's convolutions in another form, a name of ``CONVOLUTIONS``.

        For ``vmap`` over parameters, as a population does it, on a CPU that is ``"patches"``; an encoder with a form
        that was chosen by name (anything but ``"auto"``), or that has no convolutions, stays as it is.
        """
        if getattr(self.encoder, "conv", None) != "auto":
            return self
        return self.clone(encoder=self.encoder.clone(conv=form))
