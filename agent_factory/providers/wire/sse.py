"""Server-sent events, parsed from raw bytes as the WHATWG says."""

from agent_factory.core.model import ModelProtocolError

_MOST = 8_000_000
"""Bytes of one event; more is no event but an attack or a fault."""


class Parser:
    """Turns bytes, cut anywhere, into events; its state is the unfinished event alone."""

    def __init__(self, most: int = _MOST) -> None:
        """Accept events of at most `most` bytes."""
        self._most = most
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._name = ""
        self._data: list[bytes] = []
        self._data_size = 0
        self._begun = False

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """Take more bytes and give the events that they complete, as (name, data).

        The name is "" where the stream gives none. Raises `ModelProtocolError`
        for an event beyond the limit.
        """
        if b"\n" not in chunk and b"\r" not in chunk and not (self._rest and self._rest[-1].endswith(b"\r")):
            self._keep(chunk)
            return []
        data = b"".join((*self._rest, chunk)) if self._rest else chunk
        if b"\r" in data:
            held = data.endswith(b"\r")  # its \n may come with the next bytes
            data = (data[:-1] if held else data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            held = False
        lines = data.split(b"\n")
        rest = lines.pop() + (b"\r" if held else b"")
        self._rest.clear()
        self._rest_size = 0
        if not self._begun and lines:
            self._begun = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        events = self._lines(lines)
        if rest:
            self._keep(rest)
        return events

    def finish(self) -> list[tuple[str, bytes]]:
        """Give the event that the end of the stream completes; some servers leave its blank line out."""
        return self.feed(b"\n\n")

    def _keep(self, piece: bytes) -> None:
        self._rest.append(piece)
        self._rest_size += len(piece)
        self._check()

    def _check(self) -> None:
        if self._rest_size + self._data_size > self._most:
            raise ModelProtocolError("The stream holds an event that is too large.")

    def _lines(self, lines: list[bytes]) -> list[tuple[str, bytes]]:
        events: list[tuple[str, bytes]] = []
        data = self._data
        for line in lines:
            if line[:6] == b"data: ":
                self._add(line[6:])
            elif not line:
                if data:
                    events.append((self._name, data[0] if len(data) == 1 else b"\n".join(data)))
                    data.clear()
                    self._data_size = 0
                self._name = ""
            elif line[:5] == b"data:":
                self._add(line[5:])
            elif line == b"data":
                self._add(b"")
            elif line[:6] == b"event:":
                self._name = line[6:].removeprefix(b" ").decode("utf-8", "replace")
        return events

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._data_size += len(value) + 1
        self._check()
