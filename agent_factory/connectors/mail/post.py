"""The post office: letters go in with the transaction that they tell of, and leave in the background."""

import asyncio
from datetime import timedelta

import msgspec
import structlog

from agent_factory.connectors.mail.console import Console
from agent_factory.connectors.mail.letter import Letter, Mail, Undeliverable, Undelivered
from agent_factory.connectors.mail.settings import MailSettings
from agent_factory.connectors.mail.smtp import Smtp
from agent_factory.database import letters
from agent_factory.database.letters import Waiting
from agent_factory.database.pool import Pool
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import Vault

_TABLE, _COLUMN = "mail_outbox", "letter"
_GRACE = 10.0
"""Seconds beyond the timeout after which another process may take a letter: whoever had it is dead."""
_SLOWEST = 3600.0

log = structlog.stdlib.get_logger(__name__)


class Post:
    """Takes letters, and sends them while `deliver_forever` runs, here or in another process.

    A letter is sent at least once: whoever dies between the sending and the
    note of it leaves the letter, with the same Message-ID, to be sent again.
    """

    def __init__(self, pool: Pool, vault: Vault, settings: MailSettings, mail: Mail | None = None) -> None:
        """Remember the way out: the server of the settings, or the terminal without one."""
        self._pool = pool
        self._vault = vault
        self._settings = settings
        self._mail = mail or (Console() if settings.url is None else Smtp(settings))

    async def post(self, session: Session, *, to: str | None, subject: str, text: str) -> None:
        """Post a letter, to be sent if the transaction commits, and never before.

        One to nobody takes the same work and is dropped, so that nobody can
        tell by the time whether an address is known.
        """
        letter_id = uuid7()
        plain = msgspec.json.encode(Letter(to, subject, text))
        sealed = await self._vault.encrypt(None, (_TABLE, _COLUMN, letter_id), plain)
        await letters.post(session, letter_id, sealed)

    async def deliver_forever(self) -> None:
        """Send what is due, until cancelled."""
        while True:
            try:
                more = await self.deliver_one()
            except Unavailable:
                more = False
            except Exception:
                log.exception("a letter could not be handled; it is tried again")
                more = False
            if not more:
                await asyncio.sleep(self._settings.poll)

    async def deliver_one(self) -> bool:
        """Try the letter that is due longest; tell whether there was one."""
        waiting = await letters.take(self._pool, timedelta(seconds=self._settings.timeout + _GRACE))
        if waiting is None:
            return False
        try:
            await self._send(waiting)
        except Undelivered as problem:
            await self._keep(waiting, problem)
            return True
        except Undeliverable as problem:
            log.warning("a letter was given up", letter_id=str(waiting.id), reason=problem.detail)
        await letters.done(self._pool, waiting.id)
        return True

    async def _send(self, waiting: Waiting) -> None:
        plain = await self._vault.decrypt(None, (_TABLE, _COLUMN, waiting.id), waiting.letter)
        letter = msgspec.json.decode(plain, type=Letter)
        if letter.to is None:
            return
        sending = asyncio.create_task(self._mail.send(str(waiting.id), letter))
        try:
            # shielded, for in Python 3.11 a reply that arrives at the moment of a cancellation swallows it
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            sending.cancel()
            await asyncio.wait({sending})
            raise

    async def _keep(self, waiting: Waiting, problem: Problem) -> None:
        if (now() - waiting.created_at).total_seconds() > self._settings.give_up:
            log.error("a letter was given up after many attempts", letter_id=str(waiting.id), reason=problem.detail)
            await letters.done(self._pool, waiting.id)
            return
        delay = min(_SLOWEST, 2.0**waiting.attempts)
        log.warning("a letter was not delivered", letter_id=str(waiting.id), reason=problem.detail, again_in=delay)
        await letters.later(self._pool, waiting.id, timedelta(seconds=delay))
