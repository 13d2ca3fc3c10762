"""Rule tables by layout name (``torchvision/resnet``, ``timm/vit``, ``transformers/bert``)."""

from dalib.encoders.checkpoints.rules import RuleTable
from dalib.encoders.registry import FAMILIES
from dalib.encoders.vision import vit_weights

TABLES: dict[str, RuleTable] = {
    layout: table for family in (*FAMILIES, vit_weights) for layout, table in getattr(family, "TABLES", {}).items()
}
"""All known layouts; a family's module has its own as ``TABLES``."""
