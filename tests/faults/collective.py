"""One of several processes that work together: ``python -m tests.faults.collective VICTIM``; that one kills itself."""

import os
import signal
import sys

import numpy as np

from dalib.train.devices import peers
from dalib.train.devices.processes import from_each, initialize, process_index

if __name__ == "__main__":
    initialize()
    for step in range(20):
        peers.note_step(step)
        if step == 7 and process_index() == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            assert from_each(np.float64(step)).sum() == 3 * step
        except Exception:
            peers.failed()
