"""The site, built strictly into a temporary folder: complete, searchable, and without anything from outside."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.docs.blocks import PAGES, ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src"}


class Page(HTMLParser):
    """Anchors, links and loaded files of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in LOADS and found.get(LOADS[tag]):
            self.loaded.append(found[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_is_there(site):
    assert not [page for page in PAGES if not (site / page).with_suffix(".html").is_file()]
    assert (site / "api/methods.html").is_file() and (site / "ledger/numbers.html").is_file()


def test_nothing_is_loaded_from_outside(pages):
    outside = {
        (path.name, url) for path, page in pages.items() for url in page.loaded if re.match(r"(https?:)?//", url)
    }
    assert not outside


def test_links_and_anchors_lead_somewhere(pages):
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            place, anchor = urldefrag(unquote(link))
            if re.match(r"(https?|mailto):", link):
                continue
            target = (path.parent / place).resolve() if place else path
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_search_has_an_index_that_a_page_from_disk_can_load(site):
    text = (site / "search/search_index.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("var __index = "))
    places = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"start.html", "howto/data.html", "methods/adversarial.html", "api/methods.html"} <= places


def test_tables_of_methods_and_numbers_are_filled_in(site):
    text = (site / "methods/adversarial.html").read_text(encoding="utf-8")
    assert "<!-- methods" not in text and "<!-- ours" not in text
    assert "critic ×5" in text and "comparisons with published numbers" in text
    results = (ROOT / "experiments/RESULTS.md").read_text(encoding="utf-8")
    for page in (site / "methods").glob("*.html"):
        for number in re.findall(r"<td><strong>([^<]+)</strong></td>", page.read_text(encoding="utf-8")):
            assert f"| {number} |" in results, f"{page.name}: {number}"


def test_formulas_are_marked_for_the_bundled_renderer(site):
    text = (site / "methods/statistics.html").read_text(encoding="utf-8")
    assert text.count('class="arithmatex"') >= 3 and "katex.min.js" in text
