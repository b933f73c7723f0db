"""Tools: a function, its JSON Schema, and how it is called safely (S75-S78)."""

import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol, cast, overload

import msgspec
import pydantic

from agent_factory.core.deadline import ExhaustedError, OverdueError, in_thread, within
from agent_factory.core.model import ToolSpec
from agent_factory.core.schema import Schema, json_faults
from agent_factory.core.signature import read_docstring, read_signature
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


class ToolsExhausted(ToolError):
    """Too many earlier calls of blocking tools hang for a new one to begin."""

    kind = Kind.UNAVAILABLE
    code = "tool_threads_exhausted"
    title = "Too many tool calls hang"
    retryable = True


class ToolResultTooLarge(ToolError):
    """A result that is too large even to be cut."""

    kind = Kind.TOO_LARGE
    code = "tool_result_too_large"
    title = "The tool's result is too large"


class ToolUnavailable(ToolError):
    """A tool that needs something which this run does not offer."""

    kind = Kind.UNAVAILABLE
    code = "tool_unavailable"
    title = "The tool cannot work here"


class ToolContext(msgspec.Struct, frozen=True):
    """What a running tool may know of its call.

    `idempotency_key` stays the same when a crashed call is made again.
    `resources` is the door to what is guarded. Its keys, all optional:

    - `egress`: the guarded HTTP client (`security.egress.Egress`)
    - `private_hosts`: tuple of `host:port` that the operator opens although they are private
    - `workspace`: `Path` of the folder that holds this organisation's files
    - `room`: function (bytes) that gives an async context in which so many more may be stored there
    - `secrets`: async function (name, host) that gives a secret's value for a request to that host; it raises
      `NotFound`, or `SecretHostMismatch` where the secret's owner bound it to other hosts
    - `databases`: mapping of a database's name to its URL
    - `mcp_servers`: mapping of a name to `{command, args, env}` of a server that this machine starts
    - `run_agent`: async function (name, message) that gives another agent's answer
    - `search_urls`: mapping of a search engine's name to another base URL
    - `mask`: function that takes the secrets which are known out of a text
    """

    run_id: str = ""
    call_id: str = ""
    organization_id: str = ""
    idempotency_key: str = ""
    depth: int = 0
    resources: Mapping[str, Any] = {}

    def masked(self, text: str) -> str:
        """Give a text of another server without known secrets, to be asked before any of it is cut away."""
        mask: Callable[[str], str] | None = self.resources.get("mask")
        return text if mask is None else mask(text)

    def need(self, key: str, tool: str) -> Any:  # noqa: ANN401 - each key has its own type, see above
        """Give a resource; where it is absent, `ToolUnavailable` says so."""
        value = self.resources.get(key)
        if value is None:
            raise ToolUnavailable(f"{tool!r} needs {key.replace('_', ' ')!r}, which is not set up here.")
        return value


Handler = Callable[..., Any]

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names that every model vendor takes."""

_LARGEST = 5_000_000
"""Characters of a result that is refused rather than cut: a tool that gives more is at fault."""


class Tool:
    """A named function with a schema.

    `pure` says that a second call does no harm and may be repeated freely.
    `timeout` is in seconds; `max_result` in characters, and a longer result is
    cut with a note that says so. `convert` makes the handler's values of the
    checked arguments.
    """

    def __init__(
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
        convert: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        """Compile the parameter schema; a broken one, or a name that models cannot say, is `Invalid`."""
        if not NAME.fullmatch(name):
            detail = "a tool's name has 1 to 64 letters, digits, _ or -"
            raise Invalid(f"{name[:80]!r} cannot name a tool.", errors=[FieldError("/name", detail)])
        if parameters.get("type") != "object":
            raise Invalid(
                f"The parameters of {name!r} are no object.",
                errors=[FieldError("/parameters/type", "must be 'object'")],
            )
        self.name = name
        self.description = description
        self.parameters = parameters
        self.handler = handler
        self.pure = pure
        self.timeout = timeout
        self.max_result = max_result
        self._takes_context = takes_context
        self._convert = convert
        self._schema = Schema(parameters, at="/parameters")
        self._async = inspect.iscoroutinefunction(handler)

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model is told of it."""
        return ToolSpec(self.name, self.description, self.parameters)

    @property
    def fingerprint(self) -> str:
        """Name what a model is told of the tool: SHA-256 in hex, for approving a foreign tool as it stands."""
        told = msgspec.json.encode([self.name, self.description, self.parameters], order="sorted")
        return hashlib.sha256(told).hexdigest()

    def check(self, arguments: object) -> None:
        """Raise `Invalid` with a pointer for every fault in the arguments."""
        faults = json_faults(arguments) or self._schema.faults(arguments)
        if faults:
            raise Invalid(f"The arguments of {self.name!r} do not match its schema.", errors=faults)

    async def call(self, arguments: dict[str, Any], context: ToolContext | None = None) -> str:
        """Check the arguments, run the tool under its deadline, and give its result as text.

        Raises `Invalid`, `ToolTimeout`, `ToolsExhausted`, `ToolResultTooLarge`,
        or any `Problem` that the tool means; whatever else it raises becomes a
        `ToolError` that names its class.
        """
        self.check(arguments)
        values = dict(arguments) if self._convert is None else self._convert(arguments)
        if self._takes_context:
            values["context"] = context or ToolContext()
        try:
            if self._async:
                result = await within(self._guarded(values), self.timeout)
            else:
                result = await self._blocking(values)
            return self._text(result, (context or ToolContext()).masked)
        except OverdueError:
            raise ToolTimeout(f"{self.name!r} did not answer within {self.timeout:g} s.") from None
        except ExhaustedError:
            raise ToolsExhausted(
                f"{self.name!r} was not begun, because too many earlier calls of blocking tools still hang."
            ) from None
        except Problem:
            raise
        except Exception as error:  # a tool is foreign code: whatever it raises ends its call, not the turn
            raise self._failed(error) from error

    async def _guarded(self, values: dict[str, Any]) -> object:
        try:
            return await self.handler(**values)
        except SystemExit as error:
            raise self._failed(error) from None

    async def _blocking(self, values: dict[str, Any]) -> object:
        value = await in_thread(partial(self.handler, **values), self.timeout)
        if inspect.isawaitable(value):
            return await within(_awaited(value), self.timeout)
        return value

    def _failed(self, error: BaseException) -> ToolError:
        # an OSError's own text holds a path of the server
        words = error.strerror or "" if isinstance(error, OSError) else _words(error)
        return ToolError(f"{self.name!r} raised {type(error).__name__}: {words}".rstrip(": ") + ".")

    def _text(self, result: object, masked: Callable[[str], str]) -> str:
        if _size(result, _LARGEST) > _LARGEST:
            raise ToolResultTooLarge(
                f"{self.name!r} gave more than {_LARGEST} characters. Ask it for less, or for one part at a time."
            )
        text = result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=_plain).decode()
        if len(text) > self.max_result:
            text = cut(masked(text), self.max_result)  # masked first, for half of a secret would pass
        return text if text.isascii() and "\0" not in text else _storable(text)

    def __call__(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - whatever the function returns
        """Call the function itself, unchecked, as if it were not decorated."""
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        """Show the name."""
        return f"Tool({self.name!r})"


def cut(text: str, most: int) -> str:
    """Shorten a text to so many characters, its last line saying how many are left out."""
    note = f"\n[cut: {len(text)} characters in all]"
    return text[: max(0, most - len(note))] + note[-most:]


def _size(value: object, most: int) -> int:
    """Count roughly the characters of a value as JSON, and stop counting beyond `most`."""
    if isinstance(value, str | bytes):
        return len(value)
    total = 0
    todo = [value]
    while todo and total <= most:
        item = todo.pop()
        if isinstance(item, str | bytes):
            total += len(item) + 3
        elif isinstance(item, dict):
            fields = cast("dict[object, object]", item)
            total += 2 + len(fields)
            todo.extend(fields.keys() if total <= most else ())
            todo.extend(fields.values() if total <= most else ())
        elif isinstance(item, list | tuple | set | frozenset):
            items = cast("Collection[object]", item)
            total += 2 + len(items)
            todo.extend(items if total <= most else ())
        else:
            total += 4
    return total


async def _awaited(value: Awaitable[object]) -> object:
    return await value


def _words(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:  # noqa: BLE001 - foreign exceptions may fail even to say what they are
        return "(it cannot say why)"


def _plain(value: object) -> object:
    """Give a value that JSON does not know as one that it does."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    return str(value)


def _storable(text: str) -> str:
    """Replace what databases and wires refuse: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class ToolFactory(Protocol):
    """A tool plugin: `plugin = …` at the end of a file in `tools/`.

    `config_schema` is the JSON Schema of what an agent may set for it, with a
    smallest useful setting under `examples`. What is built belongs to the
    organisation that it was built for.
    """

    name: str
    description: str
    config_schema: dict[str, Any]

    def build(
        self, config: dict[str, Any], name: str | None = None, context: ToolContext | None = None
    ) -> Awaitable[list[Tool]]:
        """Make the tools of one use; bad settings are `Invalid` with pointers below `/config`.

        `name` renames the only tool of a plugin, and is the prefix of several.
        `context` holds the resources for plugins that ask a server which tools there are.
        """
        ...


@overload
def tool(function: Handler, /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    pure: bool = False,
    timeout: float = 60.0,
    max_result: int = 100_000,
) -> Callable[[Handler], Tool]: ...
def tool(
    function: Handler | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    pure: bool = False,
    timeout: float = 60.0,
    max_result: int = 100_000,
) -> Tool | Callable[[Handler], Tool]:
    """Make a tool of a function: schema from its type hints, words from its docstring.

    The function receives values of the types that it names: pydantic models,
    dataclasses, `datetime`, enums. A parameter `context: ToolContext` receives
    the context and is not shown to the model. What the docstring says of the
    parameters (in Google's, NumPy's or Sphinx's form) becomes their description.
    """

    def make(function: Handler) -> Tool:
        words = read_docstring(function)
        signature = read_signature(function, words.notes, ToolContext)
        return Tool(
            name or function.__name__,
            description or words.summary,
            signature.parameters,
            function,
            pure=pure,
            timeout=timeout,
            max_result=max_result,
            takes_context=signature.takes_context,
            convert=signature.convert,
        )

    return make(function) if function is not None else make
