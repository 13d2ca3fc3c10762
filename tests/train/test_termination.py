"""SIGTERM: asks a run that trains, ends anything else, and leaves the handler of before."""

import os
import signal
from dataclasses import dataclass

import pytest

from dalib.run.cli.main import main
from dalib.train import Preempted, StorageError, termination
from dalib.train.termination import AGREE_EVERY, asked, deferred, on_sigterm, unless_asked


@pytest.fixture(autouse=True)
def handler():
    """Whatever a test does, a SIGTERM afterwards means what it meant."""
    before = signal.getsignal(signal.SIGTERM)
    yield before
    assert signal.getsignal(signal.SIGTERM) is before
    termination._state.update(deferred=False, asked=False)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_while_nothing_trains_it_ends_with_status_0(capfd):
    with pytest.raises(SystemExit) as end, on_sigterm():
        terminate()
    assert end.value.code == 0 and not asked()
    assert "the same command goes on" in capfd.readouterr().err


def test_while_a_run_trains_it_asks_and_a_second_one_ends_at_once():
    with on_sigterm():
        with deferred() as stop:
            assert not stop()
            assert unless_asked(abs)(-1) == 1
            terminate()
            assert stop() and asked()
            with pytest.raises(Preempted):
                unless_asked(abs)(-1)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_several_processes_agree_and_go_on_to_the_end_of_what_they_do(monkeypatch):
    answers = []

    def any_process(flag):
        answers.append(flag)
        return False

    monkeypatch.setattr(termination, "process_count", lambda: 2)
    monkeypatch.setattr(termination, "any_process", any_process)
    with on_sigterm(), deferred() as stop:
        terminate()
        assert not any(stop() for _ in range(2 * AGREE_EVERY + 1))
        assert answers == [True] * 3
        assert unless_asked(abs)(-1) == 1


@dataclass(frozen=True)
class Options:
    pass


@pytest.mark.parametrize(
    ("error", "status"), ((Preempted("saved at step 3 of 9"), 0), (StorageError("disk full; what to do"), 1)), ids=str
)
def test_what_main_makes_of_it(error, status, capsys):
    def function(options):
        raise error

    assert main(function, Options, "", []) == status
    text = capsys.readouterr().err
    assert str(error) in text and ("the same command goes on" in text or status)
