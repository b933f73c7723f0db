"""A workflow as a definition, in the specification's format (S99-S104)."""

from typing import Any, Literal, Self

import pydantic
from pydantic import Field, model_validator

from agent_factory.core.agent import Strict, invalid


class Trigger(Strict):
    """What starts a workflow (S90)."""

    type: Literal["webhook", "cron", "queue", "event", "manual"] = "manual"
    config: dict[str, Any] = Field(default={})


class Task(Strict):
    """One step; it is reached by `next` of another, or when all of `depends_on` have ended."""

    id: str = Field(min_length=1, max_length=200)
    type: str = Field(min_length=1, max_length=50)
    config: dict[str, Any] = Field(default={})
    next: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


class Workflow(Strict):
    """A graph of tasks."""

    id: str = Field(default="", max_length=200)
    name: str = Field(min_length=1, max_length=200)
    version: str = Field(default="1.0", max_length=50)
    trigger: Trigger = Trigger()
    tasks: tuple[Task, ...] = Field(min_length=1, max_length=1_000)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        seen: set[str] = set()
        for task in self.tasks:
            if task.id in seen:
                raise ValueError(f"two tasks have the id {task.id!r}")
            seen.add(task.id)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Give the definition as plain JSON data, exactly the fields that were set."""
        return self.model_dump(mode="json", exclude_unset=True)


def parse_workflow(document: object) -> Workflow:
    """Read a definition; every fault is named by a JSON pointer in one `Invalid`."""
    try:
        return Workflow.model_validate(document)
    except pydantic.ValidationError as error:
        raise invalid(error) from None
