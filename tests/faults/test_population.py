"""A population ends with the same bits wherever SIGTERM and kills part its members."""

import itertools
import shutil

import pytest

import dalib.run.run
import dalib.train.loop
from dalib.train import Preempted
from tests.faults.tiny import Killed, asked_at, assert_same, outcome, start


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DALIB_DEVICES", "1")
        start(folder)
    return outcome(folder)


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setenv("DALIB_DEVICES", "1")


def killed_at(module, name, at, folder, before=True):
    """A start in which the ``at``-th call of a function is where a kill comes: before it or right after it."""
    calls, plain = itertools.count(1), getattr(module, name)

    def call(*arguments, **keywords):
        here = next(calls) == at
        if here and before:
            raise Killed
        result = plain(*arguments, **keywords)
        if here:
            raise Killed
        return result

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, call)
        start(folder)


def save_after_sigterm(folder, question, save):
    """SIGTERM saves off the cadence (or puts an evaluation off); then a kill comes in a save of the next start."""
    with asked_at(question), pytest.raises(Preempted):
        start(folder)
    killed_at(dalib.train.loop, "save_place", save, folder)


def test_kill_in_the_save_after_one_off_the_cadence(straight, tmp_path):
    """One member then has checkpoints of steps 2 and 4, the other of 0 and 2."""
    save_after_sigterm(tmp_path, 2, 2)
    assert [sorted(p.name for p in (tmp_path / str(i) / "checkpoints").iterdir()) for i in (0, 1)] == [
        ["2", "4"],
        ["0", "2"],
    ]
    start(tmp_path)
    assert_same(straight, outcome(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("question", range(1, 6))
def test_kills_in_the_saves_after_every_sigterm(question, straight, tmp_path):
    """Saves of both members after a SIGTERM at each line; another SIGTERM and a kill among the ends follow."""
    for save in range(1, 5 if question < 4 else 3):  # so many are left
        folder = tmp_path / str(save)
        save_after_sigterm(folder, question, save)
        try:
            with asked_at(2):
                start(folder)
        except Preempted:
            killed_at(dalib.run.run, "write_outcome", 1 + save % 2, folder, before=save > 2)
            start(folder)
        assert_same(straight, outcome(folder))
        shutil.rmtree(folder)
