"""Idempotency-Key on every POST: one effect, and the first answer for each repetition.

A key is its sender's own: nobody is told what somebody else was answered.
A route with a writing transaction locks the key, works and keeps its answer
in that one transaction, so a crash leaves either both or neither. A route
that works by other means (a run, a stream) notes the key before it begins and
the answer when it is complete, whether or not its reader is still there; if the
process dies in between, the key stays taken, for nobody can tell what came of it.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agent_factory.api.problems import Malformed
from agent_factory.api.sse import EventStream
from agent_factory.database import idempotency as store
from agent_factory.database.session import Database, Session
from agent_factory.kit.errors import Conflict, Invalid, Problem
from agent_factory.security.audit import Trail
from agent_factory.security.auth import Actor

Handler = Callable[[Request], Awaitable[Response]]

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = frozenset({"content-type", "location", "etag"})
_LONGEST_PATH = 500
_LARGEST = 1_048_576


class KeyInFlight(Conflict):
    """The first request with this key has no answer yet."""

    code = "idempotency_in_flight"
    title = "The first request with this Idempotency-Key has no answer yet"


class KeyReused(Invalid):
    """The key was used for a different request."""

    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for another request"


class ShownOnce(Conflict):
    """The first answer held a secret, which is not kept."""

    code = "idempotency_answer_shown_once"
    title = "The answer was shown once"


class Replayed(Exception):
    """Carries the first answer past an endpoint that must not run again."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Claim:
    """One request's key, from the first look to the kept answer."""

    def __init__(self, key: str, method_path: str, body_hash: bytes, *, shown_once: bool) -> None:
        self._shown_once = shown_once
        self._key = key
        self._method_path = method_path
        self._body_hash = body_hash
        self._session: Session | None = None
        self._request: store.RequestKey | None = None

    @classmethod
    async def of(cls, request: Request, *, shown_once: bool = False) -> "Claim | None":
        """Read the request's key; none is None, one that is unusable is `Malformed`.

        With `shown_once` the answer holds a secret: it is not kept, and a
        repetition is told so.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        if not _KEY.fullmatch(key):
            raise Malformed("An Idempotency-Key has 1 to 255 visible ASCII characters.")
        content = request.scope["query_string"] + b"\n" + await request.body()
        path: str = request.scope["path"]
        if len(path) > _LONGEST_PATH:
            path = hashlib.sha256(path.encode()).hexdigest()
        # keyed with what the database does not hold, for a body may be a secret that is short enough to be guessed
        trail: Trail = request.app.state.platform.trail
        fingerprint = bytes.fromhex(await trail.pseudonym(hashlib.sha256(content).hexdigest()))
        return cls(key, f"{request.method} {path}", fingerprint, shown_once=shown_once)

    async def take(self, session: Session, actor: Actor) -> None:
        """Take the key for the time of this transaction; raises `Replayed` when it was answered before."""
        request = self._name(actor)
        if not await store.lock(session, request):
            raise KeyInFlight("Wait for its answer, then send the request again.")
        if not await store.claim(session, request, self._body_hash):
            raise await self._known(session, request)
        self._session, self._request = session, request

    async def keep(self, response: Response) -> None:
        """Write the answer into the transaction that `take` got, if any."""
        if self._session is not None and self._request is not None:
            await self._settle(self._session, self._request, response)

    async def around(self, handler: Handler, request: Request, database: Database, actor: Actor) -> Response:
        """Run a handler that has no transaction of its own, and keep what it answers.

        An error is not kept: the request may be made again with the same key.
        """
        name = self._name(actor)
        async with database.write(actor.organization_id) as session:
            if not await store.claim(session, name, self._body_hash):
                raise await self._known(session, name)
        try:
            response = await handler(request)
        except (Problem, RequestValidationError, HTTPException):
            async with database.write(actor.organization_id) as session:
                await store.drop(session, name)
            raise
        if isinstance(response, EventStream):
            recording = Recording(response.source)
            task = asyncio.create_task(recording.settle(response, database, name))
            running: set[asyncio.Task[None]] = request.app.state.recordings
            running.add(task)
            task.add_done_callback(running.discard)
            response.source = recording.read()
        else:
            async with database.write(actor.organization_id) as session:
                await self._settle(session, name, response)
        return response

    def _name(self, actor: Actor) -> store.RequestKey:
        return store.RequestKey(actor.organization_id, self._key, f"{actor.user_id} {self._method_path}")

    async def _settle(self, session: Session, request: store.RequestKey, response: Response) -> None:
        body = b"" if self._shown_once else bytes(response.body)
        await store.settle(session, request, response.status_code, body, _headers(response))

    async def _known(self, session: Session, request: store.RequestKey) -> Exception:
        kept = await store.find(session, request)
        if kept is not None and kept.body_hash != self._body_hash:
            return KeyReused("Use a new key for a request with other content.")
        if kept is None or kept.status is None:
            return KeyInFlight(
                "It is still at work, or its answer was lost. Look for its effect before using a new key."
            )
        if self._shown_once:
            return ShownOnce("The first request with this key was carried out, and its answer is shown only once.")
        return Replayed(Response(kept.response, kept.status, {**kept.headers, "Idempotent-Replayed": "true"}))


class Recording:
    """A stream that goes on, and is kept, when its reader leaves: who lost the answer will ask for it again."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self._unread: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._failure: Exception | None = None

    async def settle(self, response: Response, database: Database, request: store.RequestKey) -> None:
        """Read the stream to its end and keep it; one that is too large is only passed on."""
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in self._source:
                self._unread.put_nowait(piece)
                size += len(piece)
                if size <= _LARGEST:
                    pieces.append(piece)
            if size <= _LARGEST:
                async with database.write(request.organization_id) as session:
                    await store.settle(session, request, response.status_code, b"".join(pieces), _headers(response))
        except Exception as error:  # noqa: BLE001 - it is the reader's, and raised there
            self._failure = error
        finally:
            self._unread.put_nowait(None)

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Give the pieces as they come."""
        while (piece := await self._unread.get()) is not None:
            yield piece
        if self._failure is not None:
            raise self._failure


def _headers(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
