"""What holds in every tier alike (S92, S93)."""

import textwrap
from typing import Any

import pytest

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox.errors import CodeFailed, CodeOutOfMemory, CodeTimeout, CodeTooMuchOutput
from agent_factory.runtime.sandbox.job import Job, Runner
from tests.runtime.sandbox.conftest import CONTAINER, QUICK


def written(code: str) -> str:
    return textwrap.dedent(code).strip()


async def failing(tier: Runner, code: str, limits: CodeLimits = QUICK) -> CodeFailed:
    with pytest.raises(CodeFailed) as caught:
        await tier.run(Job(code=written(code), limits=limits))
    return caught.value


async def test_code_reads_its_inputs_and_gives_what_it_assigns_to_result(tier: Runner) -> None:
    inputs = {
        "names": ["Ada", "Grüße", "日本"],
        "n": 3,
        "share": 0.25,
        "none": None,
        "yes": True,
        "deep": {"a": [1, {"b": 2}]},
    }
    code = "result = {'back': inputs, 'first': inputs['names'][0], 'sum': sum(range(inputs['n']))}"
    done = await tier.run(Job(code=code, inputs=inputs, limits=QUICK))
    assert done.result == {"back": inputs, "first": "Ada", "sum": 3}


async def test_code_without_a_result_gives_null(tier: Runner) -> None:
    assert (await tier.run(Job(code="x = 1", limits=QUICK))).result is None


async def test_what_code_prints_is_told_with_its_result(tier: Runner) -> None:
    done = await tier.run(Job(code="print('one')\nprint('zwei ü')\nresult = 1", limits=QUICK))
    assert (done.stdout, done.result) == ("one\nzwei ü\n", 1)
    assert done.duration_ms >= 0


async def test_an_exception_is_told_with_its_type_its_text_and_its_line(tier: Runner) -> None:
    problem = await failing(tier, "def half(x):\n    return 1 / x\n\nprint('before')\nhalf(0)")
    assert problem.detail == "ZeroDivisionError: division by zero (line 2)."
    assert problem.line == 2
    assert [line for line, _ in problem.trace] == [5, 2]
    assert problem.stdout == "before\n"


async def test_a_syntax_error_is_told_with_its_line(tier: Runner) -> None:
    problem = await failing(tier, "x = 1\ny = = 2")
    assert problem.detail.startswith("SyntaxError: ")
    assert problem.line == 2


@pytest.mark.parametrize(
    "expression",
    [
        "{1, 2}",
        "b'bytes'",
        "object",
        "{1: 2}",
        "float('nan')",
        "float('inf')",
        "2 ** 64",
        "-(2 ** 63) - 1",
        "[[{1: 2}]]",
    ],
)
async def test_a_result_that_json_cannot_carry_unchanged_is_refused(tier: Runner, expression: str) -> None:
    assert (await failing(tier, f"result = {expression}")).code == "code_failed"


async def test_a_result_that_holds_itself_is_refused(tier: Runner) -> None:
    await failing(tier, "result = []\nresult.append(result)")


async def test_a_result_of_endless_depth_is_refused(tier: Runner) -> None:
    await failing(tier, "result = 1\nfor _ in range(100000):\n    result = [result]")


@pytest.mark.parametrize(
    "value", [2**64 - 1, -(2**63), 0.1, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), []]
)
async def test_values_at_the_edge_of_json_come_back_as_they_are(tier: Runner, value: Any) -> None:
    assert (await tier.run(Job(code="result = inputs['x']", inputs={"x": value}, limits=QUICK))).result == value


async def test_an_endless_loop_ends_with_its_processor_time(tier: Runner) -> None:
    limits = QUICK.model_copy(update={"cpu_seconds": 0.5})
    with pytest.raises(CodeTimeout, match=r"processor time"):
        await tier.run(Job(code="while True:\n    pass", limits=limits))


async def test_sleep_past_the_limit_ends_with_the_time_on_the_clock(tier: Runner) -> None:
    limits = QUICK.model_copy(update={"seconds": 0.5})
    with pytest.raises(CodeTimeout, match=r"within 0.5 s"):
        await tier.run(Job(code="import time\ntime.sleep(1000)", limits=limits))


async def test_endless_recursion_is_the_codes_own_failure(tier: Runner) -> None:
    problem = await failing(tier, "def f():\n    return f()\nf()")
    assert problem.detail.startswith("RecursionError")


async def test_a_flood_of_output_is_cut(tier: Runner) -> None:
    with pytest.raises(CodeTooMuchOutput, match=r"100000 bytes"):
        await tier.run(Job(code="while True:\n    print('x' * 1000)", limits=QUICK))


async def test_a_result_that_is_too_large_is_refused(tier: Runner) -> None:
    with pytest.raises(CodeTooMuchOutput):
        await tier.run(Job(code="result = 'x' * 200000", limits=QUICK))


@pytest.mark.parametrize("tier", ["snippet", "sandbox", CONTAINER], indirect=True)
async def test_a_memory_hog_is_ended(tier: Runner) -> None:
    """A stand-in for a cluster bounds no memory; how a real one reports it has a test of its own."""
    with pytest.raises(CodeOutOfMemory):
        await tier.run(Job(code="x = []\nwhile True:\n    x.append('x' * 1000000)", limits=QUICK))


async def test_code_in_tatters_is_refused_without_harm(tier: Runner) -> None:
    for code in (
        "\0",
        "(" * 5000,
        "x = '''",
        "é" * 50,
        "\\",
        "#",
        "result = 1 #\\",
        "\ud800",
        "if True:\n\t1\n        2",
    ):
        try:
            await tier.run(Job(code=code, limits=QUICK))
        except CodeFailed as problem:
            assert problem.detail  # noqa: PT017 - some of these are no faults
