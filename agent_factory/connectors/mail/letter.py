"""A letter, and the port that it leaves by."""

from typing import Protocol

import msgspec

from agent_factory.kit.errors import Kind, Problem


class Letter(msgspec.Struct, frozen=True):
    """Plain text for one address; one that is addressed to nobody is never sent."""

    to: str | None
    subject: str
    text: str


class Undelivered(Problem):
    """A letter that was not taken; trying it again may help."""

    kind = Kind.UPSTREAM
    code = "mail_not_delivered"
    title = "The mail was not delivered"
    retryable = True


class Undeliverable(Problem):
    """A letter that will never be taken."""

    kind = Kind.UPSTREAM
    code = "mail_undeliverable"
    title = "The mail cannot be delivered"


class Mail(Protocol):
    """A way for letters to leave."""

    async def send(self, letter_id: str, letter: Letter) -> None:
        """Hand a letter over; the same id is the same letter. Raises `Undelivered` or `Undeliverable`."""
        ...
