"""Every golden case is used by some test."""

import re
from pathlib import Path

from tests.golden import cases

TESTS = Path(__file__).parents[1]


def test_every_case_is_named_in_a_test():
    text = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))
    # Names that a test makes of parts: golden(f"grl.warm_start.step{step}").
    made = [re.compile(re.sub(r"\\\{.*?\\\}", ".+", re.escape(m))) for m in re.findall(r'golden\(f"([^"]+)"\)', text)]
    unused = [c for c in cases() if f'"{c}"' not in text and not any(m.fullmatch(c) for m in made)]
    assert not unused
