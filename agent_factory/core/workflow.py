"""A workflow as a definition, in the specification's format (S99-S104)."""

from typing import Any, Literal

from pydantic import Field

from agent_factory.core.agent import Strict


class Trigger(Strict):
    """What starts a workflow."""

    type: Literal["webhook", "cron", "event", "manual"] = "manual"
    config: dict[str, Any] = {}


class Task(Strict):
    """One step; it is reached by `next` of another, or when all of `depends_on` have ended."""

    id: str = Field(min_length=1, max_length=200)
    type: str = Field(min_length=1, max_length=50)
    config: dict[str, Any] = {}
    next: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


class Workflow(Strict):
    """A graph of tasks."""

    id: str = Field(default="", max_length=200)
    name: str = Field(min_length=1, max_length=200)
    version: str = "1.0"
    trigger: Trigger = Trigger()
    tasks: tuple[Task, ...] = Field(min_length=1)
