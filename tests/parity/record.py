"""``python -m tests.parity.record out.jsonl``: the ``[parity]`` tables of the manifest from what parity tests measured.

``DALIB_PARITY_OUT=out.jsonl python -m pytest -m parity tests/parity`` writes the measurements, one a line. Of every
stage the worst of all tests of a file is kept: of all nets, sizes and modes that they compare.
"""

import json
import re
import sys
from pathlib import Path


def tables(lines: list[str]) -> str:
    """TOML with one table a test file: versions, and of each stage the largest absolute and relative difference."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    versions: dict[str, dict[str, str]] = {}
    for line in map(json.loads, lines):
        family = Path(line["test"].split("::")[0]).stem.removeprefix("test_")
        stages = found.setdefault(family, {})
        # Statistics of single BatchNorms are one stage, and so is a stage at several lengths or grids.
        stage = re.sub(r"(batch_stats)/.*|, .*", r"\1", line["stage"])
        largest, relative = stages.get(stage, (0.0, 0.0))
        stages[stage] = max(largest, line["max_abs"]), max(relative, line["relative"])
        versions[family] = line["versions"]
    out = []
    for family, stages in sorted(found.items()):
        against = ", ".join(f"{package} {version}" for package, version in sorted(versions[family].items()))
        out.append(f'[parity."{family}"]\nversions = "{against}"')
        out += [f"{json.dumps(stage)} = [{a:.1e}, {r:.1e}]" for stage, (a, r) in stages.items()]
        out.append("")
    return "\n".join(out)


if __name__ == "__main__":
    print(tables(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()))
