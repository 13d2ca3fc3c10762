"""Weights: variables of nets in files, and foreign checkpoints turned into them."""

from dalib.weights.files import load_variables as load_variables
from dalib.weights.files import save_variables as save_variables
from dalib.weights.readers import read_arrays as read_arrays
from dalib.weights.rules import TRANSFORMS as TRANSFORMS
from dalib.weights.rules import Ignored as Ignored
from dalib.weights.rules import Rule as Rule
from dalib.weights.rules import RuleTable as RuleTable
from dalib.weights.rules import assemble as assemble
