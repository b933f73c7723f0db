"""Passwords: what is good enough, how they are hashed, and that hashing holds nobody up (S31, S40)."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from agent_factory.security.passwords import Hashed, Passwords, PasswordSettings, TooManyLogins
from agent_factory.security.weak_passwords import weakness

CHEAP = PasswordSettings(memory=8, iterations=1)
GOOD = [
    "correct-horse-staple-9",
    "Tr0ub4dor&3-and-more",
    "the quick brown fox",
    "vier Wörter für mich",
    "jLk2!mmQp0xZ",
    "пароль из четырёх слов",
    "我的密码是四个随机的单词吗",
]
WEAK = [
    "",
    "short",
    "elevenchars",
    "password",
    "passwordpassword",
    "Password2024!",
    "P@ssw0rd2024!!",
    "passw0rd1234",
    "123456789012",
    "098765432109",
    "abcdefghijkl",
    "ABCDEFGHIJKL",
    "qwertyuiopas",
    "aaaaaaaaaaaa",
    "abababababab",
    "abcabcabcabc",
    "letmein12345",
    "iloveyou!!!!",
    "welcome12345",
    "correcthorsebatterystaple",
    "1q2w3e4r5t6y",
    "agentfactory",
    "Agent-Factory1",
    "".join(chr(ord(each) + 0xFEE0) for each in "password1234"),
]


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(CHEAP)
    yield made
    made.close()


@pytest.mark.parametrize("password", GOOD)
def test_a_password_of_some_length_is_good_whatever_characters_it_has(password: str) -> None:
    assert weakness(password, shortest=12) is None


@pytest.mark.parametrize("password", WEAK)
def test_a_password_that_is_guessed_first_is_refused_with_a_reason(password: str) -> None:
    why = weakness(password, shortest=12)
    assert why
    assert password not in why or len(password) == 0


@pytest.mark.parametrize("password", ["ada.lovelace1", "AdaLovelace!!", "ada@example.com", "lovelace2024"])
def test_ones_own_name_or_address_is_no_password(password: str) -> None:
    assert weakness(password, shortest=12, names=("ada.lovelace@example.com", "AdaLovelace", "ada@example.com"))


def test_the_longest_password_is_looked_at_quickly() -> None:
    for password in ("a" * 1024, "ab" * 512, "qwertyuiop" * 102, "x1" * 512):
        assert weakness(password, shortest=12)


async def test_hashes_are_argon2id_with_the_parameters_of_owasp_by_default() -> None:
    passwords = Passwords()
    found = extract_parameters(await passwords.hash("correct-horse-staple-9"))
    passwords.close()
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 19_456, 2, 1)


async def test_a_password_opens_its_own_hash_and_no_other_does(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct-horse-staple-9")
    assert (await passwords.check(hashed, "correct-horse-staple-9")).right
    assert not (await passwords.check(hashed, "correct-horse-staple-8")).right
    assert await passwords.hash("correct-horse-staple-9") != hashed


async def test_a_password_is_the_same_however_a_keyboard_composes_it(passwords: Passwords) -> None:
    hashed = await passwords.hash("vier Wörter für mich")
    assert (await passwords.check(hashed, "vier Wo\u0308rter fu\u0308r mich")).right


async def test_what_is_no_hash_lets_nobody_in(passwords: Passwords) -> None:
    for text in ("", "plain", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"):
        assert not (await passwords.check(Hashed(text), "correct-horse-staple-9")).right


async def test_nobodys_password_costs_a_hash_and_is_wrong(passwords: Passwords) -> None:
    """Abuse 18."""
    looked_at: list[bytes] = []
    verify = PasswordHasher.verify

    def watched(self: PasswordHasher, known: str, given: bytes) -> bool:
        looked_at.append(given)
        return verify(self, known, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHasher, "verify", watched)
        assert not (await passwords.check(None, "correct-horse-staple-9")).right
    assert looked_at == [b"correct-horse-staple-9"]


async def test_a_hash_of_other_parameters_works_and_is_known_to_be_outdated(passwords: Passwords) -> None:
    before = Passwords(PasswordSettings(memory=16, iterations=1))
    hashed = await before.hash("correct-horse-staple-9")
    before.close()
    checked = await passwords.check(hashed, "correct-horse-staple-9")
    assert checked.right
    assert checked.outdated
    assert not (await passwords.check(hashed, "another-password-0")).outdated
    fresh = await passwords.hash("correct-horse-staple-9")
    assert not (await passwords.check(fresh, "correct-horse-staple-9")).outdated


async def test_whoever_comes_when_too_many_wait_is_told_when_to_come_again() -> None:
    passwords = Passwords(PasswordSettings(memory=8, iterations=1, threads=1, waiting=2))
    released = threading.Event()
    waiting = [asyncio.create_task(passwords._within(released.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyLogins) as refused:
        await passwords.hash("correct-horse-staple-9")
    assert refused.value.retry_after
    released.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await passwords.hash("correct-horse-staple-9")
    passwords.close()


async def test_a_place_is_free_only_once_its_thread_is_done() -> None:
    passwords = Passwords(PasswordSettings(memory=8, iterations=1, threads=1, waiting=0))
    released = threading.Event()
    impatient = asyncio.create_task(passwords._within(released.wait))
    await asyncio.sleep(0)
    impatient.cancel()
    with suppress(asyncio.CancelledError):
        await impatient
    with pytest.raises(TooManyLogins):
        await passwords.hash("correct-horse-staple-9")
    released.set()
    passwords.close()


async def test_few_have_a_turn_at_a_time_and_some_wait() -> None:
    passwords = Passwords(PasswordSettings(memory=8, iterations=1, threads=1, waiting=2))
    leaving, inside = asyncio.Event(), 0

    async def come() -> None:
        nonlocal inside
        async with passwords.turn():
            inside += 1
            await leaving.wait()

    coming = [asyncio.create_task(come()) for _ in range(5)]
    await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
    assert inside == 2
    assert [each.done() for each in coming] == [False] * 4 + [True]
    assert isinstance(coming[4].exception(), TooManyLogins)
    coming[2].cancel()
    leaving.set()
    await asyncio.wait(coming)
    assert inside == 3
    async with passwords.turn():
        pass
    passwords.close()


async def test_the_loop_goes_on_while_passwords_are_hashed() -> None:
    passwords = Passwords(PasswordSettings(threads=1))
    hashing = asyncio.create_task(passwords.hash("correct-horse-staple-9"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    passwords.close()


@pytest.mark.parametrize(
    "password",
    [
        "a" + "\ufdfa" * 1022 + "a",
        "a" + "12345" * 204 + "a",
        "\ufdfa" * 1024,
        "abcdefgh1" * 113,
        "qwertyuiop" * 102,
        "x" + "\u0344" * 1022 + "y",
    ],
)
def test_no_password_keeps_everybody_waiting_while_it_is_looked_at(password: str) -> None:
    """Abuse 20: it is looked at beside all other requests, by whoever registers, and grows when it is normalised."""
    begun = time.process_time()
    weakness(password, shortest=12, names=("ada@example.com", "Ada Lovelace, \ufdfa" * 18))
    assert time.process_time() - begun < 0.25
