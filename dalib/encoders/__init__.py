"""Nets that map inputs to ``Outputs`` (Flax Linen), and the classifier around them.

Every encoder is called as ``encoder.apply(variables, inputs, train=…)`` and has the field ``dtype``; those with
BatchNorm have ``bn_momentum``, and their statistics are in ``variables["batch_stats"]``. Inputs are images
``[n, h, w, c]``, vectors ``[n, d]``, token ids ``[n, t]`` or waveforms ``[n, t]``. This room imports no other.

The engine sees a net as pure functions, :class:`Net`; :func:`make_classifier` makes one around an encoder of Flax
Linen, Flax NNX or Equinox.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from dalib.checks import choose, unknown_name
from dalib.encoders.adapters import as_encoder as as_encoder
from dalib.encoders.adapters import as_net as as_net
from dalib.encoders.adapters import from_equinox as from_equinox
from dalib.encoders.adapters import from_linen as from_linen
from dalib.encoders.adapters import from_nnx as from_nnx
from dalib.encoders.adapters import linen_encoder as linen_encoder
from dalib.encoders.adapters import make_classifier as make_classifier
from dalib.encoders.bert import BERT as BERT
from dalib.encoders.bert import bert_base as bert_base
from dalib.encoders.bert import bert_large as bert_large
from dalib.encoders.bert import bert_tiny as bert_tiny
from dalib.encoders.bert import distilbert_base as distilbert_base
from dalib.encoders.bert import minilm_l6 as minilm_l6
from dalib.encoders.bert import minilm_l12 as minilm_l12
from dalib.encoders.bert import roberta_base as roberta_base
from dalib.encoders.cifar_resnet import CIFARResNet as CIFARResNet
from dalib.encoders.cifar_resnet import cifar_resnet20 as cifar_resnet20
from dalib.encoders.cifar_resnet import cifar_resnet32 as cifar_resnet32
from dalib.encoders.cifar_resnet import cifar_resnet44 as cifar_resnet44
from dalib.encoders.cifar_resnet import cifar_resnet56 as cifar_resnet56
from dalib.encoders.classifier import Classifier as Classifier
from dalib.encoders.convnext import ConvNeXt as ConvNeXt
from dalib.encoders.convnext import convnext_base as convnext_base
from dalib.encoders.convnext import convnext_small as convnext_small
from dalib.encoders.convnext import convnext_tiny as convnext_tiny
from dalib.encoders.convolution import CONVOLUTIONS as CONVOLUTIONS
from dalib.encoders.densenet import DenseNet as DenseNet
from dalib.encoders.densenet import densenet121 as densenet121
from dalib.encoders.densenet import densenet161 as densenet161
from dalib.encoders.densenet import densenet169 as densenet169
from dalib.encoders.densenet import densenet201 as densenet201
from dalib.encoders.digits import DTN as DTN
from dalib.encoders.digits import LeNet as LeNet
from dalib.encoders.efficientnet import EfficientNet as EfficientNet
from dalib.encoders.efficientnet import efficientnet_b0 as efficientnet_b0
from dalib.encoders.efficientnet import efficientnet_b1 as efficientnet_b1
from dalib.encoders.efficientnet import efficientnet_b2 as efficientnet_b2
from dalib.encoders.efficientnet import efficientnet_b3 as efficientnet_b3
from dalib.encoders.efficientnet import efficientnet_b4 as efficientnet_b4
from dalib.encoders.efficientnet import efficientnet_lite0 as efficientnet_lite0
from dalib.encoders.efficientnet import efficientnet_lite1 as efficientnet_lite1
from dalib.encoders.efficientnet import efficientnet_lite2 as efficientnet_lite2
from dalib.encoders.fpn import ResNetFPN as ResNetFPN
from dalib.encoders.fpn import fasterrcnn_resnet50_fpn as fasterrcnn_resnet50_fpn
from dalib.encoders.gpt2 import GPT2 as GPT2
from dalib.encoders.gpt2 import gpt2 as gpt2
from dalib.encoders.gpt2 import gpt2_medium as gpt2_medium
from dalib.encoders.heads import BOTTLENECKS as BOTTLENECKS
from dalib.encoders.heads import HEADS as HEADS
from dalib.encoders.heads import Bottleneck as Bottleneck
from dalib.encoders.heads import LinearHead as LinearHead
from dalib.encoders.heads import MLPHead as MLPHead
from dalib.encoders.loading import load as load
from dalib.encoders.logmel import LogMelCNN as LogMelCNN
from dalib.encoders.mlp import MLP as MLP
from dalib.encoders.mobilenet import MobileNetV2 as MobileNetV2
from dalib.encoders.mobilenet import mobilenet_v2 as mobilenet_v2
from dalib.encoders.mobilenet_v3 import MobileNetV3 as MobileNetV3
from dalib.encoders.mobilenet_v3 import mobilenet_v3_large as mobilenet_v3_large
from dalib.encoders.mobilenet_v3 import mobilenet_v3_small as mobilenet_v3_small
from dalib.encoders.net import Encoder as Encoder
from dalib.encoders.net import Net as Net
from dalib.encoders.net import population_form as population_form
from dalib.encoders.resnet import ResNet as ResNet
from dalib.encoders.resnet import resnet18 as resnet18
from dalib.encoders.resnet import resnet34 as resnet34
from dalib.encoders.resnet import resnet50 as resnet50
from dalib.encoders.resnet import resnet101 as resnet101
from dalib.encoders.resnet import resnet152 as resnet152
from dalib.encoders.resnet import resnext50_32x4d as resnext50_32x4d
from dalib.encoders.resnet import resnext101_32x8d as resnext101_32x8d
from dalib.encoders.resnet import resnext101_64x4d as resnext101_64x4d
from dalib.encoders.resnet import wide_resnet50_2 as wide_resnet50_2
from dalib.encoders.resnet import wide_resnet101_2 as wide_resnet101_2
from dalib.encoders.series import SeriesCNN as SeriesCNN
from dalib.encoders.squeezenet import SqueezeNet as SqueezeNet
from dalib.encoders.squeezenet import squeezenet1_1 as squeezenet1_1
from dalib.encoders.vgg import VGG as VGG
from dalib.encoders.vgg import vgg11 as vgg11
from dalib.encoders.vgg import vgg11_bn as vgg11_bn
from dalib.encoders.vgg import vgg13 as vgg13
from dalib.encoders.vgg import vgg13_bn as vgg13_bn
from dalib.encoders.vgg import vgg16 as vgg16
from dalib.encoders.vgg import vgg16_bn as vgg16_bn
from dalib.encoders.vgg import vgg19 as vgg19
from dalib.encoders.vgg import vgg19_bn as vgg19_bn
from dalib.encoders.vit import ViT as ViT
from dalib.encoders.vit import clip_vit_b16 as clip_vit_b16
from dalib.encoders.vit import clip_vit_b32 as clip_vit_b32
from dalib.encoders.vit import clip_vit_l14 as clip_vit_l14
from dalib.encoders.vit import deit_b16 as deit_b16
from dalib.encoders.vit import deit_s16 as deit_s16
from dalib.encoders.vit import dino_vitb16 as dino_vitb16
from dalib.encoders.vit import dino_vits8 as dino_vits8
from dalib.encoders.vit import dino_vits16 as dino_vits16
from dalib.encoders.vit import dinov2_vitb14 as dinov2_vitb14
from dalib.encoders.vit import dinov2_vitl14 as dinov2_vitl14
from dalib.encoders.vit import dinov2_vits14 as dinov2_vits14
from dalib.encoders.vit import vit_b16 as vit_b16
from dalib.encoders.vit import vit_b32 as vit_b32
from dalib.encoders.vit import vit_l16 as vit_l16
from dalib.encoders.vit import vit_s16 as vit_s16
from dalib.encoders.wav2vec2 import Wav2Vec2 as Wav2Vec2
from dalib.encoders.wav2vec2 import wav2vec2_base as wav2vec2_base
from dalib.encoders.yolo import YOLOv5 as YOLOv5
from dalib.encoders.yolo import yolov5l as yolov5l
from dalib.encoders.yolo import yolov5m as yolov5m
from dalib.encoders.yolo import yolov5n as yolov5n
from dalib.encoders.yolo import yolov5s as yolov5s
from dalib.encoders.yolo import yolov5x as yolov5x

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
    return factory(**fields)
