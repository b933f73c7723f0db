"""Files in the organisation's own folder (S81, abuse 54)."""

import ctypes
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.tool import Tool, ToolContext
from agent_factory.kit.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from agent_factory.security.jail import FileRefused, FileTooLarge, Jail, Quota, QuotaExceeded
from agent_factory.tools.file import plugin

_HERE = -100
"""AT_FDCWD of Linux."""

_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the jail with something worth stealing."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("secret")
    return folder


async def _tools(**config: Any) -> dict[str, Tool]:
    return {t.name: t for t in await plugin.build(config)}


async def _call(root: Path, name: str, config: dict[str, Any] | None = None, **arguments: Any) -> str:
    tools = await _tools(**(config or {}))
    return await tools[f"file_{name}"].call(arguments, ToolContext(resources={"workspace": root}))


async def test_what_is_written_can_be_read_listed_found_and_deleted(root: Path) -> None:
    await _call(root, "write", path="notes/today.md", content="Hello\nWörld\n")
    await _call(root, "write", path="notes/today.md", content="more", mode="append")
    assert await _call(root, "read", path="notes/today.md") == "Hello\nWörld\nmore"
    assert await _call(root, "read", path="notes/today.md", first_line=2, lines=1) == "Wörld\n"
    assert msgspec.json.decode(await _call(root, "list", deep=True)) == {
        "items": [
            {"path": "notes", "type": "folder", "size": 0},
            {"path": "notes/today.md", "type": "file", "size": 17},
        ]
    }
    assert msgspec.json.decode(await _call(root, "search", text="WÖRLD")) == {
        "found": [{"path": "notes/today.md", "line": 2, "text": "Wörld"}]
    }
    await _call(root, "delete", path="notes/today.md")
    await _call(root, "delete", path="notes")
    assert msgspec.json.decode(await _call(root, "list")) == {"items": []}


async def test_reading_only_offers_no_way_to_write(root: Path) -> None:
    assert sorted(await _tools(read_only=True)) == ["file_list", "file_read", "file_search"]


async def test_an_agent_may_be_kept_to_a_folder_of_its_own(root: Path) -> None:
    await _call(root, "write", {"folder": "a/b"}, path="x.txt", content="x")
    assert (root / "a/b/x.txt").read_text() == "x"
    with pytest.raises(NotFound):
        await _call(root, "read", {"folder": "c"}, path="x.txt")


@pytest.mark.parametrize("folder", ["..", "/etc", "a/../..", "a\0b"])
async def test_a_folder_that_leads_out_is_refused_when_the_tool_is_made(folder: str) -> None:
    with pytest.raises(Invalid):
        await plugin.build({"folder": folder})


BAD_PATHS = [
    "../secret.txt",
    "a/../../outside/secret.txt",
    "..",
    "/etc/passwd",
    "//etc/passwd",
    "..\\outside\\secret.txt",
    "C:\\x",
    "a\0b",
    "a\nb",
    "a//b",
    "a/",
    "CON",
    "nul.txt",
    "x" * 300,
    "ä" * 200,
    "/".join("a" * 20),
    "x/" * 600 + "x",
    ".agent-factory-x",
]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("name", ["read", "write", "delete"])
async def test_no_name_leads_out_or_is_taken_that_means_trouble(
    root: Path, outside: Path, name: str, path: str
) -> None:
    """Abuse 54"""
    arguments: dict[str, Any] = {"path": path} | ({"content": "x"} if name == "write" else {})
    with pytest.raises(Invalid) as caught:
        await _call(root, name, **arguments)
    assert caught.value.errors[0].pointer == "/path"
    assert sorted(p.name for p in root.parent.rglob("*")) == ["outside", "secret.txt", "workspace"]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("./\\a\0~ ä\ud800"), max_size=12))
def test_whatever_the_path_nothing_beside_the_jail_is_touched(tmp_path_factory: Any, path: str) -> None:
    base: Path = tmp_path_factory.getbasetemp() / "fuzzed"
    base.mkdir(exist_ok=True)
    (base / "beside").write_text("untouched")
    with suppress(Problem):
        Jail(base / "jail").write(path, b"x")
    assert sorted(p.name for p in base.iterdir() if p.name != "jail") == ["beside"]
    assert (base / "beside").read_text() == "untouched"


@pytest.mark.parametrize("path", ["link.txt", "folder/secret.txt", "deep/folder/secret.txt"])
@pytest.mark.parametrize("name", ["read", "write"])
async def test_no_link_is_followed(root: Path, outside: Path, name: str, path: str) -> None:
    (root / "deep").mkdir()
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    (root / "deep/folder").symlink_to("../../outside")
    arguments: dict[str, Any] = {"path": path} | ({"content": "x"} if name == "write" else {})
    with pytest.raises(FileRefused):
        await _call(root, name, **arguments)
    assert (outside / "secret.txt").read_text() == "secret"


async def test_links_and_what_lies_behind_them_are_not_listed_or_searched(root: Path, outside: Path) -> None:
    (root / "folder").symlink_to(outside)
    (root / "link.txt").symlink_to(outside / "secret.txt")
    assert msgspec.json.decode(await _call(root, "list", deep=True)) == {"items": []}
    assert msgspec.json.decode(await _call(root, "search", text="secret")) == {"found": []}


async def test_deleting_a_link_removes_the_link_alone(root: Path, outside: Path) -> None:
    (root / "folder").symlink_to(outside)
    await _call(root, "delete", path="folder")
    assert not (root / "folder").exists()
    assert (outside / "secret.txt").exists()


async def test_a_second_name_of_a_file_elsewhere_is_refused(root: Path, outside: Path) -> None:
    os.link(outside / "secret.txt", root / "hard.txt")
    with pytest.raises(FileRefused):
        await _call(root, "read", path="hard.txt")
    await _call(root, "write", path="hard.txt", content="mine")
    assert (outside / "secret.txt").read_text() == "secret"


async def test_a_pipe_does_not_make_a_reader_wait(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(FileRefused):
        await _call(root, "read", path="pipe")
    with pytest.raises(FileRefused):
        await _call(root, "write", path="pipe", content="x")


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("read", {"path": "nothing"}, NotFound),
        ("read", {"path": "folder"}, Conflict),
        ("read", {"path": "file/below"}, FileRefused),
        ("read", {"path": "binary"}, FileRefused),
        ("write", {"path": "folder", "content": ""}, Conflict),
        ("write", {"path": "file/below", "content": ""}, FileRefused),
        ("write", {"path": "file", "content": "", "mode": "create"}, Conflict),
        ("delete", {"path": "folder"}, Conflict),
        ("delete", {"path": "nothing"}, NotFound),
        ("list", {"folder": "nothing"}, NotFound),
        ("list", {"folder": "file"}, FileRefused),
        ("search", {"folder": "..", "text": "x"}, Invalid),
    ],
)
async def test_what_cannot_be_done_says_why_without_the_paths_of_the_server(
    root: Path, name: str, arguments: dict[str, Any], error: type[Problem]
) -> None:
    (root / "folder").mkdir()
    (root / "folder/inside").write_text("x")
    (root / "file").write_text("x")
    (root / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(error) as caught:
        await _call(root, name, **arguments)
    assert str(root) not in caught.value.detail


async def test_a_folder_that_cannot_be_opened_is_the_operators_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Unavailable):
        await _call(tmp_path / "file", "list")


def test_a_file_may_have_only_so_many_bytes(root: Path) -> None:
    jail = Jail(root, quota=Quota(file_bytes=10))
    jail.write("x", b"0123456789")
    with pytest.raises(FileTooLarge):
        jail.write("x", b"0123456789a")
    with pytest.raises(FileTooLarge):
        jail.write("x", b"a", append=True)
    (root / "grown").write_bytes(b"0" * 11)
    with pytest.raises(FileTooLarge):
        jail.read("grown")
    assert jail.read("x") == b"0123456789"


def test_the_folder_may_hold_only_so_many_bytes_and_entries(root: Path) -> None:
    jail = Jail(root, quota=Quota(total_bytes=10, entries=3))
    jail.write("a", b"12345")
    jail.write("b/c", b"12345")
    with pytest.raises(QuotaExceeded):
        jail.write("a", b"123456")
    jail.write("a", b"")
    with pytest.raises(QuotaExceeded):
        jail.write("d", b"")
    jail.delete("a")
    jail.write("d", b"12345")


def test_writers_side_by_side_do_not_pass_the_quota_together(root: Path) -> None:
    refused: list[int] = []

    def write(number: int) -> None:
        try:
            Jail(root, quota=Quota(entries=10)).write(f"file{number}", b"x")
        except QuotaExceeded:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(list(root.iterdir())), len(refused)) == (10, 30)


def test_what_a_broken_write_left_behind_is_swept_and_never_shown(root: Path) -> None:
    (root / ".agent-factory-0123").write_bytes(b"x" * 100)
    jail = Jail(root, quota=Quota(total_bytes=10))
    assert list(jail.walk()) == []
    jail.write("a", b"0123456789")
    assert [p.name for p in root.iterdir()] == ["a"]


@contextmanager
def _swapping(place: Path, target: Path) -> Generator[None, None, None]:
    """Exchange a file or folder with a link to the target, each time at one stroke, as fast as a thread can."""
    link = place.with_name("link")
    link.symlink_to(target)
    stop = threading.Event()
    exchange = ctypes.CDLL(None).renameat2

    def swap() -> None:
        while not stop.is_set():
            exchange(_HERE, bytes(place), _HERE, bytes(link), _EXCHANGE)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(root: Path, outside: Path) -> None:
    """S81"""
    (root / "folder").mkdir()
    (root / "folder/secret.txt").write_text("harmless")
    jail = Jail(root)
    seen: set[bytes] = set()
    with _swapping(root / "folder", outside):
        for number in range(2_000):
            with suppress(NotFound, FileRefused):
                seen.add(jail.read("folder/secret.txt"))
            with suppress(Problem):
                jail.write("folder/new.txt", str(number).encode())
            with suppress(Problem):
                list(jail.walk())
            with suppress(Problem):
                jail.delete("folder/new.txt")
    assert seen == {b"harmless"}
    assert {p.name: p.read_text() for p in outside.iterdir()} == {"secret.txt": "secret"}


def test_a_file_that_is_swapped_for_a_link_meanwhile_is_never_followed(root: Path, outside: Path) -> None:
    """S81"""
    (root / "file").write_text("harmless")
    jail = Jail(root)
    seen: set[bytes] = set()
    with _swapping(root / "file", outside / "secret.txt"):
        for _ in range(2_000):
            with suppress(NotFound, FileRefused):
                seen.add(jail.read("file"))
    assert seen == {b"harmless"}
