"""What a terminal shows of a turn."""

import pytest

from agent_factory.cli.screen import Screen
from agent_factory.core.event import TextPiece, ToolFinished

_TOOL = ToolFinished(path="model/1/tool/0", call_id="1", name="calculator", content="42")


def test_an_answer_that_came_in_pieces_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show(TextPiece("It is "))
    screen.show(TextPiece("42."))
    screen.complete("It is 42.")
    screen.end()
    assert capsys.readouterr().out == "It is 42.\n"


def test_an_answer_that_was_given_while_nobody_watched_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show(TextPiece("Let me see."))
    screen.show(_TOOL)
    screen.complete("It is 42.")
    screen.end()
    assert capsys.readouterr().out == "Let me see.\nIt is 42.\n"
