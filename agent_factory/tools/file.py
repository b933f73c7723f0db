"""Files of the organisation's own folder: read, write, list, search, delete (S81)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext, tool
from agent_factory.kit.errors import Problem
from agent_factory.security.jail import FileRefused, Item, Jail, Quota

_MOST_LISTED = 1_000
_MOST_FOUND = 100
_MOST_SEARCHED = 50_000_000
"""Bytes that one search reads at most."""

_LINE_SHOWN = 300
"""Characters of a line that a search shows."""


Room = Callable[[int], AbstractAsyncContextManager[None]]


class FileSettings(Settings):
    """Which part of the folder, whether it may be changed, and how much it may hold."""

    folder: str = Field(default="", max_length=200, description="A folder inside the organisation's folder.")
    read_only: bool = False
    total_bytes: int = Field(default=100_000_000, ge=0, le=10_000_000_000)
    entries: int = Field(default=1_000, ge=0, le=100_000)
    file_bytes: int = Field(default=10_000_000, ge=1, le=100_000_000)


Where = Annotated[str, Field(min_length=1, max_length=1024, description="Relative path, such as notes/today.md.")]
Folder = Annotated[str, Field(max_length=1024, description="Relative path of a folder; '.' is the top.")]


class _Files:
    """The handlers of one use of the tool."""

    def __init__(self, settings: FileSettings) -> None:
        self._folder = settings.folder
        self._quota = Quota(settings.total_bytes, settings.entries, settings.file_bytes)

    def jail(self, context: ToolContext) -> Jail:
        workspace: Path = context.need("workspace", plugin.name)
        return Jail(workspace, self._folder, self._quota)

    def read(
        self,
        path: Where,
        context: ToolContext,
        first_line: Annotated[int, Field(ge=1, description="The line to begin at.")] = 1,
        lines: Annotated[int | None, Field(ge=1, description="How many lines; all when left out.")] = None,
    ) -> str:
        """Read a text file, or some lines of it."""
        text = _text(self.jail(context).read(path), path)
        if first_line == 1 and lines is None:
            return text
        kept = text.splitlines(keepends=True)[first_line - 1 :]
        return "".join(kept if lines is None else kept[:lines])

    async def write(
        self,
        path: Where,
        content: str,
        context: ToolContext,
        mode: Annotated[
            Literal["replace", "create", "append"], Field(description="'create' keeps what exists.")
        ] = "replace",
    ) -> str:
        """Write a text file; folders on the way are made."""
        data = content.encode()
        room: Room = context.resources.get("room", _room_for_all)
        async with room(len(data)):
            size = await asyncio.to_thread(
                self.jail(context).write, path, data, append=mode == "append", replace=mode == "replace"
            )
        return f"{path} has {size} bytes now."

    def list(
        self,
        context: ToolContext,
        folder: Folder = ".",
        deep: Annotated[bool, Field(description="Also list what is in its folders.")] = False,
    ) -> dict[str, object]:
        """List the files and folders in a folder."""
        items: list[Item] = []
        for item in self.jail(context).walk(folder, deep=deep):
            if len(items) == _MOST_LISTED:
                return {"items": items, "note": f"only the first {_MOST_LISTED}"}
            items.append(item)
        return {"items": items}

    def search(
        self,
        text: Annotated[str, Field(min_length=1, max_length=200, description="Words, taken literally.")],
        context: ToolContext,
        folder: Folder = ".",
    ) -> dict[str, object]:
        """Find the lines that contain a text, without regard to case."""
        jail = self.jail(context)
        found: list[dict[str, object]] = []
        left = _MOST_SEARCHED
        wanted = text.casefold()
        for item in jail.walk(folder):
            if item.type != "file" or item.size > self._quota.file_bytes:
                continue
            left -= item.size
            if left < 0:
                return {"found": found, "note": "the search stopped early; name a smaller folder"}
            for number, line in enumerate(_lines(jail, item.path), 1):
                if wanted in line.casefold():
                    found.append({"path": item.path, "line": number, "text": line[:_LINE_SHOWN]})
                if len(found) == _MOST_FOUND:
                    return {"found": found, "note": f"only the first {_MOST_FOUND}"}
        return {"found": found}

    def delete(self, path: Where, context: ToolContext) -> str:
        """Delete a file or an empty folder."""
        self.jail(context).delete(path)
        return f"{path} is deleted."


def _room_for_all(_count: int) -> AbstractAsyncContextManager[None]:
    return nullcontext()


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FileRefused(f"{path!r} is no text: it has {len(data)} bytes that are not UTF-8.") from None


def _lines(jail: Jail, path: str) -> list[str]:
    """Give the lines of a file; one that is no text, or gone by now, has none."""
    try:
        return jail.read(path).decode().splitlines()
    except (UnicodeDecodeError, Problem):
        return []


async def _make(settings: FileSettings, name: str | None, _context: ToolContext) -> list[Tool]:
    files = _Files(settings)
    prefix = name or plugin.name
    Jail(Path(), settings.folder)  # a folder that leads out is refused now, not at the first call
    tools = [
        tool(name=f"{prefix}_read", pure=True)(files.read),
        tool(name=f"{prefix}_list", pure=True)(files.list),
        tool(name=f"{prefix}_search", pure=True)(files.search),
    ]
    if not settings.read_only:
        tools += [tool(name=f"{prefix}_write")(files.write), tool(name=f"{prefix}_delete")(files.delete)]
    return tools


plugin = ToolPlugin(
    "file",
    "Reads, writes, lists, searches and deletes text files in the organisation's own folder.",
    FileSettings,
    _make,
)
