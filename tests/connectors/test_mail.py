"""Mail: over SMTP to a real server, and through an outbox that loses nothing."""

import asyncio
import email
import io
import ipaddress
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from agent_factory.connectors.mail.console import Console
from agent_factory.connectors.mail.letter import Letter, Undeliverable, Undelivered
from agent_factory.connectors.mail.post import Post
from agent_factory.connectors.mail.settings import MailSettings, Server
from agent_factory.connectors.mail.smtp import Smtp, compose
from agent_factory.database import letters
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.kit.mailbox import is_address, same_for_all
from agent_factory.security.encryption import EncryptionSettings, Vault, open_vault
from tests.doubles.smtp_server import PASSWORD, ROOT, USER, mail_server

LETTER = Letter("ada@example.com", "Hello", "Grüße\n\nand a second line.\n")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def settings(port: int, **more: Any) -> MailSettings:
    scheme = more.pop("scheme", "smtp")
    return MailSettings.model_validate({"url": f"{scheme}://127.0.0.1:{port}", "timeout": 10, **more})


def read(taken: dict[str, Any]) -> Message:
    return email.message_from_bytes(taken["content"].encode())


def body(message: Message) -> str:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


async def test_a_letter_arrives_as_it_was_written() -> None:
    async with mail_server() as server:
        await Smtp(settings(server.port, plain=True, sender="agents@example.com")).send("1234", LETTER)
        taken = await server.letter()
    message = read(taken)
    assert (taken["from"], taken["to"]) == ("agents@example.com", ["ada@example.com"])
    assert (message["From"], message["To"], message["Subject"]) == ("agents@example.com", "ada@example.com", "Hello")
    assert message["Message-ID"] == "<1234@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert body(message).replace("\r\n", "\n") == LETTER.text


@pytest.mark.parametrize(("scheme", "tls"), [("smtp", "start"), ("smtps", "first")])
async def test_the_way_is_encrypted_and_the_login_goes_over_it(certificate: Path, scheme: str, tls: str) -> None:
    options = ("--certificate", str(certificate), "--tls", tls, "--login")
    async with mail_server(*options) as server:
        url = f"{scheme}://{USER}:p%40ss%3Aword%2F1@localhost:{server.port}"
        await Smtp(MailSettings.model_validate({"url": url, "ca_file": certificate})).send("1", LETTER)
        taken = await server.letter()
    assert taken["encrypted"]
    assert taken["login"]


@pytest.mark.parametrize(("scheme", "tls"), [("smtp", "start"), ("smtps", "first")])
async def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(
    certificate: Path, scheme: str, tls: str
) -> None:
    async with mail_server("--certificate", str(certificate), "--tls", tls) as server:
        with pytest.raises(Undelivered):
            await Smtp(settings(server.port, scheme=scheme)).send("1", LETTER)
        assert await server.silent()


async def test_a_certificate_for_another_name_is_none(certificate: Path) -> None:
    async with mail_server("--certificate", str(certificate), "--tls", "start") as server:
        url = f"smtp://127.0.0.2:{server.port}"
        with pytest.raises(Undelivered):
            await Smtp(MailSettings.model_validate({"url": url, "ca_file": certificate})).send("1", LETTER)


async def test_a_server_that_does_not_encrypt_gets_neither_letter_nor_password() -> None:
    async with mail_server() as server:
        url = f"smtp://{USER}:secret@127.0.0.1:{server.port}"
        with pytest.raises(Undelivered) as told:
            await Smtp(MailSettings.model_validate({"url": url})).send("1", LETTER)
        assert await server.silent()
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("wrong", [f"{USER}:wrong", "nobody:at%20all"])
async def test_a_refused_login_waits_for_its_operator(certificate: Path, wrong: str) -> None:
    async with mail_server("--certificate", str(certificate), "--tls", "start", "--login") as server:
        url = f"smtp://{wrong}@localhost:{server.port}"
        with pytest.raises(Undelivered):
            await Smtp(MailSettings.model_validate({"url": url, "ca_file": certificate})).send("1", LETTER)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ("rcpt 550 no such person", Undeliverable),
        ("rcpt 451 try later", Undelivered),
        ("data 554 not this", Undeliverable),
        ("data 451 try later", Undelivered),
    ],
)
async def test_a_refusal_for_good_is_told_from_one_for_now(refusal: str, kind: type[Exception]) -> None:
    async with mail_server("--refuse", refusal) as server:
        with pytest.raises(kind):
            await Smtp(settings(server.port, plain=True)).send("1", LETTER)


async def test_a_server_that_is_away_or_silent_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Undelivered):
            await Smtp(settings(port, plain=True, timeout=0.2)).send("1", LETTER)
    with pytest.raises(Undelivered):
        await Smtp(settings(port, plain=True)).send("1", LETTER)


INJECTIONS = [
    "ada@example.com\r\nBcc: eve@example.com",
    "ada@example.com\nBcc: eve@example.com",
    "ada@example.com, eve@example.com",
    "ada@example.com eve@example.com",
    "<ada@example.com>",
    "Ada <ada@example.com>",
    "ada@example.com\0",
    "ada@exämple.com",
    "ada@example.com ",
    '"a b"@example.com',
    "ada@[127.0.0.1]",
    "@example.com",
    "ada",
    "ada@",
    "a" * 65 + "@example.com",
    "ada@" + "a." * 130 + "com",
    "",
]


@pytest.mark.parametrize("address", INJECTIONS)
def test_what_is_no_plain_address_is_written_to_nobody(address: str) -> None:
    assert not is_address(address)
    with pytest.raises(Undeliverable):
        compose("1", Letter(address, "Hello", "Hello"), "agents@example.com")


@pytest.mark.parametrize("address", ["ada@example.com", "ADA.l+x@sub.example.co.uk", "owner@localhost", "a@1.io"])
def test_a_plain_address_is_one(address: str) -> None:
    assert is_address(address)
    assert same_for_all(f" {address.upper()} ") == address.lower()


async def test_a_subject_with_lines_in_it_is_one_line() -> None:
    async with mail_server() as server:
        letter = Letter("ada@example.com", "Hello\r\nBcc: eve@example.com\r\n\r\nGotcha", "text")
        await Smtp(settings(server.port, plain=True)).send("1", letter)
        taken = await server.letter()
    message = read(taken)
    assert taken["to"] == ["ada@example.com"]
    assert message["Bcc"] is None
    assert message["Subject"] == "Hello Bcc: eve@example.com Gotcha"


async def test_a_text_cannot_end_the_letter_early() -> None:
    async with mail_server() as server:
        text = "first\r\n.\r\nMAIL FROM:<eve@example.com>\r\n.\r\nlast\n"
        await Smtp(settings(server.port, plain=True)).send("1", Letter("ada@example.com", "x", text))
        taken = await server.letter()
    assert body(read(taken)).replace("\r\n", "\n") == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://127.0.0.1:25"},
        {"url": "smtp://"},
        {"url": "smtp://host:99999"},
        {"url": "smtp://host/path"},
        {"url": "smtp://host?tls=no"},
        {"url": "smtp://mail.example.com", "plain": True},
        {"sender": "Agents <agents@example.com>"},
        {"sender": "agents@example.com\r\nBcc: eve@example.com"},
    ],
)
def test_settings_that_cannot_work_are_refused_and_not_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as told:
        MailSettings.model_validate({**wrong, "timeout": 5})
    assert "smtp://host" not in str(told.value)


def test_a_url_has_the_port_of_its_kind_and_hides_its_password() -> None:
    made = MailSettings.model_validate({"url": f"smtps://{USER}:p%40ss@mail.example.com"})
    assert made.url is not None
    server = Server.of(made.url)
    assert (server.host, server.port, server.tls_first) == ("mail.example.com", 465, True)
    assert (server.username, server.password) == (USER, "p@ss")
    assert "p%40ss" not in repr(made)
    assert PASSWORD not in repr(made)


async def test_without_a_server_letters_appear_at_the_terminal() -> None:
    stream = io.StringIO()
    await Console(stream).send("1234", LETTER)
    assert "To: ada@example.com\nSubject: Hello\n\nGrüße" in stream.getvalue()


class Box:
    """Keeps what was sent; refuses first what it is told to."""

    def __init__(self, *refusals: Exception) -> None:
        self.taken: list[tuple[str, Letter]] = []
        self._refusals = list(refusals)

    async def send(self, letter_id: str, letter: Letter) -> None:
        if self._refusals:
            raise self._refusals.pop(0)
        self.taken.append((letter_id, letter))


@pytest.fixture
async def own(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """A database of one's own, for an outbox is everybody's."""
    opened = Database(fresh_database_url)
    yield opened
    await opened.close()


@pytest.fixture
def vault(own: Database, tmp_path: Path) -> Vault:
    return open_vault(EncryptionSettings(), own.pool, tmp_path)


def office(own: Database, vault: Vault, box: Any, **more: Any) -> Post:
    return Post(own.pool, vault, MailSettings(**more), box)


async def posted(own: Database, post: Post, **more: Any) -> None:
    async with own.system() as session:
        await post.post(session, **{"to": "ada@example.com", "subject": "Hello", "text": "the token is 1234", **more})


async def waiting(own: Database) -> int:
    return await own.pool.fetchval("select count(*) from mail_outbox")


async def due_at_once(own: Database) -> None:
    await own.pool.execute("update mail_outbox set due_at = now()")


async def test_a_letter_is_sent_after_its_transaction_and_then_forgotten(own: Database, vault: Vault) -> None:
    box = Box()
    post = office(own, vault, box)
    async with own.system() as session:
        await post.post(session, to="ada@example.com", subject="Hello", text="text")
        assert not await post.deliver_one()
    assert await post.deliver_one()
    assert [letter for _, letter in box.taken] == [Letter("ada@example.com", "Hello", "text")]
    assert await waiting(own) == 0
    assert not await post.deliver_one()


async def test_what_is_rolled_back_is_never_sent(own: Database, vault: Vault) -> None:
    box = Box()
    post = office(own, vault, box)
    with suppress(ZeroDivisionError):
        async with own.system() as session:
            await post.post(session, to="ada@example.com", subject="Hello", text="text")
            _ = 1 // 0
    assert not await post.deliver_one()
    assert box.taken == []


async def test_an_organisations_own_transaction_may_post_and_sees_no_letter(own: Database, vault: Vault) -> None:
    from sqlalchemy import text  # noqa: PLC0415 - one statement
    from sqlalchemy.exc import ProgrammingError  # noqa: PLC0415 - as above

    box = Box()
    post = office(own, vault, box)
    async with own.write(uuid7()) as session:
        await post.post(session, to="ada@example.com", subject="Hello", text="text")
    assert await post.deliver_one()
    assert len(box.taken) == 1
    await posted(own, post)
    async with own.read(uuid7()) as session:
        with pytest.raises(ProgrammingError, match="permission denied"):
            await session.execute(text("select * from mail_outbox"))


async def test_a_letter_to_nobody_is_dropped(own: Database, vault: Vault) -> None:
    """Abuse 18: an unknown address takes the same work."""
    box = Box()
    post = office(own, vault, box)
    await posted(own, post, to=None)
    assert await waiting(own) == 1
    assert await post.deliver_one()
    assert await waiting(own) == 0
    assert box.taken == []


async def test_what_waits_cannot_be_read_in_the_database(own: Database, vault: Vault) -> None:
    """S202: neither the token in it nor the address."""
    await posted(own, office(own, vault, Box()))
    row = await own.pool.fetchrow("select * from mail_outbox")
    assert row is not None
    assert b"1234" not in row["letter"]
    assert b"example.com" not in row["letter"]


async def test_a_letter_that_is_not_taken_now_is_tried_again_later(own: Database, vault: Vault) -> None:
    box = Box(Undelivered("away"), Undelivered("away"))
    post = office(own, vault, box)
    await posted(own, post)
    for _ in range(2):
        assert await post.deliver_one()
        assert not await post.deliver_one()
        assert await waiting(own) == 1
        await due_at_once(own)
    assert await post.deliver_one()
    assert len(box.taken) == 1
    assert await waiting(own) == 0


async def test_a_letter_that_will_never_be_taken_is_given_up(own: Database, vault: Vault) -> None:
    post = office(own, vault, Box(Undeliverable("no such person")))
    await posted(own, post)
    assert await post.deliver_one()
    assert await waiting(own) == 0


async def test_a_letter_is_not_tried_for_ever(own: Database, vault: Vault) -> None:
    post = office(own, vault, Box(Undelivered("away"), Undelivered("away")), give_up=60)
    await posted(own, post)
    assert await post.deliver_one()
    await own.pool.execute("update mail_outbox set due_at = now(), created_at = now() - interval '61 s'")
    assert await post.deliver_one()
    assert await waiting(own) == 0


async def test_a_process_that_dies_while_sending_loses_no_letter(own: Database, vault: Vault) -> None:
    box = Box()
    post = office(own, vault, box)
    await posted(own, post)
    taken = await letters.take(own.pool, timedelta(seconds=30))
    assert taken is not None
    assert not await post.deliver_one(), "somebody has it"
    await due_at_once(own)  # the lease is over, and whoever had it is dead
    assert await post.deliver_one()
    assert [letter_id for letter_id, _ in box.taken] == [str(taken.id)]


SENDER = """
import asyncio, sys
from pathlib import Path
from agent_factory.connectors.mail.post import Post
from agent_factory.connectors.mail.settings import MailSettings
from agent_factory.database.session import Database
from agent_factory.security.encryption import EncryptionSettings, open_vault

url, port, folder = sys.argv[1:]
pool = Database(url).pool
settings = MailSettings.model_validate({"url": f"smtp://127.0.0.1:{port}", "plain": True, "poll": 0.01})
asyncio.run(Post(pool, open_vault(EncryptionSettings(), pool, Path(folder)), settings).deliver_forever())
"""


async def test_a_sender_that_is_killed_in_the_middle_of_a_letter_loses_none(
    own: Database, vault: Vault, tmp_path: Path
) -> None:
    async with mail_server("--refuse", "hang") as hanging, mail_server() as server:
        post = Post(own.pool, vault, settings(server.port, plain=True))
        await posted(own, post)
        arguments = (own.url, str(hanging.port), str(tmp_path))
        sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, *arguments, cwd=ROOT)
        assert await hanging.letter() == {"hangs": True}
        sender.kill()
        await sender.wait()
        assert await waiting(own) == 1
        await due_at_once(own)
        assert await post.deliver_one()
        assert (await server.letter())["to"] == ["ada@example.com"]


async def test_a_letter_that_others_try_to_send_too_is_sent_once(own: Database, vault: Vault) -> None:
    box = Box()
    offices = [office(own, vault, box) for _ in range(8)]
    for n in range(20):
        await posted(own, offices[0], subject=f"letter {n}")
    while any(await asyncio.gather(*(each.deliver_one() for each in offices))):
        pass
    assert sorted(letter.subject for _, letter in box.taken) == sorted(f"letter {n}" for n in range(20))


async def test_the_loop_sends_what_comes_while_it_runs(own: Database, vault: Vault) -> None:
    async with mail_server() as server:
        post = Post(own.pool, vault, settings(server.port, plain=True, poll=0.01))
        running = asyncio.create_task(post.deliver_forever())
        await posted(own, post)
        assert (await server.letter())["to"] == ["ada@example.com"]
        await posted(own, post, to="bob@example.com")
        assert (await server.letter())["to"] == ["bob@example.com"]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_the_loop_goes_on_after_what_nobody_foresaw(own: Database, vault: Vault) -> None:
    box = Box(RuntimeError("a bug"))
    post = office(own, vault, box, poll=0.01)
    running = asyncio.create_task(post.deliver_forever())
    await posted(own, post)
    async with asyncio.timeout(10):
        while not box.taken:
            await due_at_once(own)
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
