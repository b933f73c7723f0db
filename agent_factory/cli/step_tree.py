"""The steps of a run as they lie in each other, and two runs side by side."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer

_PART = re.compile(r"\[\d+\]|[^\[]+")


def all_steps(ctx: typer.Context, run: str) -> list[dict[str, Any]]:
    """Fetch every step of a run, page by page."""
    from agent_factory.cli import client

    async def pages() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        async with client.connected(ctx) as server:
            while True:
                params = {"limit": 100, "cursor": cursor}
                page = (await server.request("GET", f"/api/v1/runs/{run}/steps", params=params)).data
                found += page["data"]
                cursor = page["next_cursor"]
                if cursor is None:
                    return found

    return asyncio.run(pages())


def as_tree(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Order steps as they lie in each other: each above those inside it, in the order in which they came."""
    order = {tuple(_parts(step["path"])): step["ord"] for step in reversed(steps)}
    first: dict[tuple[str, ...], int] = {}
    for path, number in order.items():
        for length in range(1, len(path) + 1):
            above = path[:length]
            first[above] = min(number, first.get(above, number))

    def place(step: Mapping[str, Any]) -> list[int]:
        path = tuple(_parts(step["path"]))
        return [first[path[: n + 1]] for n in range(len(path))]

    return [_row(step) for step in sorted(steps, key=lambda step: (place(step), len(step["path"])))]


def _parts(path: str) -> list[str]:
    """Split a path at what lies in what: `each[3]/fetch` is `each`, `[3]`, `fetch`."""
    return [part for piece in path.split("/") for part in _PART.findall(piece)]


def _row(step: Mapping[str, Any]) -> dict[str, Any]:
    parts = _parts(step["path"])
    status = step["status"] or ("failed" if step["is_error"] else "completed")
    return {**step, "step": "  " * (len(parts) - 1) + parts[-1], "kind": step["type"] or step["kind"], "status": status}


def sides(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lay the tasks of two runs side by side."""
    return [
        {
            "path": task["path"],
            "same": task["same"],
            "before": _side(task["before"]),
            "after": _side(task["after"]),
        }
        for task in tasks
    ]


def _side(side: Mapping[str, Any] | None) -> object:
    if side is None:
        return None
    return side["output"] if side["error"] is None else side["error"].get("detail")
