"""Nets that map inputs to ``Outputs`` (Flax Linen), and the classifier around them.

Every encoder is called as ``encoder.apply(variables, inputs, train=…)`` and has the field ``dtype``; those with
BatchNorm have ``bn_momentum``, and their statistics are in ``variables["batch_stats"]``. Inputs are images
``[n, h, w, c]``, vectors ``[n, d]``, token ids ``[n, t]`` or waveforms ``[n, t]``. The package imports no other room.

The engine sees a net as pure functions, :class:`Net`; :func:`make_classifier` makes one around an encoder of Flax
Linen, Flax NNX or Equinox. Every name of :data:`ENCODERS` is a factory here too: ``dalib.encoders.resnet50``.
"""

from typing import Any

from dalib.encoders.adapters import as_encoder as as_encoder
from dalib.encoders.adapters import as_net as as_net
from dalib.encoders.adapters import from_equinox as from_equinox
from dalib.encoders.adapters import from_linen as from_linen
from dalib.encoders.adapters import from_nnx as from_nnx
from dalib.encoders.adapters import linen_encoder as linen_encoder
from dalib.encoders.adapters import make_classifier as make_classifier
from dalib.encoders.audio.logmel import LogMelCNN as LogMelCNN
from dalib.encoders.audio.wav2vec2 import Wav2Vec2 as Wav2Vec2
from dalib.encoders.classifier import BOTTLENECKS as BOTTLENECKS
from dalib.encoders.classifier import HEADS as HEADS
from dalib.encoders.classifier import Bottleneck as Bottleneck
from dalib.encoders.classifier import Classifier as Classifier
from dalib.encoders.classifier import LinearHead as LinearHead
from dalib.encoders.classifier import MLPHead as MLPHead
from dalib.encoders.layers.convolution import CONVOLUTIONS as CONVOLUTIONS
from dalib.encoders.net import Encoder as Encoder
from dalib.encoders.net import Net as Net
from dalib.encoders.net import population_form as population_form
from dalib.encoders.pretrained.load import load as load
from dalib.encoders.registry import ENCODERS as ENCODERS
from dalib.encoders.registry import make_bottleneck as make_bottleneck
from dalib.encoders.registry import make_encoder as make_encoder
from dalib.encoders.registry import make_head as make_head
from dalib.encoders.text.bert import BERT as BERT
from dalib.encoders.text.gpt2 import GPT2 as GPT2
from dalib.encoders.vectors import MLP as MLP
from dalib.encoders.vectors import SeriesCNN as SeriesCNN
from dalib.encoders.vision.convnext import ConvNeXt as ConvNeXt
from dalib.encoders.vision.densenet import DenseNet as DenseNet
from dalib.encoders.vision.detectors import ResNetFPN as ResNetFPN
from dalib.encoders.vision.detectors import YOLOv5 as YOLOv5
from dalib.encoders.vision.digits import DTN as DTN
from dalib.encoders.vision.digits import LeNet as LeNet
from dalib.encoders.vision.efficientnet import EfficientNet as EfficientNet
from dalib.encoders.vision.mobilenet import MobileNetV2 as MobileNetV2
from dalib.encoders.vision.mobilenet import MobileNetV3 as MobileNetV3
from dalib.encoders.vision.resnet import CIFARResNet as CIFARResNet
from dalib.encoders.vision.resnet import ResNet as ResNet
from dalib.encoders.vision.squeezenet import SqueezeNet as SqueezeNet
from dalib.encoders.vision.vgg import VGG as VGG
from dalib.encoders.vision.vit import ViT as ViT


def __getattr__(name: str) -> Any:
    if name in ENCODERS:
        return ENCODERS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ENCODERS})
