"""Transfer beyond adaptation: scores of how well an encoder would transfer, and fine-tuning terms."""

from dalib.transfer.co_tuning import category_relationship as category_relationship
from dalib.transfer.co_tuning import co_tuning_loss as co_tuning_loss
from dalib.transfer.transferability import h_score as h_score
from dalib.transfer.transferability import leep as leep
from dalib.transfer.transferability import log_me as log_me
from dalib.transfer.transferability import trans_rate as trans_rate
