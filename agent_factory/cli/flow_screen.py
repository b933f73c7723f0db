"""A running workflow on a terminal: a line a task on stderr, and what runs now below them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.status import Status

from agent_factory.cli.screen import brief, clean
from agent_factory.core.event import (
    ApprovalNeeded,
    Retrying,
    RunWaiting,
    TaskFinished,
    TaskRetrying,
    TaskStarted,
    ToolFinished,
    ToolStarted,
    TurnEvent,
)

_MARKS = {"completed": "✓", "failed": "✗", "skipped": "-"}
_INDEX = re.compile(r"\[(\d+)\]")
_ATTEMPT = re.compile(r"#\d+")
_ITEMS = 10
"""Items of a map, and iterations of a loop, whose tasks are shown one by one."""
_NAMES = 4
"""Running tasks that are named."""


class FlowScreen:
    """Shows the events of one run; what is told twice, as after a wait, is shown once."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._running: dict[str, str] = {}
        self._shown: set[tuple[str, str]] = set()
        self._status: Status | None = None

    def note(self, text: str) -> None:
        """Say something about the run."""
        self._console.print(clean(text), style="dim")

    def show(self, event: TurnEvent) -> None:
        """Show one event; those that end a run are the caller's."""
        match event:
            case TaskStarted():
                self._running[event.path] = event.task
            case TaskFinished():
                self._running.pop(event.path, None)
                self._finished(event)
            case TaskRetrying():
                key = f"{event.path}#{event.attempt}"
                self._line("retry", key, f"↻ {event.task}: {event.code}, trying again in {event.delay:.1f} s")
            case Retrying():
                self._line("retry", f"{event.path}#{event.attempt}", f"… {event.code}: asking the model again")
            case ToolStarted():
                self._line("tool", event.path, f"→ {event.name} {brief(event.arguments)}")
            case ToolFinished():
                mark = "✗" if event.is_error else "←"
                self._line("result", event.path, f"{mark} {brief(event.content)} ({event.duration_ms} ms)")
            case ApprovalNeeded():
                self._line("approval", event.path, f"? {event.reason}")
            case RunWaiting():
                for wait in event.waits:
                    self._line("wait", str(wait["path"]), waits_for(wait))
            case _:
                pass
        self._refresh()

    def _finished(self, event: TaskFinished) -> None:
        told = f"{_MARKS.get(event.status, '?')} {event.task} ({event.task_type}, {event.duration_ms} ms)"
        if event.error is not None:
            told += f": {event.error.get('detail', '')}"
        self._line("task", event.path, told, always=event.status == "failed")

    def _line(self, kind: str, path: str, text: str, *, always: bool = False) -> None:
        if (kind, path) in self._shown:
            return
        self._shown.add((kind, path))
        far = any(int(index) >= _ITEMS for index in _INDEX.findall(path))
        if far and not always:
            above = path[: path.rindex("[")]
            if ("far", above) not in self._shown:
                self._shown.add(("far", above))
                self._console.print(f"{'  ' * _depth(above)}  … and so on", style="dim")
            return
        index = "".join(f"[{n}]" for n in _INDEX.findall(path))
        shown = text.replace(" (", f" {index} (", 1) if index and kind == "task" else text
        self._console.print("  " * _depth(path) + clean(shown), style="red" if always else "dim")

    def _refresh(self) -> None:
        """Keep the line of what runs now; only a terminal has one."""
        if not self._console.is_terminal:
            return
        names = list(dict.fromkeys(self._running.values()))
        if not names:
            self.pause()
            return
        told = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
        if self._status is None:
            self._status = self._console.status(told)
            self._status.start()
        else:
            self._status.update(told)

    def pause(self) -> None:
        """Take the line of what runs now away, so that something else can be written or asked."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _depth(path: str) -> int:
    """How deep a path lies: an item and the task inside it are one level together."""
    return _ATTEMPT.sub("", path).count("/")


def waits_for(wait: Mapping[str, Any]) -> str:
    """Say what a run waits for."""
    at = wait.get("wake_at")
    until = "" if at is None else f" until {_clock(str(at))}"
    match wait["kind"]:
        case "event":
            return f"⏸ waits for the event {wait['event_type']}{until}"
        case "approval":
            return f"⏸ waits for a decision{until}"
        case _:
            return f"⏸ waits{until}"


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
