"""Weights: variables of nets in files, and published checkpoints fetched, checked and turned into them.

``python -m dalib.run.cli.weights list`` shows what can be fetched; :func:`dalib.encoders.load` is the way to use it.
"""

from dalib.encoders.checkpoints.reading import read_arrays as read_arrays
from dalib.encoders.checkpoints.rules import TRANSFORMS as TRANSFORMS
from dalib.encoders.checkpoints.rules import Ignored as Ignored
from dalib.encoders.checkpoints.rules import Rule as Rule
from dalib.encoders.checkpoints.rules import RuleTable as RuleTable
from dalib.encoders.checkpoints.rules import assemble as assemble
from dalib.encoders.checkpoints.variables import load_variables as load_variables
from dalib.encoders.checkpoints.variables import save_variables as save_variables
from dalib.encoders.pretrained.manifest import Entry as Entry
from dalib.encoders.pretrained.manifest import Origin as Origin
from dalib.encoders.pretrained.manifest import find_entry as find_entry
from dalib.encoders.pretrained.tables import TABLES as TABLES
