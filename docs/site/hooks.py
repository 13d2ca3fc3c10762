"""Hooks of the documentation site: pages and tables that are made from the code and from the ledger at every build."""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import api  # noqa: E402
import tables  # noqa: E402

COPIES = {
    "ledger/numbers.md": "experiments/RESULTS.md",
    "ledger/speed.md": "experiments/speed/RESULTS.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
}
"""Pages that are documents of the repository, by their place in the site."""
MACRO = re.compile(r"^<!-- (methods|ours): (.*?) -->$", re.M)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages of the API into the navigation."""
    for section in config["nav"]:
        if "API" in section:
            section["API"] = api.navigation()
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    made = {place: _document(ROOT / name) for place, name in COPIES.items()} | api.pages()
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def _document(path: Path) -> str:
    """The text of a document of the repository, whose links to files lead nowhere from here and become code."""
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"`\1`", path.read_text(encoding="utf-8"))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in the tables of methods and of our numbers."""
    del page, config, files

    def fill(found: re.Match[str]) -> str:
        return {"methods": tables.of_methods, "ours": tables.of_numbers}[found[1]](found[2].split(", "))

    return MACRO.sub(fill, markdown)
