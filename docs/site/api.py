"""Pages of the API, one a folder of the package, from the docstrings; Sphinx's roles in them become code."""

import re
from pathlib import Path
from typing import Any

import griffe

PACKAGE = Path(__file__).parent.parent.parent / "dalib"
ORDER = "core data discrepancy encoders methods tasks evaluate transfer train report run".split()
ROOMS = sorted(
    (path.parent.name for path in PACKAGE.glob("*/__init__.py")),
    key=lambda room: (room not in ORDER, ORDER.index(room) if room in ORDER else 0, room),
)
LEFT_OUT = ("__main__",)
ROLE = re.compile(r":(?:func|class|mod|data|attr|meth):`~?\.?([\w.]+)`")


def folders(room: str) -> list[Path]:
    """The folder of a room and those inside it, in the order of the navigation."""
    return sorted(path.parent for path in (PACKAGE / room).rglob("__init__.py"))


def place(folder: Path) -> str:
    """The page of a folder."""
    return f"api/{'-'.join(folder.relative_to(PACKAGE).parts)}.md"


def navigation() -> list[Any]:
    """The section of the navigation: an overview, then a group a room."""
    found: list[Any] = ["api/index.md"]
    for room in ROOMS:
        pages = [{".".join(folder.relative_to(PACKAGE).parts): place(folder)} for folder in folders(room)]
        found.append(pages[0] if len(pages) == 1 else {room: pages})
    singles = [path.stem for path in sorted(PACKAGE.glob("*.py")) if path.stem.isidentifier() and path.stem[0] != "_"]
    return found + [{name: f"api/{name}.md"} for name in singles]


def pages() -> dict[str, str]:
    """The text of every page by its place."""
    made = {place(folder): _page(folder) for room in ROOMS for folder in folders(room)}
    for path in PACKAGE.glob("*.py"):
        if path.stem[0] != "_":
            made[f"api/{path.stem}.md"] = f"# dalib.{path.stem}\n\n::: dalib.{path.stem}\n"
    made["api/index.md"] = _index()
    return made


def _page(folder: Path) -> str:
    name = ".".join(("dalib", *folder.relative_to(PACKAGE).parts))
    lines = [f"# {name}", "", _summary(folder / "__init__.py"), ""]
    if public := re.findall(r"^from (\S+) import (\w+) as \2$", (folder / "__init__.py").read_text("utf-8"), re.M):
        lines += [f"`from {name} import …`", ""]
        lines += [", ".join(_link(f"{module}.{word}", word) for module, word in public), ""]
    modules = [path.stem for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", *LEFT_OUT)]
    return "\n".join([*lines, *(f"::: {name}.{module}\n" for module in modules)])


def _link(identifier: str, text: str) -> str:
    """A link where the object has a docstring, and so a place of its own."""
    return f'<autoref identifier="{identifier}" optional><code>{text}</code></autoref>'


def _summary(path: Path) -> str:
    """The docstring of a module, in Markdown."""
    return roles(griffe.visit(path.stem, path, path.read_text("utf-8")).docstring.value)


def _index() -> str:
    rows = [
        f"| [dalib.{room}]({place(PACKAGE / room)[4:]}) | {_first(PACKAGE / room / '__init__.py')} |" for room in ROOMS
    ]
    head = "# API\n\nEvery public name, from its docstring. Import rooms by name: `from dalib import methods`.\n"
    return "\n".join([head, "| room | what is in it |", "|---|---|", *rows, ""])


def _first(path: Path) -> str:
    return _summary(path).split("\n")[0]


def roles(text: str) -> str:
    """Docstrings refer to code by Sphinx's roles; here they are code."""
    return ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)


class Roles(griffe.Extension):
    """Rewrites the roles of every docstring when it is collected."""

    def on_instance(self, *, obj: griffe.Object, **options: Any) -> None:
        """Called for each module, class, function and attribute."""
        del options
        if obj.docstring:
            obj.docstring.value = roles(obj.docstring.value)
