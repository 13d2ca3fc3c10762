"""Rule tables by layout name (``torchvision/resnet``, ``timm/vit``, ``transformers/bert``); one module a family."""

from dalib.encoders.audio import wav2vec2
from dalib.encoders.checkpoints.rules import RuleTable
from dalib.encoders.text import bert, gpt2
from dalib.encoders.vision import (
    cifar_resnet,
    convnext,
    densenet,
    detectors,
    efficientnet,
    mobilenet,
    resnet,
    squeezenet,
    vgg,
    vit_weights,
)

TABLES: dict[str, RuleTable] = {}
"""All known layouts. A family's module exports its own ``TABLES``; add ``TABLES |= <family>.TABLES`` here."""
TABLES |= cifar_resnet.TABLES
TABLES |= squeezenet.TABLES
TABLES |= resnet.TABLES
TABLES |= bert.TABLES
TABLES |= gpt2.TABLES
TABLES |= vit_weights.TABLES
TABLES |= mobilenet.TABLES
TABLES |= efficientnet.TABLES
TABLES |= convnext.TABLES
TABLES |= wav2vec2.TABLES
TABLES |= vgg.TABLES
TABLES |= densenet.TABLES
TABLES |= detectors.FPN_TABLES
TABLES |= detectors.YOLO_TABLES
