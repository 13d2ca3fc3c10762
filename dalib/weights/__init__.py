"""Weights: variables of nets in files, and published checkpoints fetched, checked and turned into them.

``python -m dalib.weights list`` shows what can be fetched; :func:`dalib.encoders.load` is the way to use it.
"""

from dalib.weights.families import TABLES as TABLES
from dalib.weights.files import load_variables as load_variables
from dalib.weights.files import save_variables as save_variables
from dalib.weights.manifest import Entry as Entry
from dalib.weights.manifest import Origin as Origin
from dalib.weights.manifest import find_entry as find_entry
from dalib.weights.readers import read_arrays as read_arrays
from dalib.weights.rules import TRANSFORMS as TRANSFORMS
from dalib.weights.rules import Ignored as Ignored
from dalib.weights.rules import Rule as Rule
from dalib.weights.rules import RuleTable as RuleTable
from dalib.weights.rules import assemble as assemble
