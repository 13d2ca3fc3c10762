"""Every code block of the documentation runs: Python in one namespace a page, ``dalib`` commands with few steps."""

import pytest

from tests.docs.blocks import NOT_RUN, PAGES, blocks, run_page

FAST = ("concepts/domains.md", "concepts/index.md", "methods/closed-form.md", "methods/transformers.md")
"""Pages that take well under a second; the others are slow tests."""
WITH_CODE = [page for page in PAGES if any(not block.theirs for block in blocks(page))]


@pytest.mark.parametrize("page", [pytest.param(p, marks=() if p in FAST else pytest.mark.slow) for p in WITH_CODE])
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    assert run_page(page, tmp_path, monkeypatch) or page in TEXT_ONLY


TEXT_ONLY = ("concepts/index.md",)
"""Pages with pictures in text and no code."""


def test_what_is_not_run_is_in_the_pages():
    lines = "\n".join(block.text for page in PAGES for block in blocks(page) if block.language == "bash")
    assert all(part in lines for part in NOT_RUN)
