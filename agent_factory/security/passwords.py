"""Passwords: which are good enough, and how they are hashed without holding up anybody else (S31, S40).

Argon2id with OWASP's parameters, in a few threads of lower priority that take
in a bounded number of waiting passwords: whoever comes when that is full is
told so at once.
"""

import asyncio
import os
import threading
import unicodedata
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import NewType, TypeVar

import msgspec
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field

from agent_factory.kit.errors import Unavailable

_NICE = 3
T = TypeVar("T")

Hashed = NewType("Hashed", str)
"""A password's hash in Argon2's own form, with salt and parameters in it."""

LONGEST = 1024
"""Characters of a password at most; longer ones are refused before anything is computed (abuse 20)."""


class PasswordSettings(BaseModel):
    """How passwords are hashed; `memory` in KiB, `shortest` in characters.

    The parameters are OWASP's for Argon2id. Passwords that were hashed with
    others go on working and are hashed anew when they are next used. `threads`
    hash at a time, half of the processors if absent, and `waiting` more
    passwords may wait. Within `window` seconds, as many may be wrong for one
    account, and as many from one network address.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int = Field(default=19_456, ge=8)
    iterations: int = Field(default=2, ge=1, le=100)
    lanes: int = Field(default=1, ge=1, le=16)
    threads: int | None = Field(default=None, ge=1, le=64)
    waiting: int = Field(default=256, ge=0)
    shortest: int = Field(default=12, ge=8, le=128)
    wrong_for_account: int = Field(default=10, ge=1)
    wrong_from_address: int = Field(default=300, ge=1)
    window: float = Field(default=900.0, gt=0)


class TooManyLogins(Unavailable):
    """More passwords wait to be checked than may."""

    code = "too_many_logins"
    title = "Too many people are logging in at this moment"


class Checked(msgspec.Struct, frozen=True):
    """What came of a check; `outdated` says that the hash should be made anew."""

    right: bool
    outdated: bool = False


class Passwords:
    """Hashes and checks passwords in threads of its own."""

    def __init__(self, settings: PasswordSettings | None = None) -> None:
        """Start nothing before the first password."""
        self.settings = settings or PasswordSettings()
        threads = self.settings.threads or max(1, (os.cpu_count() or 2) // 2)
        self._most = threads + self.settings.waiting
        self._inside = 0
        self._turns = asyncio.Semaphore(threads + 1)
        self._in_line = 0
        self._threads = ThreadPoolExecutor(threads, "passwords", initializer=_step_back)
        self._hasher = PasswordHasher(
            time_cost=self.settings.iterations,
            memory_cost=self.settings.memory,
            parallelism=self.settings.lanes,
            type=Type.ID,
        )
        self._nobodys: Hashed | None = None

    async def hash(self, password: str) -> Hashed:
        """Hash a password; raises `TooManyLogins`."""
        return Hashed(await self._within(lambda: self._hasher.hash(_bytes(password))))

    async def check(self, hashed: Hashed | None, password: str) -> Checked:
        """Tell whether a password is right; without a hash it is wrong, after the same work (abuse 18).

        Raises `TooManyLogins`.
        """
        return await self._within(lambda: self._check(hashed, password))

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Let few do at a time what leads to a hash: one more than can be hashed, so that no thread idles.

        The others wait before they have asked the database for anything, and
        stand in nobody's way there. Raises `TooManyLogins` where too many wait.
        """
        if self._turns.locked() and self._in_line >= self.settings.waiting:
            raise _busy()
        self._in_line += 1
        try:
            await self._turns.acquire()
        finally:
            self._in_line -= 1
        try:
            yield
        finally:
            self._turns.release()

    def close(self) -> None:
        """Take nothing more; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, hashed: Hashed | None, password: str) -> Checked:
        if hashed is None:
            self._matches(self._for_nobody(), password)
            return Checked(right=False)
        right = self._matches(hashed, password)
        return Checked(right, outdated=right and self._hasher.check_needs_rehash(hashed))

    def _matches(self, hashed: Hashed, password: str) -> bool:
        with suppress(VerificationError, InvalidHashError):
            return self._hasher.verify(hashed, _bytes(password))
        return False

    def _for_nobody(self) -> Hashed:
        if self._nobodys is None:
            self._nobodys = Hashed(self._hasher.hash(os.urandom(32)))
        return self._nobodys

    async def _within(self, work: Callable[[], T]) -> T:
        if self._inside >= self._most:
            raise _busy()
        self._inside += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # counted until it is done, and not until somebody stops waiting: the thread goes on either way
        running.add_done_callback(self._left)
        return await asyncio.shield(running)

    def _left(self, done: asyncio.Future[T]) -> None:
        self._inside -= 1
        if not done.cancelled():
            done.exception()  # whoever waited may be gone


def _busy() -> TooManyLogins:
    return TooManyLogins("Try again in a moment.", retry_after=2)


def _bytes(password: str) -> bytes:
    """Write a password as it is hashed: however a keyboard composes it, the same (NIST 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode()


def _step_back() -> None:
    """Let the event loop, and PostgreSQL beside it, go first, but not by far.

    The thread holds the interpreter's lock for a moment before and after each
    hash. Were it much less important than other processes, one of these would
    keep it from going on in that moment, and the event loop from the lock:
    `bench/logins.py` shows it.
    """
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
