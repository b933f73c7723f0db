"""How bytes become requests, and what the OpenAI protocols share."""

import re
from typing import Annotated, Any, TypeVar

import msgspec

from agent_factory.core.message import Media, Part, Text
from agent_factory.core.model import ModelSettings, ToolSpec, Usage
from agent_factory.core.schema import Schema
from agent_factory.kit.errors import Invalid
from agent_factory.services.gateway.errors import BadRequest, Unsupported

T = TypeVar("T")

_AT = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII)

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
TopP = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
ToolName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def read(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Decode a body; whatever is wrong with it is a `BadRequest` that names the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        said = str(error)
        at = _AT.search(said)
        field = at.group(1) if at else ""
        missing = _MISSING.search(said)
        if missing:
            field = f"{field}.{missing.group(1)}".lstrip(".")
        raise BadRequest("The body does not match the protocol.", field or "body", _AT.sub("", said)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("The body is not valid JSON.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None


class ImageUrl(msgspec.Struct):
    """Where an image is: an address or a data URL."""

    url: str


class InputAudio(msgspec.Struct):
    """Sound as base64."""

    data: str
    format: str


class FileData(msgspec.Struct):
    """A document as a data URL."""

    file_data: str | None = None
    filename: str | None = None


class ContentPart(msgspec.Struct):
    """A piece of a message in either protocol; `type` says which fields count."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: FileData | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


Content = str | list[ContentPart] | None


def parts(content: Content, at: str) -> tuple[Part, ...]:
    """Turn content into our parts; `at` names the field for the error."""
    if not content:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(piece, f"{at}[{index}]") for index, piece in enumerate(content))


def _part(piece: ContentPart, at: str) -> Part:
    match piece.type:
        case "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text":
            return Text(_needed(piece.text, f"{at}.text"))
        case "refusal":
            return Text(_needed(piece.refusal, f"{at}.refusal"))
        case "image_url" | "input_image":
            image = piece.image_url.url if isinstance(piece.image_url, ImageUrl) else piece.image_url
            return _media(image, "image/*", None, f"{at}.image_url")
        case "input_audio":
            sound = _needed(piece.input_audio, f"{at}.input_audio")
            return Media(f"audio/{sound.format}", data=sound.data)
        case "file":
            document = _needed(piece.file, f"{at}.file")
            return _media(document.file_data, "application/octet-stream", document.filename, f"{at}.file")
        case "input_file":
            return _media(piece.file_data or piece.file_url, "application/octet-stream", piece.filename, at)
        case _:
            raise BadRequest("A part of a message is of an unknown type.", f"{at}.type", "unknown type")


def _needed(value: T | None, at: str) -> T:
    if value is None:
        raise BadRequest("A part of a message lacks its content.", at, "missing")
    return value


def _media(url: str | None, otherwise: str, name: str | None, at: str) -> Media:
    if url is None:
        raise Unsupported("Stored files are not supported; send the file itself as a data URL.", at)
    if url.startswith("data:"):
        head = _DATA_URL.match(url)
        if head is None:
            raise BadRequest("A data URL has to read data:<media type>;base64,<data>.", at)
        return Media(head.group(1) or otherwise, data=url[head.end() :], name=name)
    if not url.startswith(("https://", "http://")):
        raise BadRequest("The address has to begin with https:// or be a data URL.", at)
    return Media(otherwise, url=url, name=name)


class JsonSchemaFormat(msgspec.Struct):
    """A named schema for the answer."""

    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(msgspec.Struct):
    """A tool that the caller runs himself."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def spec(self) -> ToolSpec:
        """Give the tool as a model is told of it."""
        return ToolSpec(
            self.name,
            self.description or "",
            self.parameters or {"type": "object", "properties": {}},
            strict=bool(self.strict),
        )


def settings(**asked: Any) -> ModelSettings | None:  # noqa: ANN401 - the fields of ModelSettings, already checked
    """Keep the sampling settings that were given; `None` where none was."""
    given = {name: value for name, value in asked.items() if value is not None and value != ()}
    # Each value has met its bounds in the body's decoder, so it is not checked twice on the hot path.
    return ModelSettings.model_construct(**given) if given else None


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    """Give stop sequences as we keep them."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Write usage as chat completions do."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def responses_usage(usage: Usage) -> dict[str, Any]:
    """Write usage as Responses do."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def usable(schema: dict[str, Any], at: str) -> dict[str, Any]:
    """Give a schema back that compiles; a broken one is a `BadRequest` at its field."""
    try:
        Schema(schema)
    except Invalid as problem:
        raise BadRequest("This is not a usable JSON Schema.", at, problem.errors[0].detail) from None
    return schema
