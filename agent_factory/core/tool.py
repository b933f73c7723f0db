"""Tools: a function, its JSON Schema, and how it is called safely (S75-S78)."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, get_type_hints, overload

import msgspec
import pydantic

from agent_factory.core.model import ToolSpec
from agent_factory.core.schema import Schema
from agent_factory.kit.errors import FieldError, Invalid, Kind, Problem


class ToolError(Problem):
    """A tool that failed in a way which the model should be told."""

    kind = Kind.UPSTREAM
    code = "tool_failed"
    title = "The tool failed"


class ToolTimeout(ToolError):
    """A tool that did not answer in time."""

    kind = Kind.TIMEOUT
    code = "tool_timeout"
    title = "The tool did not answer in time"
    retryable = True


class ToolDenied(ToolError):
    """A call that a rule forbids."""

    kind = Kind.FORBIDDEN
    code = "tool_denied"
    title = "The tool call is not allowed"


class ToolContext(msgspec.Struct, frozen=True):
    """What a running tool may know of its call.

    `idempotency_key` stays the same when a crashed call is made again.
    `resources` is the door to guarded HTTP, files and other agents; a tool
    that needs one asks for it by name and fails clearly where it is absent.
    """

    run_id: str = ""
    call_id: str = ""
    organization_id: str = ""
    idempotency_key: str = ""
    depth: int = 0
    resources: Mapping[str, Any] = {}


Handler = Callable[..., Any]


class Tool:
    """A named function with a schema.

    `pure` says that a second call does no harm and may be repeated freely.
    `timeout` is in seconds; `max_result` in characters, and a longer result is
    cut with a note that says so.
    """

    def __init__(  # noqa: PLR0913 - a tool is declared by keyword, as a record
        self,
        name: str,
        description: str,
        parameters: dict[str, Any],
        handler: Handler,
        *,
        pure: bool = False,
        timeout: float = 60.0,
        max_result: int = 100_000,
        takes_context: bool = False,
    ) -> None:
        """Compile the parameter schema; a broken one is `Invalid`."""
        self.name = name
        self.description = description
        self.parameters = parameters
        self.handler = handler
        self.pure = pure
        self.timeout = timeout
        self.max_result = max_result
        self._takes_context = takes_context
        self._schema = Schema(parameters, at="/parameters")
        self._async = inspect.iscoroutinefunction(handler)

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model is told of it."""
        return ToolSpec(self.name, self.description, self.parameters)

    def check(self, arguments: object) -> None:
        """Raise `Invalid` with a pointer for every fault in the arguments."""
        faults = self._schema.faults(arguments)
        if faults:
            raise Invalid(f"The arguments of {self.name!r} do not match its schema.", errors=faults)

    async def call(self, arguments: dict[str, Any], context: ToolContext | None = None) -> str:
        """Check the arguments, run the tool under its deadline, and give its result as text.

        Raises `Invalid`, `ToolTimeout`, or any `Problem` that the tool means;
        whatever else it raises becomes a `ToolError` that names its class.
        """
        self.check(arguments)
        extra = {"context": context or ToolContext()} if self._takes_context else {}
        try:
            async with asyncio.timeout(self.timeout):
                if self._async:
                    result = await self.handler(**arguments, **extra)
                else:
                    result = await asyncio.to_thread(self.handler, **arguments, **extra)
        except TimeoutError:
            raise ToolTimeout(f"{self.name!r} did not answer within {self.timeout:g} s.") from None
        except Problem:
            raise
        except Exception as error:  # a tool is foreign code: whatever it raises ends its call, not the turn
            raise ToolError(f"{self.name!r} raised {type(error).__name__}: {str(error)[:500]}") from error
        return self._text(result)

    def _text(self, result: object) -> str:
        text = result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=str).decode()
        if len(text) > self.max_result:
            left = len(text) - self.max_result
            return f"{text[: self.max_result]}\n[cut: {left} more characters]"
        return text

    def __call__(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - whatever the function returns
        """Call the function itself, unchecked, as if it were not decorated."""
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        """Show the name."""
        return f"Tool({self.name!r})"


class ToolFactory(Protocol):
    """A tool plugin: `plugin = …` at the end of a file in `tools/`.

    `config_schema` is the JSON Schema of what an agent may set for it.
    """

    name: str
    description: str
    config_schema: dict[str, Any]

    def build(self, config: dict[str, Any], name: str | None = None) -> Awaitable[list[Tool]]:
        """Make the tools of one use; `name` renames the only one of a single-tool plugin."""
        ...


F = TypeVar("F", bound=Handler)


@overload
def tool(function: Handler, /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, pure: bool = False, timeout: float = 60.0
) -> Callable[[Handler], Tool]: ...
def tool(
    function: Handler | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    pure: bool = False,
    timeout: float = 60.0,
) -> Tool | Callable[[Handler], Tool]:
    """Make a tool of a function: schema from its type hints, words from its docstring.

    A parameter named `context` receives the `ToolContext` and is not shown to
    the model. The lines `name: text` of a Google-style `Args:` section become
    the descriptions of the parameters.
    """

    def make(function: Handler) -> Tool:
        summary, notes = _docstring(function)
        parameters, takes_context = _parameters(function, notes)
        return Tool(
            name or function.__name__,
            description or summary,
            parameters,
            function,
            pure=pure,
            timeout=timeout,
            takes_context=takes_context,
        )

    return make(function) if function is not None else make


def _parameters(function: Handler, notes: dict[str, str]) -> tuple[dict[str, Any], bool]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    takes_context = False
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "context":
            takes_context = True
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise Invalid(
                "A tool takes plain named parameters only.", errors=[FieldError(f"/{name}", "not a plain parameter")]
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), pydantic.Field(default, description=notes.get(name)))
    model = pydantic.create_model(function.__name__, __config__=pydantic.ConfigDict(extra="forbid"), **fields)
    schema = model.model_json_schema()
    schema.pop("title", None)
    for prop in schema.get("properties", {}).values():
        prop.pop("title", None)
    schema.setdefault("properties", {})
    return schema, takes_context


def _docstring(function: Handler) -> tuple[str, dict[str, str]]:
    text = inspect.getdoc(function) or ""
    head, _, rest = text.partition("Args:")
    notes: dict[str, str] = {}
    for line in rest.splitlines():
        name, colon, note = line.strip().partition(":")
        if colon and name.split(" ")[0].isidentifier():
            notes[name.split(" ")[0]] = note.strip()
        elif line.strip() in ("Returns:", "Raises:"):
            break
    return head.strip() or function.__name__.replace("_", " "), notes
