"""Encoders, bottlenecks and heads by name, and functions that build them from keyword fields."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from dalib.core.checks import choose, unknown_name
from dalib.core.options import check_arguments
from dalib.encoders.audio.logmel import LogMelCNN
from dalib.encoders.audio.wav2vec2 import wav2vec2_base
from dalib.encoders.classifier import BOTTLENECKS, HEADS
from dalib.encoders.text.bert import (
    bert_base,
    bert_large,
    bert_tiny,
    distilbert_base,
    minilm_l6,
    minilm_l12,
    roberta_base,
)
from dalib.encoders.text.gpt2 import gpt2, gpt2_medium
from dalib.encoders.vectors import MLP, SeriesCNN
from dalib.encoders.vision.cifar_resnet import cifar_resnet20, cifar_resnet32, cifar_resnet44, cifar_resnet56
from dalib.encoders.vision.convnext import convnext_base, convnext_small, convnext_tiny
from dalib.encoders.vision.densenet import densenet121, densenet161, densenet169, densenet201
from dalib.encoders.vision.detectors import fasterrcnn_resnet50_fpn, yolov5l, yolov5m, yolov5n, yolov5s, yolov5x
from dalib.encoders.vision.digits import DTN, LeNet
from dalib.encoders.vision.efficientnet import (
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from dalib.encoders.vision.mobilenet import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small
from dalib.encoders.vision.resnet import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from dalib.encoders.vision.squeezenet import squeezenet1_1
from dalib.encoders.vision.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from dalib.encoders.vision.vit import (
    clip_vit_b16,
    clip_vit_b32,
    clip_vit_l14,
    deit_b16,
    deit_s16,
    dino_vitb16,
    dino_vits8,
    dino_vits16,
    dinov2_vitb14,
    dinov2_vitl14,
    dinov2_vits14,
    vit_b16,
    vit_b32,
    vit_l16,
    vit_s16,
)

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "dtn": DTN,
    "mlp": MLP,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "cifar_resnet20": cifar_resnet20,
    "cifar_resnet32": cifar_resnet32,
    "cifar_resnet44": cifar_resnet44,
    "cifar_resnet56": cifar_resnet56,
    "squeezenet1_1": squeezenet1_1,
    "resnext50_32x4d": resnext50_32x4d,
    "resnext101_32x8d": resnext101_32x8d,
    "resnext101_64x4d": resnext101_64x4d,
    "wide_resnet50_2": wide_resnet50_2,
    "wide_resnet101_2": wide_resnet101_2,
    "vit_s16": vit_s16,
    "vit_b16": vit_b16,
    "vit_b32": vit_b32,
    "vit_l16": vit_l16,
    "deit_s16": deit_s16,
    "deit_b16": deit_b16,
    "dino_vits16": dino_vits16,
    "dino_vits8": dino_vits8,
    "dino_vitb16": dino_vitb16,
    "dinov2_vits14": dinov2_vits14,
    "dinov2_vitb14": dinov2_vitb14,
    "dinov2_vitl14": dinov2_vitl14,
    "clip_vit_b32": clip_vit_b32,
    "clip_vit_b16": clip_vit_b16,
    "clip_vit_l14": clip_vit_l14,
    "bert_base": bert_base,
    "bert_large": bert_large,
    "bert_tiny": bert_tiny,
    "roberta_base": roberta_base,
    "distilbert_base": distilbert_base,
    "minilm_l6": minilm_l6,
    "minilm_l12": minilm_l12,
    "gpt2": gpt2,
    "gpt2_medium": gpt2_medium,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large": mobilenet_v3_large,
    "efficientnet_b0": efficientnet_b0,
    "efficientnet_b1": efficientnet_b1,
    "efficientnet_b2": efficientnet_b2,
    "efficientnet_b3": efficientnet_b3,
    "efficientnet_b4": efficientnet_b4,
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
    "convnext_tiny": convnext_tiny,
    "convnext_small": convnext_small,
    "convnext_base": convnext_base,
    "wav2vec2_base": wav2vec2_base,
    "vgg11": vgg11,
    "vgg11_bn": vgg11_bn,
    "vgg13": vgg13,
    "vgg13_bn": vgg13_bn,
    "vgg16": vgg16,
    "vgg16_bn": vgg16_bn,
    "vgg19": vgg19,
    "vgg19_bn": vgg19_bn,
    "logmel_cnn": LogMelCNN,
    "series_cnn": SeriesCNN,
    "densenet121": densenet121,
    "densenet161": densenet161,
    "densenet169": densenet169,
    "densenet201": densenet201,
    "fasterrcnn_resnet50_fpn": fasterrcnn_resnet50_fpn,
    "yolov5n": yolov5n,
    "yolov5s": yolov5s,
    "yolov5m": yolov5m,
    "yolov5l": yolov5l,
    "yolov5x": yolov5x,
}


def make_encoder(name: str, **fields: Any) -> nn.Module:
    """Builds the encoder ``name`` of ``ENCODERS`` with the given fields.

    Raises:
        InputError: on an unknown name or an unknown field, with the nearest known ones.
    """
    return _make("encoder", name, ENCODERS, fields)


def make_bottleneck(name: str, **fields: Any) -> nn.Module | None:
    """Builds the bottleneck ``name`` of ``BOTTLENECKS`` with the given fields (``width`` …); ``"none"`` is None.

    Raises:
        InputError: on an unknown name or an unknown field, with the nearest known ones.
    """
    return _make("bottleneck", name, BOTTLENECKS, fields)


def make_head(name: str, num_classes: int, **fields: Any) -> nn.Module:
    """Builds the head ``name`` of ``HEADS`` with the given fields.

    Raises:
        InputError: on an unknown name or an unknown field, with the nearest known ones.
    """
    return _make("head", name, HEADS, {"num_classes": num_classes, **fields})


def _make(what: str, name: str, table: dict[str, Callable[..., Any]], fields: dict[str, Any]) -> Any:
    factory = choose(what, name, table)
    built: Any = getattr(factory, "func", factory)
    if dataclasses.is_dataclass(built):
        known = {f.name for f in dataclasses.fields(built)} - {"name", "parent"}
        for field in fields:
            if field not in known:
                raise unknown_name(f"field of the {what} {name!r}", field, known)
    check_arguments(what, factory, fields)
    return factory(**fields)
