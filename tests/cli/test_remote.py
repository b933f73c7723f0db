"""The commands that speak to a running server (S9, S55)."""

import json
import re
import uuid
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import EXAMPLES, SCRIPT, Command


@pytest.fixture
def agent(server_command: Command, tmp_path: Path) -> str:
    """Create an agent with a name of its own, as a draft."""
    name = f"a-{uuid.uuid4().hex[:12]}"
    file = tmp_path / "agent.yaml"
    file.write_text(f"name: {name}\ndescription: one\ntools: [calculator]\n")
    created = server_command("agent", "create", str(file))
    assert created.returncode == 0, created.stderr
    return name


def _get(command: Command, name: str) -> dict[str, object]:
    return json.loads(command("agent", "get", name, "-o", "json").stdout)


def test_an_agent_goes_through_its_life_by_commands_alone(server_command: Command, agent: str, tmp_path: Path) -> None:
    assert _get(server_command, agent)["status"] == "draft"
    assert server_command("agent", "deploy", agent).returncode == 0
    second = tmp_path / "second.yaml"
    second.write_text(f"name: {agent}\ndescription: two\n")
    edited = server_command("agent", "edit", agent, "--file", str(second))
    assert edited.returncode == 0, edited.stderr
    assert _get(server_command, agent)["latest_version"] == 2
    assert _get(server_command, agent)["deployed_version"] == 1
    assert server_command("agent", "deploy", agent).returncode == 0
    assert server_command("agent", "rollback", agent).returncode == 0
    assert _get(server_command, agent)["deployed_version"] == 1
    versions = json.loads(server_command("agent", "versions", agent, "-o", "json").stdout)
    assert [v["number"] for v in versions] == [2, 1]
    assert server_command("agent", "pause", agent).returncode == 0
    assert _get(server_command, agent)["status"] == "paused"
    archived = server_command("agent", "archive", agent)
    assert archived.stdout == f"{agent} is archived\n"
    assert server_command("agent", "get", agent).returncode == 1


def test_listings_are_tables_for_people_and_documents_for_programs(server_command: Command, agent: str) -> None:
    table = server_command("agent", "list", "--limit", "100").stdout
    assert re.search(rf"agt_\S+ +{agent} +draft", table)
    rows = yaml.safe_load(server_command("agent", "list", "--limit", "100", "-o", "yaml").stdout)
    assert agent in [row["name"] for row in rows]


def test_an_agent_can_be_named_by_its_id(server_command: Command, agent: str) -> None:
    identity = str(_get(server_command, agent)["id"])
    assert _get(server_command, identity)["name"] == agent


def test_a_file_with_a_team_creates_those_first_that_others_call(server_command: Command) -> None:
    created = server_command("agent", "create", str(EXAMPLES / "team.yaml"), "-o", "json")
    assert created.returncode == 0, created.stderr
    assert [row["name"] for row in json.loads(created.stdout)] == ["accountant", "timekeeper", "desk"]


def test_a_second_agent_of_the_same_name_is_refused(server_command: Command, agent: str, tmp_path: Path) -> None:
    result = server_command("agent", "create", str(tmp_path / "agent.yaml"))
    assert result.returncode == 1
    assert agent in result.stderr or "name" in result.stderr


def test_a_file_is_validated_without_creating_anything(server_command: Command, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("name: never-made\ntools: [calculator]\n")
    bad.write_text("name: never-made\ntools: [calculator, teleport]\n")
    assert server_command("agent", "validate", str(good)).stdout == "never-made: valid\n"
    refused = server_command("agent", "validate", str(bad))
    assert refused.returncode == 1
    assert "/tools/1: " in refused.stderr
    assert server_command("agent", "get", "never-made").returncode == 1


def test_editing_needs_a_terminal_or_a_file(server_command: Command, agent: str) -> None:
    result = server_command("agent", "edit", agent)
    assert result.returncode == 2
    assert "--file" in result.stderr


def _editor(tmp_path: Path, script: str) -> str:
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    return str(editor)


def test_an_editor_at_the_terminal_makes_a_new_version(server_command: Command, agent: str, tmp_path: Path) -> None:
    editor = _editor(tmp_path, 'sed -i "s/description: one/description: two/" "$1"')
    code, shown = server_command.at_terminal("agent", "edit", agent, env={"EDITOR": editor})
    assert code == 0, shown
    changed = _get(server_command, agent)
    assert changed["description"] == "two"
    assert changed["latest_version"] == 2


def test_an_edit_that_changes_nothing_makes_no_version(server_command: Command, agent: str, tmp_path: Path) -> None:
    code, shown = server_command.at_terminal("agent", "edit", agent, env={"EDITOR": _editor(tmp_path, "true")})
    assert code == 0
    assert "nothing changed" in shown
    assert _get(server_command, agent)["latest_version"] == 1


def test_an_edit_that_lost_a_race_is_told_and_its_text_is_kept(
    server_command: Command, agent: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"name: {agent}\ndescription: quicker\n")
    # while the editor is open, somebody else saves
    editor = _editor(
        tmp_path,
        f'{SCRIPT} agent edit {agent} --file {other} >/dev/null && sed -i "s/description: one/description: two/" "$1"',
    )
    code, shown = server_command.at_terminal("agent", "edit", agent, env={"EDITOR": editor})
    assert code == 1
    kept = re.search(r"your text is kept in (\S+)", shown)
    assert kept is not None, shown
    assert _get(server_command, agent)["description"] == "quicker"


def test_an_editor_that_fails_changes_nothing(server_command: Command, agent: str, tmp_path: Path) -> None:
    code, shown = server_command.at_terminal("agent", "edit", agent, env={"EDITOR": _editor(tmp_path, "exit 3")})
    assert code == 1
    assert "editor" in shown
    assert _get(server_command, agent)["latest_version"] == 1


def test_runs_and_conversations_can_be_looked_into(server_command: Command, agent: str) -> None:
    server_command("agent", "deploy", agent)
    said = server_command("chat", agent, stdin="What is 6 * 7?\n")
    assert "42" in said.stdout, said.stderr
    sessions = json.loads(server_command("session", "list", "--agent", agent, "-o", "json").stdout)
    assert len(sessions) == 1
    shown = server_command("session", "messages", sessions[0]["id"]).stdout
    assert shown.startswith("user: What is 6 * 7?\n")
    assert "→ calculator" in shown
    assert "← 42" in shown
    runs = json.loads(server_command("runs", "list", "-o", "json").stdout)
    run = next(r for r in runs if r["session_id"] == sessions[0]["id"])
    assert json.loads(server_command("runs", "get", run["id"], "-o", "json").stdout)["status"] == "completed"
    steps = json.loads(server_command("runs", "steps", run["id"], "-o", "json").stdout)
    assert [s["kind"] for s in steps] == ["model", "tool", "model"]
    events = [json.loads(line) for line in server_command("runs", "events", run["id"]).stdout.splitlines()]
    assert events[0]["type"] == "run.started"
    assert events[-1]["type"] == "run.completed"
    late = server_command("runs", "cancel", run["id"])
    assert late.returncode == 1


def test_a_conversation_at_the_terminal_has_its_commands(server_command: Command, agent: str) -> None:
    server_command("agent", "deploy", agent)
    code, shown = server_command.at_terminal(
        "chat",
        agent,
        typed={
            "you> ": "What is 6 * 7?\n",
            "The result is 42.": "/history\n",
            "assistant> ": "/what\n",
            "/exit leaves": "/new\n",
            "is new": "/exit\n",
        },
    )
    assert code == 0, shown
    assert "user> What is 6 * 7?" in shown


def test_ctrl_c_at_the_prompt_leaves(server_command: Command, agent: str) -> None:
    server_command("agent", "deploy", agent)
    code, _ = server_command.at_terminal("chat", agent, typed={"you> ": "\x03"})
    assert code == 0


def test_ctrl_c_in_an_answer_stops_that_answer_and_the_run(
    server_command: Command, agent: str, tmp_path: Path, model_server_port: int
) -> None:
    file = tmp_path / "endless.yaml"
    file.write_text(f"name: {agent}\nmodel: here:endless\n")
    server_command("agent", "edit", agent, "--file", str(file))
    server_command("agent", "deploy", agent)
    said = '{"endless": true, "pause": 0.05}'
    code, shown = server_command.at_terminal(
        "chat", agent, typed={"you> ": f"{said}\n", f"{said}\r\n": "", " ": "\x03", "stopped": "/exit\n"}
    )
    assert code == 0, shown
    runs = json.loads(server_command("runs", "list", "-o", "json").stdout)
    identity = str(_get(server_command, agent)["id"])
    assert [r["status"] for r in runs if r["agent_id"] == identity] == ["cancelled"]


def test_a_call_that_needs_consent_waits_for_the_person_at_the_terminal(
    server_command: Command, agent: str, tmp_path: Path
) -> None:
    file = tmp_path / "careful.yaml"
    file.write_text(f"name: {agent}\ntools: [{{use: calculator, permission: ask}}]\n")
    server_command("agent", "edit", agent, "--file", str(file))
    server_command("agent", "deploy", agent)
    code, shown = server_command.at_terminal(
        "chat", agent, typed={"you> ": "What is 6 * 7?\n", "Allow it?": "y\n", "no language model": "/exit\n"}
    )
    assert code == 0, shown
    assert "The result is 42." in shown


def test_a_waiting_run_can_be_decided_later(server_command: Command, agent: str, tmp_path: Path) -> None:
    file = tmp_path / "careful.yaml"
    file.write_text(f"name: {agent}\ntools: [{{use: calculator, permission: ask}}]\n")
    server_command("agent", "edit", agent, "--file", str(file))
    server_command("agent", "deploy", agent)
    asked = server_command("chat", agent, stdin="What is 6 * 7?\n")
    assert asked.returncode == 4
    decide = re.search(r"agent-factory runs approve (run_\w+)", asked.stderr)
    assert decide is not None, asked.stderr
    assert server_command("runs", "approve", decide[1]).stdout == f"{decide[1]} is completed\n"
    assert server_command("runs", "deny", decide[1]).returncode == 1


def test_a_key_is_shown_once_and_refused_once_revoked(server_command: Command) -> None:
    made = json.loads(server_command("key", "create", "for a test", "-o", "json").stdout)
    other = {"AF_API_KEY": made["key"]}
    assert server_command("agent", "list", env=other).returncode == 0
    listed = server_command("key", "list", "-o", "json").stdout
    assert made["id"] in listed
    assert made["key"] not in listed
    assert server_command("key", "revoke", made["id"]).returncode == 0
    row = next(r for r in json.loads(server_command("key", "list", "-o", "json").stdout) if r["id"] == made["id"])
    assert row["revoked_at"] is not None


def test_a_wrong_key_is_exit_code_4(server_command: Command) -> None:
    result = server_command("agent", "list", env={"AF_API_KEY": "af_aaaaaaaaaaaa_" + "b" * 43})
    assert result.returncode == 4
    assert result.stderr.startswith("error: ")


def test_templates_models_and_tools_are_listed(server_command: Command) -> None:
    templates = json.loads(server_command("template", "list", "-o", "json").stdout)
    assert len(templates) >= 10
    name = f"t-{uuid.uuid4().hex[:12]}"
    used = server_command("template", "use", templates[0]["name"], "--name", name, "-o", "json")
    assert used.returncode == 0, used.stderr
    assert json.loads(used.stdout)["name"] == name
    assert "definition" in server_command("template", "show", templates[0]["name"]).stdout
    assert "demo" in server_command("model", "list").stdout
    tools = server_command("tool", "list").stdout
    assert "calculator" in tools
    assert "web_search" in tools


def test_something_unknown_is_one_clear_line(server_command: Command) -> None:
    for arguments in (("agent", "get", "nobody"), ("agent", "get", "agt_nonsense"), ("runs", "get", "run_nonsense")):
        result = server_command(*arguments)
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1


def test_an_agent_that_is_not_deployed_says_so(server_command: Command, agent: str) -> None:
    result = server_command("chat", agent, stdin="hi\n")
    assert result.returncode == 1
    assert "deploy" in result.stderr


def test_without_a_server_or_a_key_the_way_to_one_is_told(command: Command) -> None:
    result = command("agent", "list")
    assert result.returncode == 4
    assert "agent-factory up" in result.stderr
    result = command("agent", "list", env={"AF_API_KEY": "af_x", "AF_URL": "http://127.0.0.1:9"})
    assert result.returncode == 1
    assert "No server answers at http://127.0.0.1:9. Start one with: agent-factory up" in result.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port"])
def test_an_address_that_is_none_says_how_one_looks(command: Command, url: str) -> None:
    result = command("agent", "list", env={"AF_API_KEY": "af_x", "AF_URL": url})
    assert result.returncode == 1
    assert "http://HOST:PORT" in result.stderr


def test_the_kept_key_can_be_shown_to_another_program(server_command: Command) -> None:
    assert re.fullmatch(r"af_[0-9a-z]{12}_[\w-]{43}\n", server_command("key", "show").stdout)
