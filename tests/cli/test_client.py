"""What the commands make of a server's answers."""

from collections.abc import AsyncGenerator

import pytest

from agent_factory.cli.client import Event, _events, told  # pyright: ignore[reportPrivateUsage] - the parser is tested at each cut
from agent_factory.cli.problems import exit_code

STREAM = (
    b': heartbeat\n\nid: 1\nevent: run.started\ndata: {"run_id": "r"}\n\n'
    b'id: 2\nevent: text.delta\ndata: {"text": "\xc3\xa9"}\n\ndata: last\n\nid: 9\ndata: cut of'
)
EVENTS = [
    Event("run.started", '{"run_id": "r"}', "1"),
    Event("text.delta", '{"text": "é"}', "2"),
    Event("message", "last"),
]


async def _in_pieces(size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(STREAM), size):
        yield STREAM[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_events_are_the_same_however_the_network_cuts_them(size: int) -> None:
    assert [event async for event in _events(_in_pieces(size))] == EVENTS


def test_a_problem_document_keeps_its_code_faults_and_exit_code() -> None:
    problem = told(403, b'{"code": "forbidden", "detail": "Not yours.", "errors": [{"pointer": "/a", "detail": "b"}]}')
    assert (problem.reported_code, problem.detail, exit_code(problem)) == ("forbidden", "Not yours.", 4)
    assert problem.errors[0].pointer == "/a"


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]"])
def test_an_answer_that_is_not_ours_says_so(body: bytes) -> None:
    problem = told(502, body)
    assert "502" in problem.detail
    assert exit_code(problem) == 1
