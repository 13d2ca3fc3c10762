"""Transfer beyond adaptation: transferability scores of encoders, fine-tuning terms, and adapters."""

from dalib.evaluate.transferability import h_score as h_score
from dalib.evaluate.transferability import leep as leep
from dalib.evaluate.transferability import log_me as log_me
from dalib.evaluate.transferability import trans_rate as trans_rate
from dalib.transfer.adapters import ADAPTERS as ADAPTERS
from dalib.transfer.adapters import Adapter as Adapter
from dalib.transfer.adapters import adapted as adapted
from dalib.transfer.adapters import merged as merged
from dalib.transfer.adapters import trained_share as trained_share
from dalib.transfer.adapters import with_adapter as with_adapter
from dalib.transfer.co_tuning import category_relationship as category_relationship
from dalib.transfer.co_tuning import co_tuning_loss as co_tuning_loss
