"""Explanations: the parts of an input that speak for a class, or for the target domain."""

from dalib.evaluate.explanations.gradients import grad_cam as grad_cam
from dalib.evaluate.explanations.gradients import integrated_gradients as integrated_gradients
from dalib.evaluate.explanations.occlusion import occlusion as occlusion
from dalib.evaluate.explanations.scores import class_score as class_score
from dalib.evaluate.explanations.scores import domain_direction as domain_direction
from dalib.evaluate.explanations.scores import domain_score as domain_score
from dalib.evaluate.explanations.scores import randomised as randomised
from dalib.evaluate.explanations.scores import similarity as similarity
