"""What comes out of a sandbox is never believed."""

import json
from typing import Any

import pytest

from agent_factory.core.task import CodeLimits
from agent_factory.kit.errors import Problem
from agent_factory.runtime.sandbox.errors import CodeFailed, CodeOutOfMemory, CodeTimeout, CodeTooMuchOutput
from agent_factory.runtime.sandbox.frames import Question
from agent_factory.runtime.sandbox.job import Job

LIMITS = CodeLimits(output_bytes=1000, cpu_seconds=2)


def framed(question: Question, words: bytes, printed: bytes = b"", **ending: Any) -> bytes:
    nonce = json.loads(question.wire.partition(b"\n")[2])["nonce"].encode()
    head = {"size": len(words), "why": None, "code": 0, "cpu": 0.1, "peak": 5, **ending}
    return printed + b"\n" + nonce + json.dumps(head).encode() + b"\n" + words


def problem(words: bytes = b"", **ending: Any) -> Problem:
    question = Question(Job(code="", limits=LIMITS))
    with pytest.raises(Problem) as caught:
        question.answer(framed(question, words, **ending), b"")
    return caught.value


def test_a_result_is_taken_apart_from_what_was_printed() -> None:
    question = Question(Job(code="", limits=LIMITS))
    answer = question.answer(framed(question, b'{"result": [1]}', b"hello\nworld\n\n{}"), b"warned \xff")
    assert (answer.result, answer.stdout, answer.stderr) == ([1], "hello\nworld\n\n{}", "warned \ufffd")
    assert (answer.cpu_seconds, answer.peak_memory) == (0.1, 5)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ({"why": "time"}, CodeTimeout),
        ({"why": "output"}, CodeTooMuchOutput),
        ({"code": -24}, CodeTimeout),
        ({"code": -9, "cpu": 2.0}, CodeTimeout),
        ({"code": -9, "starved": True}, CodeOutOfMemory),
        ({"code": -9}, CodeFailed),
        ({"code": 0}, CodeFailed),
        ({"code": None}, CodeFailed),
    ],
)
def test_how_the_process_ended_tells_the_limit_that_ended_it(ending: dict[str, Any], kind: type[Problem]) -> None:
    assert type(problem(**ending)) is kind


@pytest.mark.parametrize(
    "words",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"error": 5}',
        b'{"error": {"line": "x"}}',
        b'{"error": {"trace": [[1]]}}',
        b'{"error": {"trace": 7, "message": "x"}}',
        b'{"result": ' + b"[" * 100_000,
        b'{"result": NaN}',
        b'{"result": "\xff"}',
    ],
)
def test_words_of_another_shape_are_a_failure_of_the_code(words: bytes) -> None:
    assert problem(words).code == "code_failed"


def test_long_words_are_cut() -> None:
    told = problem(json.dumps({"error": {"message": "x" * 10_000, "trace": [[1, "y" * 1000]] * 100}}).encode())
    assert isinstance(told, CodeFailed)
    assert len(told.detail) <= 4001
    assert len(told.trace) == 50
    assert len(told.trace[0][1]) == 200


@pytest.mark.parametrize("head", [b"", b"{}", b"no", b'{"size": -1}', b'{"size": 3, "code": "x"}', b"[" * 10_000])
def test_a_frame_with_a_broken_head_is_a_failure_of_the_code(head: bytes) -> None:
    question = Question(Job(code="", limits=LIMITS))
    nonce = json.loads(question.wire.partition(b"\n")[2])["nonce"].encode()
    with pytest.raises(CodeFailed):
        question.answer(b"\n" + nonce + head + b'\n{"result": 1}', b"")


def test_an_answer_that_was_cut_short_is_none() -> None:
    question = Question(Job(code="", limits=LIMITS))
    with pytest.raises(CodeFailed):
        question.answer(framed(question, b'{"result": 12345}')[:-3], b"")


def test_too_much_print_is_told_although_there_is_a_result() -> None:
    question = Question(Job(code="", limits=LIMITS))
    with pytest.raises(CodeTooMuchOutput):
        question.answer(framed(question, b'{"result": 1}', b"x" * 1001), b"")
    with pytest.raises(CodeTooMuchOutput):
        question.answer(framed(question, b'{"result": 1}'), b"x" * 1001)


def test_memory_that_ran_out_inside_a_process_is_told_as_such() -> None:
    told = problem(b'{"error": {"type": "MemoryError", "message": "MemoryError", "line": 3}}')
    assert isinstance(told, CodeOutOfMemory)
    assert "line 3" in told.detail
