"""Rule tables by layout name (``torchvision/resnet``, ``timm/vit``, ``transformers/bert``); one module a family."""

from dalib.weights.families import (
    bert,
    cifar_resnet,
    convnext,
    densenet,
    efficientnet,
    fpn,
    gpt2,
    mobilenet,
    resnet,
    squeezenet,
    vgg,
    vit,
    wav2vec2,
    yolo,
)
from dalib.weights.rules import RuleTable

TABLES: dict[str, RuleTable] = {}
"""All known layouts. A family's module exports its own ``TABLES``; add ``TABLES |= <family>.TABLES`` here."""
TABLES |= cifar_resnet.TABLES
TABLES |= squeezenet.TABLES
TABLES |= resnet.TABLES
TABLES |= bert.TABLES
TABLES |= gpt2.TABLES
TABLES |= vit.TABLES
TABLES |= mobilenet.TABLES
TABLES |= efficientnet.TABLES
TABLES |= convnext.TABLES
TABLES |= wav2vec2.TABLES
TABLES |= vgg.TABLES
TABLES |= densenet.TABLES
TABLES |= fpn.TABLES
TABLES |= yolo.TABLES
