"""How commands print what they found."""

import json

import pytest
import yaml

from agent_factory.cli.output import Format, show

ROWS = [
    {"id": "agt_1", "name": "support", "ok": True, "tags": ["a"], "note": None},
    {"id": "agt_2", "name": "[bold]émile[/bold]", "ok": False, "tags": [], "note": "x"},
]


def test_json_and_yaml_hold_the_whole_data(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, Format.JSON, ("id",))
    assert json.loads(capsys.readouterr().out) == ROWS
    show(ROWS, Format.YAML, ("id",))
    assert yaml.safe_load(capsys.readouterr().out) == ROWS


def test_a_table_shows_the_chosen_columns_and_takes_no_markup_from_the_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(ROWS, Format.TABLE, ("name", "ok", "note"))
    out = capsys.readouterr().out
    assert out.split("\n")[0].split() == ["name", "ok", "note"]
    assert "[bold]émile[/bold]" in out
    assert "agt_1" not in out
    assert "\x1b" not in out


def test_a_table_in_a_pipe_never_cuts_an_id(capsys: pytest.CaptureFixture[str]) -> None:
    identity = "agt_" + "0" * 26
    show([{"id": identity, "name": "n" * 60, "status": "deployed"}], Format.TABLE)
    assert identity in capsys.readouterr().out


def test_an_empty_listing_says_so_beside_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    show([], Format.TABLE)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nothing here yet\n"


def test_an_empty_listing_is_an_empty_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show([], Format.JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_one_object_is_shown_field_by_field(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS[0], Format.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "id    agt_1",
        "name  support",
        "ok    yes",
        'tags  ["a"]',
        "note  -",
    ]
