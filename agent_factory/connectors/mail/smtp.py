"""Letters over SMTP, encrypted on the way, to a server whose certificate is verified."""

import ssl
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime

import aiosmtplib
from aiosmtplib.errors import SMTPDataError, SMTPRecipientsRefused

from agent_factory.connectors.mail.letter import Letter, Undeliverable, Undelivered
from agent_factory.connectors.mail.settings import MailSettings, Server
from agent_factory.kit.clock import now
from agent_factory.kit.mailbox import is_address

_FOR_EVER = 500
"""Answers from here on will not change."""


class Smtp:
    """One mail server; each letter has a connection of its own."""

    def __init__(self, settings: MailSettings) -> None:
        """Connect to nothing yet; `settings.url` has to be set."""
        assert settings.url is not None
        self._settings = settings
        self._server = Server.of(settings.url)
        self._tls = ssl.create_default_context(cafile=settings.ca_file)

    async def send(self, letter_id: str, letter: Letter) -> None:
        """Hand a letter over to the server."""
        message = compose(letter_id, letter, self._settings.sender)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._server.host,
                port=self._server.port,
                username=self._server.username,
                password=self._server.password,
                use_tls=self._server.tls_first,
                start_tls=not (self._server.tls_first or self._settings.plain),
                tls_context=self._tls,
                timeout=self._settings.timeout,
                # not this machine's name, which is nobody's business
                local_hostname="localhost",
            )
        except SMTPRecipientsRefused as refused:
            raise _refusal(refused.recipients[0].code) from None
        except SMTPDataError as error:
            raise _refusal(error.code) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            # also a refused login or sender: the operator can put that right while the letter waits
            raise Undelivered(f"The mail server could not be used: {type(error).__name__}.") from None


def compose(letter_id: str, letter: Letter, sender: str) -> EmailMessage:
    """Write a letter as a message.

    The address has passed a check that no end of a line passes, and the
    subject is one line whatever stands in it. Raises `Undeliverable`.
    """
    if letter.to is None or not is_address(letter.to):
        raise Undeliverable("The letter's address is none.")
    message = EmailMessage(policy=POLICY)
    message["From"] = sender
    message["To"] = letter.to
    message["Subject"] = " ".join(letter.subject.split())
    message["Date"] = format_datetime(now())
    message["Message-ID"] = f"<{letter_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    return message


def _refusal(code: int) -> Undelivered | Undeliverable:
    if code >= _FOR_EVER:
        return Undeliverable(f"The mail server refuses the letter for good ({code}).")
    return Undelivered(f"The mail server does not take the letter now ({code}).")
