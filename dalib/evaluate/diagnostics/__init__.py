"""Diagnostics after training: alignment, worth of the adaptation, and kind of shift."""

from dalib.evaluate.diagnostics.kinds import Shifts as Shifts
from dalib.evaluate.diagnostics.kinds import shifts as shifts
from dalib.evaluate.diagnostics.neighbours import most_changed as most_changed
from dalib.evaluate.diagnostics.neighbours import near_duplicates as near_duplicates
from dalib.evaluate.diagnostics.neighbours import nearest_sources as nearest_sources
from dalib.evaluate.diagnostics.two_samples import class_distances as class_distances
from dalib.evaluate.diagnostics.two_samples import mmd_test as mmd_test
from dalib.evaluate.diagnostics.worth import bias_by_attribute as bias_by_attribute
from dalib.evaluate.diagnostics.worth import ideal_joint_error as ideal_joint_error
from dalib.evaluate.diagnostics.worth import recall_shift as recall_shift
from dalib.evaluate.diagnostics.worth import transfer as transfer
