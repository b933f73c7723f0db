"""Responses as a stream: the events of a turn in the order that OpenAI's clients expect."""

from typing import Any

import msgspec

from agent_factory.core.event import ModelFinished, TextPiece, ToolStarted, TurnCompleted, TurnEvent
from agent_factory.kit.clock import now
from agent_factory.services.gateway.schemas.responses import (
    Frame,
    call_item,
    completed,
    item_id,
    message_item,
    text_part,
)

_encode = msgspec.json.encode


class ResponseStream:
    """Turns a turn's events into the bytes of a Responses stream.

    Every stretch of words between two tool calls is an item of its own; items
    are opened by their first word and closed when the model has ended.
    """

    def __init__(self, frame: Frame) -> None:
        """Begin the numbering of events at 0."""
        self._frame = frame
        self._number = 0
        self._done: list[dict[str, Any]] = []
        self._open: str | None = None
        self._words: list[str] = []
        self._delta = b""

    def open(self) -> bytes:
        """Write that the response exists and is being worked on."""
        begun = self._frame.response("in_progress")
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def feed(self, event: TurnEvent) -> bytes:
        """Write what an event means to the client; nothing for most."""
        match event:
            case TextPiece(text=text):
                return self._say(text)
            case ModelFinished() | ToolStarted():
                return self._close()
            case TurnCompleted():
                return self._complete(event)
            case _:
                return b""

    def fail(self, error: dict[str, Any]) -> bytes:
        """Write the end of a response that failed, and an error event on which the clients raise.

        `error` is in OpenAI's shape.
        """
        inner = error["error"]
        said = {"code": inner["code"], "message": inner["message"]}
        out = self._close("incomplete")
        response = self._frame.response("failed", output=self._done, error=said)
        out += self._event("response.failed", response=response)
        # The flat members are the documented event; the nested one is what the clients raise on.
        return out + self._event("error", **said, param=inner["param"], error=inner)

    def _say(self, text: str) -> bytes:
        out = b""
        if self._open is None:
            out = self._begin()
        self._words.append(text)
        number, self._number = self._number, self._number + 1
        return out + b'%s%d,"delta":%s}\n\n' % (self._delta, number, _encode(text))

    def _begin(self) -> bytes:
        index = len(self._done)
        self._open = item_id("msg", self._frame.id, index)
        self._words = []
        place = {"item_id": self._open, "output_index": index, "content_index": 0}
        kind = "response.output_text.delta"
        fixed = _encode({"type": kind, **place, "logprobs": []})[:-1]
        # Encoded once: the words of an item are many events that differ in number and text alone.
        self._delta = b"event: " + kind.encode() + b"\ndata: " + fixed + b',"sequence_number":'
        item = message_item(self._open, None, "in_progress")
        return self._event("response.output_item.added", output_index=index, item=item) + self._event(
            "response.content_part.added", **place, part=text_part("")
        )

    def _close(self, status: str = "completed") -> bytes:
        if self._open is None:
            return b""
        text = "".join(self._words)
        index = len(self._done)
        place = {"item_id": self._open, "output_index": index, "content_index": 0}
        item = message_item(self._open, text, status)
        self._done.append(item)
        self._open = None
        return (
            self._event("response.output_text.done", **place, text=text, logprobs=[])
            + self._event("response.content_part.done", **place, part=text_part(text))
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _complete(self, end: TurnCompleted) -> bytes:
        out = b""
        if end.text and not self._open and not any(item["type"] == "message" for item in self._done):
            out += self._say(end.text)
        out += self._close()
        if end.finish == "tool_calls" and end.messages:
            for call in end.messages[-1].tool_calls:
                index = len(self._done)
                name = item_id("fc", self._frame.id, index)
                item = call_item(name, call)
                self._done.append(item)
                place = {"item_id": name, "output_index": index}
                begun = call_item(name, call, "in_progress")
                out += self._event("response.output_item.added", output_index=index, item=begun)
                out += self._event("response.function_call_arguments.delta", **place, delta=call.arguments)
                done = {"arguments": call.arguments, "name": call.name}
                out += self._event("response.function_call_arguments.done", **place, **done)
                out += self._event("response.output_item.done", output_index=index, item=item)
        cut = end.finish == "length"
        response = completed(self._frame, end, int(now().timestamp()))
        # What was streamed is what was said; the items of the end differ only where a replay streamed nothing.
        response["output"] = self._done
        return out + self._event("response.incomplete" if cut else "response.completed", response=response)

    def _event(self, kind: str, **members: Any) -> bytes:  # noqa: ANN401 - whatever the event carries
        number, self._number = self._number, self._number + 1
        body = _encode({"type": kind, "sequence_number": number, **members})
        return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"
