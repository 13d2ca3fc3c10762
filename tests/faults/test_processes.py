"""One of several processes dies: the others say so and end, whichever it was; one of several is bad at reading."""

import signal
import time

import pytest

from dalib.core.checks import InputError
from dalib.train.devices.peers import seconds
from tests.multiprocess.processes import start


def test_the_time_until_survivors_end():
    assert seconds("") == 30 and seconds("12.5") == 12.5
    for bad in ("x", "0", "-3", "nan", "inf"):
        with pytest.raises(InputError, match="DALIB_PEER_TIMEOUT"):
            seconds(bad)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1, None])
def test_survivors_end_with_one_message(victim):
    processes = start(3, 1, "tests.faults.collective", -1 if victim is None else victim)
    if victim is not None:
        assert processes[victim].wait(timeout=300) == -signal.SIGKILL
    began = time.monotonic()
    said = {i: process.communicate(timeout=60)[1] for i, process in enumerate(processes)}
    for i, process in enumerate(processes):
        if victim is None:
            assert process.returncode == 0, said[i]
        elif i != victim:
            assert time.monotonic() - began < 30 and process.returncode == 1, said[i]
            assert f"process {victim} of 3 is gone without a word, at step 7 (this is process {i})" in said[i]
            assert "with the same command" in said[i] and said[i].count("stopped:") == 1
        assert "stack trace" not in said[i] and "Traceback" not in said[i]
