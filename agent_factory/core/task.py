"""The tasks of a workflow: what each type takes (S83-S90, S101, S102)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from agent_factory.core.agent import Strict, parse_agent
from agent_factory.core.model import ModelSettings
from agent_factory.core.schema import Schema
from agent_factory.kit.errors import Invalid

Name = Annotated[str, Field(min_length=1, max_length=200)]
TaskId = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
"""Ids are names in expressions: letters, digits and `_`."""

Template = Any
"""A JSON value whose texts may hold `{{ expressions }}`."""

Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Targets = Annotated[tuple[Name, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])]


class TaskRetry(Strict):
    """How often a failing task is tried in all, and how long is waited in between.

    The pause before attempt n+1 is `backoff * factor^(n-1)` seconds, at most
    `max_backoff`, of which `jitter` spreads the upper half. `on` names error
    codes or kinds; without it, those that may pass by themselves.
    """

    attempts: int = Field(default=3, ge=1, le=100)
    backoff: float = Field(default=1.0, ge=0, le=3600, allow_inf_nan=False)
    factor: float = Field(default=2.0, ge=1, le=10, allow_inf_nan=False)
    max_backoff: float = Field(default=300.0, ge=0, le=86_400, allow_inf_nan=False)
    jitter: bool = True
    on: tuple[str, ...] = ()


class Goto(Strict):
    """Where a failed task's run goes on."""

    goto: Name


def _goto(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str) and value in {"fail", "continue"}:
        return value
    if isinstance(value, dict | Goto):
        return handler(value)
    raise ValueError("should be 'fail', 'continue', or an object with `goto`")


def _goto_schema(_source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    # A union would do as well, but puts the names of its branches into the pointers of faults.
    words = core_schema.literal_schema(["fail", "continue"])
    shape = core_schema.union_schema([words, record := handler(Goto)])
    written = core_schema.plain_serializer_function_ser_schema(_written)
    return core_schema.no_info_wrap_validator_function(
        _goto, record, json_schema_input_schema=shape, serialization=written
    )


def _written(value: object) -> object:
    return {"goto": value.goto} if isinstance(value, Goto) else value


OnError = Annotated[Literal["fail", "continue"] | Goto, GetPydanticSchema(_goto_schema)]


class Compensation(Strict):
    """What undoes a completed task when its `try` fails later; its expressions see the task's output as `result`."""

    type: Name
    config: dict[str, Any] = Field(default={})
    retry: TaskRetry | None = None
    timeout: Seconds | None = None


class Task(Strict):
    """One step of a workflow.

    It starts when all tasks that lead to it, by their `next`, a branch or its
    own `depends_on`, have ended and at least one of these ways was taken.
    `input` gives values that expressions see as `args`; `output` is what later
    tasks see, written over `result`. `on_error` says whether a failure ends the
    run, is passed over, or leads to another task.
    """

    id: TaskId
    type: Name
    name: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=10_000)
    config: dict[str, Any] = Field(default={})
    next: Targets = ()
    depends_on: Targets = ()
    retry: TaskRetry | None = None
    timeout: Seconds | None = None
    on_error: OnError = "fail"
    input: dict[str, Template] = Field(default={})
    output: Template = None
    compensate: Compensation | None = None


Tasks = Annotated[tuple[Task, ...], Field(min_length=1)]


class AiInference(Strict):
    """One model call; the output is `{text, …}`, or the document that `output_schema` asks for (S101)."""

    model: Name = "default"
    prompt: str = Field(min_length=1)
    system: str = ""
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    settings: ModelSettings = ModelSettings()
    output_schema: dict[str, Any] | None = None

    @field_validator("output_schema")
    @classmethod
    def _compiles(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Schema(value)
            except Invalid as error:
                raise ValueError(error.errors[0].detail) from None
        return value


def _agent(value: object) -> object:
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, dict):
        raise ValueError("name an agent, or give a whole definition")  # noqa: TRY004 - pydantic collects no TypeError
    try:
        parse_agent(cast("object", value))
    except Invalid as error:
        first = error.errors[0]
        raise ValueError(f"{first.detail} (at {first.pointer or '/'})") from None
    return cast("object", value)


AgentRef = Annotated[Any, BeforeValidator(_agent, json_schema_input_type=str | dict[str, Any])]


class AgentTask(Strict):
    """One turn of an agent: a name, or a whole definition; the output is `{text, …}` or what its schema asks for."""

    agent: AgentRef
    message: Template
    version: int | None = Field(default=None, ge=1)


class ToolTask(Strict):
    """One call of a tool; `config` is what an agent would set for it."""

    tool: Name
    config: dict[str, Any] = Field(default={})
    arguments: dict[str, Template] = Field(default={})


class SecretUse(Strict):
    """A secret by its name, and where it goes: a header, or the query; `{}` in `format` stands for its value."""

    name: str = Field(min_length=1, max_length=100)
    header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]{1,100}$")
    query: str | None = Field(default=None, min_length=1, max_length=100)
    format: str | None = Field(default=None, max_length=200, pattern=r"\{(base64)?\}")


_SecretName = Annotated[str, Field(min_length=1, max_length=100)]


def _by_name(given: object) -> object:
    """Let a name stand for a secret that goes where secrets usually go."""
    return {"name": given} if isinstance(given, str) else given


class Http(Strict):
    """One HTTP request through the guard; the output is `{status, headers, body}`."""

    url: str = Field(min_length=1, max_length=8_000)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = "GET"
    headers: dict[str, str] = Field(default={}, max_length=100)
    query: dict[str, Template] = Field(default={}, max_length=100)
    json_body: Template = Field(default=None, alias="json")
    body: str | None = None
    expect: tuple[int, ...] = ()
    secret: Annotated[
        SecretUse | None, BeforeValidator(_by_name, json_schema_input_type=_SecretName | SecretUse | None)
    ] = None
    max_bytes: int = Field(default=1_000_000, ge=1, le=100_000_000)


class CodeLimits(Strict):
    """What one piece of code may use; memory and disk in megabytes."""

    cpu_seconds: float = Field(default=10, gt=0, le=3600, allow_inf_nan=False)
    seconds: float = Field(default=30, gt=0, le=3600, allow_inf_nan=False)
    memory_mb: int = Field(default=256, ge=16, le=65_536)
    processes: int = Field(default=16, ge=1, le=1024)
    disk_mb: int = Field(default=64, ge=1, le=65_536)
    output_bytes: int = Field(default=1_000_000, ge=1, le=100_000_000)


class Code(Strict):
    """A user's Python; it reads `inputs`, and what it assigns to `result` is the output."""

    code: str = Field(min_length=1, max_length=1_000_000)
    language: Literal["python"] = "python"
    tier: Literal["auto", "snippet", "sandbox", "container", "kubernetes"] = "auto"
    image: str | None = Field(default=None, max_length=500)
    inputs: dict[str, Template] = Field(default={})
    environment: dict[str, str] = Field(default={}, max_length=100)
    network: Literal["none", "full"] = "none"
    limits: CodeLimits = CodeLimits()


class Condition(Strict):
    """One way of a conditional."""

    if_: str = Field(alias="if", min_length=1)
    then: Name


class Conditional(Strict):
    """The first condition that holds names the way, else `default` (S84, S102)."""

    conditions: tuple[Condition, ...] = Field(min_length=1, max_length=1000)
    default: Name | None = None


class Switch(Strict):
    """The way is the case that equals `value`, else `default`."""

    value: str = Field(min_length=1)
    cases: dict[str, Name] = Field(min_length=1, max_length=1000)
    default: Name | None = None


class Parallel(Strict):
    """Branches side by side; the output has what each branch's last tasks gave, by its name (S87)."""

    branches: dict[TaskId, Tasks] = Field(min_length=1, max_length=1000)


class Map(Strict):
    """The same tasks for each item, at most `concurrency` at once; the output is a list in their order.

    `output` is written for each item, by default from its last tasks. With
    `collect` an item that fails gives `{"error": …}` instead of failing the task.
    """

    items: Template
    as_: TaskId = Field(default="item", alias="as")
    tasks: Tasks
    concurrency: int = Field(default=10, ge=1, le=1000)
    output: Template = None
    on_item_error: Literal["fail", "collect"] = "fail"


class Loop(Strict):
    """The same tasks again while or until a condition holds, at most `max_iterations` times.

    `while` is asked before, `until` after each iteration; the output is a list
    with one `output` for each, by default from its last tasks.
    """

    while_: str | None = Field(default=None, alias="while")
    until: str | None = None
    max_iterations: int = Field(ge=1, le=10_000)
    tasks: Tasks
    output: Template = None


class EventWait(Strict):
    """An event to wait for: its type and, over its `event`, a condition."""

    type: Name
    match: str | None = None


class Wait(Strict):
    """A pause: for some seconds, until an RFC 3339 time, or until an event, at most `deadline` seconds."""

    seconds: float | None = Field(default=None, ge=0, le=366 * 86_400, allow_inf_nan=False)
    until: str | None = None
    event: EventWait | None = None
    deadline: Seconds | None = None


class Approval(Strict):
    """A person's decision; after `deadline` seconds `default` decides, or the task fails.

    The output is `{approved, by, comment}`; a denial fails the task with the code `approval_denied`.
    """

    title: str = Field(min_length=1, max_length=1000)
    details: Template = None
    roles: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    deadline: Seconds | None = None
    default: Literal["approve", "deny"] | None = None


class Subworkflow(Strict):
    """Another workflow, pinned with this one and run inside it."""

    workflow: Name
    version: int | None = Field(default=None, ge=1)
    input: dict[str, Template] = Field(default={})


class Transform(Strict):
    """A value made of others: by a template, an expression, or a JSONPath over `source`."""

    value: Template = None
    expression: str | None = None
    jsonpath: str | None = Field(default=None, max_length=2000)
    source: Template = None


class Emit(Strict):
    """An event of the organisation's own."""

    type: str = Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$", max_length=200)
    data: Template = None


class Try(Strict):
    """Tasks whose failure is caught: completed ones are compensated in reverse, then `catch` runs, then `finally`."""

    tasks: Tasks
    catch: tuple[Task, ...] = ()
    finally_: tuple[Task, ...] = Field(default=(), alias="finally")
    output: Template = None


class End(Strict):
    """The end of the whole run, here and now."""

    status: Literal["completed", "failed"] = "completed"
    output: Template = None
    error: str | None = None


CONFIGS: Mapping[str, type[Strict]] = {
    "ai_inference": AiInference,
    "agent": AgentTask,
    "tool": ToolTask,
    "http": Http,
    "code": Code,
    "conditional": Conditional,
    "switch": Switch,
    "parallel": Parallel,
    "map": Map,
    "loop": Loop,
    "wait": Wait,
    "approval": Approval,
    "subworkflow": Subworkflow,
    "transform": Transform,
    "emit": Emit,
    "try": Try,
    "end": End,
}
"""Every task type with the shape of its `config`."""

TEMPLATED: Mapping[str, frozenset[str]] = {
    "ai_inference": frozenset({"model", "prompt", "system", "max_tokens", "temperature"}),
    "agent": frozenset({"message"}),
    "tool": frozenset({"arguments"}),
    "http": frozenset({"url", "method", "headers", "query", "json", "body"}),
    "code": frozenset({"inputs", "environment"}),
    "map": frozenset({"items"}),
    "wait": frozenset({"seconds", "until"}),
    "approval": frozenset({"title", "details", "roles", "users", "deadline"}),
    "subworkflow": frozenset({"input"}),
    "transform": frozenset({"value", "source"}),
    "emit": frozenset({"data"}),
    "end": frozenset({"output", "error"}),
}
"""The fields of a config that may hold expressions in braces.

The others are fixed: what is pinned when a run starts, and what a run's input
must never choose, such as code, images, tools and the names of secrets.
"""

EFFECTS = frozenset({"ai_inference", "agent", "tool", "http", "code", "emit"})
"""Types that touch the world: their ends are committed before anything follows from them."""
