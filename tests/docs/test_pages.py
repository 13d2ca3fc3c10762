"""The documentation's pages: links, navigation, what is bundled, and the words that the house avoids."""

import json
import re

import pytest

from tests.docs.blocks import PAGES, ROOT, blocks

DOCS = ROOT / "docs"
GENERATED = ("ledger/numbers.md", "ledger/speed.md", "project/changelog.md", "project/contributing.md")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
AVOIDED = re.compile(r"\b(whose|beside|behind|stands? in|lies? in)\b", re.I)
LIMIT = 300_000


def prose(page: str) -> str:
    """A page without code and formulas."""
    text = re.sub(r"^```.*?^```$", "", PAGES[page].read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.S)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages(page):
    text = re.sub(r"^```.*?^```$", "", PAGES[page].read_text(encoding="utf-8"), flags=re.S | re.M)
    for link in LINK.findall(text):
        place = link.partition("#")[0]
        if re.match(r"https?:", link) or not place:
            continue
        target = (PAGES[page].parent / place).resolve()
        inside = str(target.relative_to(DOCS.resolve()))
        assert target.exists() or inside in GENERATED or inside.startswith("api/"), f"{page}: {link}"


def test_navigation_names_every_page_once():
    named = re.findall(r"[\w/-]+\.md", NAVIGATION)
    assert len(named) == len(set(named)) and set(named) == {*PAGES, *GENERATED}


@pytest.mark.parametrize("page", PAGES)
def test_words_that_are_avoided(page):
    assert not AVOIDED.findall(prose(page))


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("methods/") and "index" not in page])
def test_a_family_page_answers_the_same_questions(page):
    text = PAGES[page].read_text(encoding="utf-8")
    for heading in ("When it helps, when it hurts", "Cost", "Our numbers", "References"):
        assert f"\n## {heading}\n" in text, heading
    assert "$$" in text


def test_every_method_has_a_place_in_a_family_page():
    from dalib.methods import METHODS, TEST_TIME
    from dalib.methods.classic import CLASSIC

    named = set()
    for page in PAGES:
        for line in re.findall(r"^<!-- methods: (.*) -->$", PAGES[page].read_text(encoding="utf-8"), re.M):
            named |= set(line.split(", "))
    known = {*METHODS, *(f"test_time.{name}" for name in TEST_TIME), *(f"classic.{name}" for name in CLASSIC)}
    assert known - named == {"source_only"}
    assert not named - known


def test_nothing_is_large_and_notebooks_are_stripped():
    for path in DOCS.rglob("*"):
        assert path.is_dir() or path.stat().st_size < LIMIT, path
    for path in (DOCS / "notebooks").iterdir():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert path.stat().st_size < 50_000 and not any(cell.get("outputs") for cell in cells)


def test_fonts_and_formulas_are_bundled():
    for style in (DOCS / "assets/site.css", DOCS / "assets/katex/katex.min.css"):
        for font in re.findall(r"url\(\"?([^)\"]+)\"?\)", style.read_text(encoding="utf-8")):
            assert (style.parent / font).is_file(), font


def test_versions_agree():
    import dalib

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {dalib.__version__}\n" in citation
    assert f"\n## {dalib.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_block_has_a_language_that_is_known():
    assert {block.language for page in PAGES for block in blocks(page)} <= {"python", "bash", "text", "toml"}


def test_paths_of_the_repository_exist():
    for page in PAGES:
        text = PAGES[page].read_text(encoding="utf-8")
        for name in re.findall(r"`((?:dalib|experiments|tests|third_party_weights)/[\w./-]*)`", text):
            assert (ROOT / name).exists(), f"{page}: {name}"
        assert not re.search(r"(?<![\w.])/(?:home|work|root|tmp)/", text), page
