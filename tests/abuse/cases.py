"""The numbers of the abuse cases that tests cite in their docstrings, and those that stay open, with the reason.

`pytest --abuse 47` runs the tests of a case.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
NUMBERS = range(1, 77)

_SIGN_ON = "single sign-on does not stand yet"
_GRAPHQL = "GraphQL does not stand yet"
_FILES = "there is no upload and no file API yet"
_IMPORTS = "there is no import of flows and packages yet"

OPEN: dict[int, str] = {
    **dict.fromkeys(range(22, 34), _SIGN_ON),
    36: _GRAPHQL,
    38: _FILES,
    48: "there are no public links to runs yet",
    55: _FILES,
    57: _IMPORTS,
    71: _GRAPHQL,
}
"""Cases that nothing here can meet, because what they are about is not there."""

PARTLY_OPEN: dict[int, str] = {
    51: "no definition can name a command; flows of other products are not imported yet",
    56: "definitions and OpenAPI documents in YAML are tested; packages are not imported yet",
    76: "the audit trail is tested; nothing erases users yet",
}

_CITATION = re.compile(r"[Aa]buse ((?:\d+(?: to \d+)?(?:, | and )?)+)")
_RANGE = re.compile(r"(\d+)(?: to (\d+))?")


def cited(text: str | None) -> set[int]:
    """Read the numbers out of words such as `Abuse 13, 15 to 17 and 20`."""
    found: set[int] = set()
    for citation in _CITATION.finditer(text or ""):
        for first, last in _RANGE.findall(citation[1]):
            found.update(range(int(first), int(last or first) + 1))
    return found


def citing() -> Iterator[tuple[str, set[int]]]:
    """Every test, as `file::name`, with the numbers that its docstring or its module's cites."""
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        shared = cited(ast.get_docstring(tree))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                own = cited(ast.get_docstring(node))
                yield f"{path.relative_to(TESTS.parent).as_posix()}::{node.name}", own or shared
