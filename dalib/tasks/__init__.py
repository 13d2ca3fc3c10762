"""Tasks, the kinds of prediction: one file each, a :class:`dalib.core.types.Task` of pure functions."""

from dalib.tasks.classification import classification as classification
from dalib.tasks.classification import cross_entropy as cross_entropy
from dalib.tasks.regression import regression as regression
