"""Makes nets of Flax Linen, Flax NNX and Equinox modules."""

from dalib.encoders.adapters.compose import as_encoder as as_encoder
from dalib.encoders.adapters.compose import as_net as as_net
from dalib.encoders.adapters.compose import make_classifier as make_classifier
from dalib.encoders.adapters.equinox import from_equinox as from_equinox
from dalib.encoders.adapters.linen import from_linen as from_linen
from dalib.encoders.adapters.linen import linen_encoder as linen_encoder
from dalib.encoders.adapters.nnx import from_nnx as from_nnx
