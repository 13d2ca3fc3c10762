"""The lines of a display that is no terminal: short, with the time left of training alone."""

from dalib.run.cli import progress
from dalib.run.cli.progress import WIDTH, Pace, show_progress


def test_time_left_leaves_out_what_is_compiled():
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.start()
    now[0] = 100.0  # compilation, and the first ten steps
    pace.reach(10, 1)
    assert pace.left(50) == ""
    now[0] = 101.0
    pace.reach(20, 1)
    assert pace.left(50) == "5 s left"
    pace.start()
    now[0] = 300.0
    pace.reach(10, 4)
    assert pace.left(50) == "5 s left"
    now[0] = 308.0  # four runs at once: 40 steps in 8 s
    pace.reach(20, 4)
    assert pace.left(1000) == "3.0 min left"  # 50 steps in 9 s


def test_plain_lines_are_short_and_end_with_the_last_scores(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    with show_progress(3, 20) as shown:
        shown.start("dann: 3 runs of 3 tasks", 0, 3)
        shown.step(10, "target accuracy 0.100 at step 0  " + "loss 0.1 " * 40)
        shown.step(20, "target accuracy 0.100 at step 0")
        shown.step(20, "target accuracy 0.900")
        shown.end("done")
    lines = capsys.readouterr().err.splitlines()
    assert all(len(line) <= WIDTH for line in lines) and lines[1].endswith("…")
    assert lines[0] == "[1–3/3] dann: 3 runs of 3 tasks  step 0/20"
    assert "target accuracy 0.100 at step 0" in lines[1]
    assert lines[-1].endswith("done  target accuracy 0.900")


def test_without_a_step_there_is_no_time_left(capsys):
    with show_progress(2, 20) as shown:
        for _ in range(2):
            shown.start("dann  seed 0", 0)
            shown.end("done")
    ends = [f"[{i}/2] dann  seed 0  step 20/20  done" for i in (1, 2)]
    assert capsys.readouterr().err.splitlines()[1:] == ends
