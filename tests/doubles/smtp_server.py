"""A real SMTP server (aiosmtpd) in a process of its own: it writes each letter that it takes as a line of JSON.

The first line is `{"port": …}`. It ends when its standard input does.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "postman", "p@ss:word/1"


class _Handler:
    """Takes letters, or refuses what it was told to refuse."""

    def __init__(self, refuse: str, *, encrypted: bool) -> None:
        self._encrypted = encrypted
        self._recipient, self._data = (refuse, "") if refuse.startswith("rcpt") else ("", refuse)

    async def handle_RCPT(  # noqa: N802 - the name that the server calls
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self._recipient:
            return self._recipient.removeprefix("rcpt ")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        if self._data == "hang":
            sys.stdout.write('{"hangs": true}\n')
            sys.stdout.flush()
            await asyncio.sleep(3600)
        if self._data:
            return self._data.removeprefix("data ")
        assert isinstance(envelope.content, bytes)
        letter = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode(),
            "encrypted": self._encrypted or session.ssl is not None,
            "login": session.authenticated,
        }
        sys.stdout.write(json.dumps(letter) + "\n")
        sys.stdout.flush()
        return "250 OK"


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()), handled=False)


async def _serve(options: argparse.Namespace) -> None:
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate)
    inside = tls if options.tls == "start" else None

    def server() -> SMTP:
        return SMTP(
            _Handler(options.refuse, encrypted=options.tls == "first"),
            hostname="mail.test",
            tls_context=inside,
            require_starttls=inside is not None,
            authenticator=_authenticate,
            auth_required=options.login,
            auth_require_tls=False,
        )

    outside = tls if options.tls == "first" else None
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", options.port, ssl=outside)
    sys.stdout.write(json.dumps({"port": listening.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    await ended.wait()


class MailServer:
    """A running server; `letter` waits for the next letter that it took."""

    def __init__(self, port: int, lines: asyncio.StreamReader) -> None:
        self.port = port
        self._lines = lines

    async def letter(self) -> dict[str, Any]:
        return json.loads(await asyncio.wait_for(self._lines.readline(), 20))

    async def silent(self) -> bool:
        """Whether nothing has come; only of use once something later has been waited for."""
        with contextlib.suppress(TimeoutError):
            return not await asyncio.wait_for(self._lines.readline(), 0.2)
        return True


@asynccontextmanager
async def mail_server(*options: str) -> AsyncGenerator[MailServer, None]:
    """Run the server for the time of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.doubles.smtp_server",
        *options,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))["port"]
        yield MailServer(port, process.stdout)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", default="")
    parser.add_argument("--tls", choices=["none", "start", "first"], default="none")
    parser.add_argument("--login", action="store_true")
    parser.add_argument("--refuse", default="", help="`rcpt 550 no`, `data 451 later`, `hang`, …")
    asyncio.run(_serve(parser.parse_args()))
