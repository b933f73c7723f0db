"""The house's rules that import-linter and ruff cannot see; `docs/decisions/0001` says why they exist."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "agent_factory"
FILES = sorted(path for path in HOUSE.rglob("*.py") if "versions" not in path.parts)
ROOMS = sorted(path.name for path in (HOUSE / "services").iterdir() if (path / "__init__.py").exists())

SHOWN = {"service", "errors", "schemas"}
"""What a room shows to the rooms above it."""

OUTSIDE_SETTINGS = {
    "settings.py": "the one place that reads the environment",
    "runtime/sandbox/runner.py": "sets the environment of a user's script, in a process of its own",
}
COMPILES_CODE = {"runtime/sandbox/runner.py": "runs a user's script, in a process of its own behind walls"}
COMMITS = {"database/session.py": "the edge of every request, job and command"}


def name_of(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module, or name of a module, that a file imports; `from a import b` gives `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    """The name of everything that a file calls: `f` of `f()`, `.f` of `x.f()`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield f".{node.func.attr}"


def test_the_walk_sees_the_house() -> None:
    assert len(FILES) > 100
    assert {"agents", "auth", "runs"} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_asks_another_one_by_its_face_only(room: str) -> None:
    for path in (HOUSE / "services" / room).rglob("*.py"):
        for imported in imports(path):
            parts = imported.split(".")
            if parts[:2] == ["agent_factory", "services"] and len(parts) > 2 and parts[2] != room:
                assert len(parts) > 3, f"{name_of(path)} imports {imported}"
                assert parts[3] in SHOWN, f"{name_of(path)} imports {imported}"


OWNED_BY = {"accounts": "auth", "audit": "governance", "secrets": "integrations"}
"""Files of tables that are not named as the room that owns them."""


@cache
def owners() -> dict[str, str]:
    """The owner of each table's class, by the file of `database/models` that defines it."""
    return {
        node.name: OWNED_BY.get(path.stem, path.stem)
        for path in (HOUSE / "database/models").glob("*.py")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Row")
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_table_is_read_and_written_by_its_owner_only(room: str) -> None:
    """Another room may be handed a row, but its statements name no table of somebody else."""
    for path in [HOUSE / f"services/{room}/queries.py", *(HOUSE / f"services/{room}/queries").rglob("*.py")]:
        for imported in imports(path) if path.exists() else ():
            row = imported.rpartition(".")[2]
            if imported.startswith("agent_factory.database.models") and row in owners():
                assert owners()[row] == room, f"{name_of(path)} imports {row} of {owners()[row]}"


def test_no_table_is_defined_twice() -> None:
    tables = [
        ast.literal_eval(statement.value)
        for path in (HOUSE / "database/models").glob("*.py")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__tablename__"
    ]
    assert len(tables) > 8
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    words = ast.get_docstring(tree(path))
    assert words, "a module needs a docstring"
    assert words.splitlines()[0].endswith((".", "?"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_holds_no_state(path: Path) -> None:
    """An empty container at module level waits to be filled, and `global` says so outright."""
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
    for statement in tree(path).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            value = statement.value
            empty_display = isinstance(value, ast.Dict | ast.List | ast.Set) and not ast.unparse(value).strip("{}[]()")
            empty_call = (
                isinstance(value, ast.Call)
                and ast.unparse(value.func) in {"dict", "list", "set", "defaultdict", "OrderedDict", "deque", "Counter"}
                and not value.args
            )
            assert not empty_display, f"line {statement.lineno}: {ast.unparse(statement)}"
            assert not empty_call, f"line {statement.lineno}: {ast.unparse(statement)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_environment_is_read_by_the_settings_only(path: Path) -> None:
    if name_of(path) in OUTSIDE_SETTINGS:
        return
    read = {f"{ast.unparse(n.value)}.{n.attr}" for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute)}
    assert not read & {"os.environ", "os.environb", "os.getenv", "os.putenv"}
    assert not set(imports(path)) & {"os.environ", "os.getenv"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_makes_code_of_text_or_objects_of_bytes(path: Path) -> None:
    if name_of(path) not in COMPILES_CODE:
        assert not set(calls(path)) & {"eval", "exec", "compile", "__import__"}
    assert not {i.partition(".")[0] for i in imports(path)} & {"pickle", "shelve", "marshal", "dill"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_edge_commits_and_no_row_reaches_for_another(path: Path) -> None:
    if name_of(path) not in COMMITS:
        assert ".commit" not in set(calls(path))
    assert "relationship" not in set(calls(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    classes = [node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert not [name for name in classes if name.endswith(("Manager", "Helper", "Utils", "Util", "Impl"))]


def test_exceptions_to_the_rules_are_still_needed() -> None:
    for name in (*OUTSIDE_SETTINGS, *COMPILES_CODE, *COMMITS):
        assert (HOUSE / name).exists(), f"{name} is gone: take it off the list"
