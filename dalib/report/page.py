"""The page that a report is set in: one style sheet and a few pieces of HTML, every text escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5c5f66; --ground: #ffffff; --panel: #f5f6f8; --line: #d9dce1;
  --up: #0b6b3a; --down: #a3330a; --link: #0b5cad; --warn: #fff3d6; --warn-line: #d9a400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #a4a8b0; --ground: #16181c; --panel: #202329;
  --line: #3a3f48; --up: #6fd39b; --down: #ff9d72; --link: #7db8f5; --warn: #3a3116; --warn-line: #b98b00; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 5rem; max-width: 76rem; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.4rem; margin: 3.2rem 0 .8rem; padding-bottom: .3rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p, ul, ol { max-width: 60rem; } a { color: var(--link); } li { margin: .25rem 0; }
.lead, figcaption, .legend, .n { color: var(--soft); }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: 1rem 0 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .4rem .9rem .4rem .6rem; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--soft); font-weight: 600; }
tbody th { font-weight: 500; }
.scores td, .scores thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.listing th, .listing td { white-space: nowrap; }
.scores tr.oracle > * { color: var(--soft); font-style: italic; border-top: 1px solid var(--soft); }
td.up, td.up .sign { color: var(--up); } td.down, td.down .sign { color: var(--down); }
.sign { display: inline-block; width: 1em; } .scores td:not(.up):not(.down)::after { content: ""; display: inline-block;
  width: calc(1em + .25em); }
.legend { font-size: .88rem; padding-left: 1.2rem; margin-top: .2rem; }
figure { margin: 1.2rem 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; padding: .8rem; border-radius: .5rem;
  border: 1px solid var(--line); }
figcaption { font-size: .92rem; margin-top: .6rem; max-width: 62rem; }
code, pre { font: .86rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem 1rem;
  white-space: pre-wrap; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--link); }
.warning { background: var(--warn); border-left: 4px solid var(--warn-line); padding: .7rem 1.1rem; margin: 1.2rem 0;
  max-width: 62rem; } .warning p { margin: 0; } .warning ul { margin: .3rem 0 0; padding-left: 1.2rem; }
@media print { details > * { display: block; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document that needs nothing from outside."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_kind(kind)}>{escape(text)}</p>"


def bullets(lines: Iterable[str], *, kind: str = "") -> str:
    """A list of plain texts."""
    return f"<ul{_kind(kind)}>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def warning(head: str, lines: Iterable[str]) -> str:
    """Return a box that cannot be overlooked."""
    return f'<div class="warning" role="note">{paragraph(head)}{bullets(lines)}</div>'


def picture(png: bytes, *, alt: str, caption: str) -> str:
    """A PNG inside the page, with its caption."""
    data = base64.b64encode(png).decode("ascii")
    source = f"data:image/png;base64,{data}"
    return f'<figure><img src="{source}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, code: bool = False) -> str:
    """A plain table of texts; ``code`` sets all but the first column in a fixed-width font."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{f'<code>{escape(cell)}</code>' if code else escape(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    kind = "" if code else ' class="listing"'
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def folded(summary: str, content: str) -> str:
    """Fold HTML content under a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
