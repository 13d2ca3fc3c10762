"""Transfer beyond adaptation: scores of how well an encoder would transfer, and fine-tuning terms."""

from dalib.evaluate.transferability import h_score as h_score
from dalib.evaluate.transferability import leep as leep
from dalib.evaluate.transferability import log_me as log_me
from dalib.evaluate.transferability import trans_rate as trans_rate
from dalib.transfer.co_tuning import category_relationship as category_relationship
from dalib.transfer.co_tuning import co_tuning_loss as co_tuning_loss
