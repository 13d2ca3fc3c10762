"""The page: self-contained, escaped, honest; and the command that makes it."""

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from dalib.core.checks import InputError
from dalib.core.files import write_atomically
from dalib.report import figures, load_runs, write_report
from dalib.report.__main__ import cli
from tests.report.synthetic import COMMAND, write_digits, write_run

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Collects attributes and visible text, and checks that tags are nested."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        self.ids += [values["id"]] if "id" in values else []
        self.images += [values] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_digits(root, seeds=2, points=30, dimensions=40, evaluations=3)
    write_run(root / "extra", "mcd", seed=0, finished=False)
    folder = write_run(root / "extra", "mcd", seed=1)
    (folder / "final.npz").unlink()
    path = write_report(load_runs(root), root / "report.html")
    return path.read_text(encoding="utf-8")


def test_page_needs_nothing_from_outside(report):
    page = Page(report)
    assert page.open == [] and "script" not in page.tags and "link" not in page.tags
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert set(anchors) <= set(page.ids) and len(anchors) == 6
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", report))


def test_page_contains_the_pictures(report):
    page = Page(report)
    assert len(page.images) == 1 + 2 * 3
    for image in page.images:
        assert base64.b64decode(image["src"].split(",", 1)[1]).startswith(b"\x89PNG") and image["alt"]


def test_page_says_what_was_run(report):
    text = Page(report).text
    for words in (COMMAND, "0123456789abcdef0123456789abcdef01234567", "0.10.2", "batch_norm", "encoder.name", "lenet"):
        assert words in text
    assert len(set(re.findall(r"[0-9a-f]{64}", text))) == 2


def test_page_is_honest(report):
    text = Page(report).text
    assert "oracle: trained on target labels" in text
    assert "oracle pick (uses target labels)" in text
    assert "at the last step of each run. No step was chosen" in text
    assert "1 unfinished run, not used in any number:" in text
    assert "MCD, mnist → optdigits, seed 0: stopped at step 300 of 300" in text
    assert "MCD, mnist → optdigits, seed 1: no final.npz" in text
    assert "perplexity 30" in text


def test_same_runs_same_page(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs", "source_only", seed=seed, dimensions=8, points=20)
    runs = load_runs(tmp_path / "runs")
    first = write_report(runs, tmp_path / "a.html").read_bytes()
    assert first == write_report(runs[::-1], tmp_path / "b.html").read_bytes()


def test_everything_given_is_escaped(tmp_path):
    evil = '<img src="http://evil" onerror=x>&"'
    write_run(
        tmp_path / "r", "m", source="s", target="t", class_names=[evil, "b"], target_accuracy=[0.6], dimensions=4,
        experiment={"steps": evil, evil: 1, "method": evil},
        config={"name": evil, "task": evil, "command": ["python", evil], "git": evil, "data": {evil: evil},
                "versions": {evil: evil}},
    )  # fmt: skip
    write_run(tmp_path / "r", "n", finished=False, config={"name": evil, "task": evil})
    text = write_report(load_runs(tmp_path / "r"), tmp_path / "x.html", title=evil).read_text(encoding="utf-8")
    page = Page(text)
    assert '<img src="http' not in text and len(page.images) == 4 and evil in page.text
    assert all(image["src"].startswith("data:") for image in page.images)


def test_runs_that_cannot_be_averaged_give_no_page(tmp_path):
    write_run(tmp_path / "r", seed=0, target_accuracy=[0.5, 0.6])
    write_run(tmp_path / "r", seed=1, target_accuracy=[0.5, 0.6, 0.7])
    with pytest.raises(InputError, match="steps = 200 and 300"):
        write_report(load_runs(tmp_path / "r"), tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_a_foreign_final_and_mixed_commits_and_data_are_named(tmp_path):
    a = write_run(tmp_path / "r", seed=0, target_accuracy=[0.5, 0.6, 0.7])
    b = write_run(tmp_path / "r", seed=1, config={"git": "ffff", "data": {"mnist": "1", "optdigits": "2"}})
    (a / "final.npz").write_bytes((b / "final.npz").read_bytes())
    with open(a / "record.jsonl", "r+") as file:
        lines = file.readlines()
        lines.insert(1, '{"event": "train", "step": 25, "metrics": {"loss/task": NaN}}\n')
        file.seek(0)
        file.writelines(lines)
    text = Page(write_report(load_runs(tmp_path / "r"), tmp_path / "x.html").read_text(encoding="utf-8")).text
    assert "the confusion matrix gives 80.00 % correct, the record 70.00 %" in text
    assert "2 different git commits" in text
    assert "The data of mnist differ between runs" in text
    assert "not finite, first at step 25" in text


def test_only_unfinished_runs_still_give_a_page(tmp_path):
    write_run(tmp_path / "r", "dan", finished=False)
    page = Page(write_report(load_runs(tmp_path / "r"), tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "1 unfinished run" in page.text and page.text.count("Not shown:") == 3


def test_a_failure_leaves_the_old_page(tmp_path, monkeypatch):
    write_run(tmp_path / "r")
    path = tmp_path / "x.html"
    path.write_text("old")
    monkeypatch.setattr(figures, "accuracy_figure", lambda runs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(load_runs(tmp_path / "r"), path)
    assert path.read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == ["r", "x.html"]


def test_writing_is_whole_or_nothing(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "a" / "b.bin", b"one")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one" and [p.name for p in path.parent.iterdir()] == ["b.bin"]


def test_bad_paths_are_refused(tmp_path):
    write_run(tmp_path / "r")
    runs = load_runs(tmp_path / "r")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "x.html"):
        with pytest.raises(InputError, match="path"):
            write_report(runs, path)
    with pytest.raises(InputError, match="runs: got none"):
        write_report([], tmp_path / "x.html")


def test_command_prints_tables_and_writes_the_page(tmp_path, capsys):
    for seed in (0, 1):
        write_run(tmp_path / "r", "source_only", seed=seed, dimensions=4, points=12)
    write_run(tmp_path / "r", "dan", finished=False)
    out = tmp_path / "page.html"
    assert cli([str(tmp_path / "r"), "--out", str(out), "--title", "Mine"]) == 0
    printed = capsys.readouterr().out
    assert "80.0 ±  0.0 (2)" in printed and "unfinished, not counted: DAN" in printed and str(out) in printed
    assert "<title>Mine</title>" in out.read_text(encoding="utf-8")


def test_command_refuses_with_status_2_and_one_screen(tmp_path, capsys):
    assert cli([str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "not a folder" in error and "Traceback" not in error
    with pytest.raises(SystemExit) as stop:
        cli([str(tmp_path), "--ou", "x.html"])
    assert stop.value.code == 2


def test_import_loads_no_heavy_library():
    code = "import sys, dalib.report, dalib.report.figures; print([m for m in ('matplotlib', 'sklearn', 'scipy.stats') \
if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
