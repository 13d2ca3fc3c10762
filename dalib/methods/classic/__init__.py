"""Classic methods on features, closed form or convex: one a file, and the table that names them."""

from collections.abc import Callable

from dalib.methods.classic.components import jda as jda
from dalib.methods.classic.components import tca as tca
from dalib.methods.classic.shallow import Fitted as Fitted
from dalib.methods.classic.shallow import Shallow as Shallow
from dalib.methods.classic.shallow import nearest_neighbour as nearest_neighbour
from dalib.methods.classic.subspace import coral as coral
from dalib.methods.classic.subspace import gfk as gfk
from dalib.methods.classic.subspace import sa as sa
from dalib.methods.classic.transport import ot as ot
from dalib.methods.classic.weighting import effective_sample_size as effective_sample_size
from dalib.methods.classic.weighting import kliep as kliep
from dalib.methods.classic.weighting import odds as odds
from dalib.methods.classic.weighting import ulsif as ulsif

CLASSIC: dict[str, Callable[..., Shallow]] = {
    "coral": coral,
    "sa": sa,
    "gfk": gfk,
    "tca": tca,
    "jda": jda,
    "ot": ot,
    "kliep": kliep,
    "ulsif": ulsif,
    "odds": odds,
}
"""Every classic method by name; each is called with its hyper-parameters by keyword."""
