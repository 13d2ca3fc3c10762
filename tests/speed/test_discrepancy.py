"""The benchmark of discrepancies at sizes that cost nothing: its last line, and what it leaves out."""

import json

import pytest

from dalib.core.checks import InputError
from experiments.speed.discrepancy import Benchmark, main, rate


@pytest.mark.slow
def test_last_line_is_one_json_object(capsys):
    main(Benchmark(rows=(8,), widths=(4,), seconds=0.01, memory_limit=1e-9))
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads(lines[-1])
    assert [form for form in ("products", "dense", "tiled", "torch") if summary["results"][0][form]] == []
    summary = main(Benchmark(rows=(8,), widths=(4,), seconds=0.01))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(json.dumps(summary))
    (entry,) = summary["results"]
    assert entry["dense"]["value"] == pytest.approx(entry["tiled"]["value"], rel=1e-4)
    assert summary["worst_tiled_ratio"] == entry["tiled"]["ratio"] > 0 and entry["tiled"]["seconds"] > 0


def test_what_would_take_too_long_is_left_out(capsys):
    known = [{"rows": 10, "width": 2, "products": {"seconds": 4.0}}, {"rows": 20, "width": 2, "products": None}]
    assert rate(known) == 4.0 / 200 and rate([]) == 0
    with pytest.raises(InputError, match="rows"):
        main(Benchmark(rows=(1,)))
