"""`agent-factory run`: an agent from a file, in this process (S9, S80)."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import EXAMPLES, SCRIPT, SUPPORT, Command

QUESTION = "What is 17.5 % of 2340, rounded to cents?"


def test_the_answer_goes_to_stdout_and_each_tool_call_to_stderr(command: Command) -> None:
    result = command("run", SUPPORT, QUESTION)
    assert result.returncode == 0, result.stderr
    assert "409.50" in result.stdout
    assert '→ calculator {"expression":"round(2340 * 17.5 / 100, 2)"}' in result.stderr
    assert "← 409.50" in result.stderr
    assert "→" not in result.stdout


def test_the_demo_says_that_it_is_no_language_model(command: Command) -> None:
    result = command("run", SUPPORT, "hello")
    assert "no language model" in result.stdout
    assert "no language model" in result.stderr
    assert "OPENAI_API_KEY" in result.stderr


def test_a_message_can_be_piped_in(command: Command) -> None:
    result = command("run", SUPPORT, stdin=f"{QUESTION}\n")
    assert result.returncode == 0
    assert "409.50" in result.stdout


def test_an_empty_pipe_is_a_usage_error(command: Command) -> None:
    result = command("run", SUPPORT, stdin="  \n")
    assert result.returncode == 2
    assert "the message on stdin is empty" in result.stderr


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_answer_with_usage_as_one_document(command: Command, form: str, read: type) -> None:
    result = command("run", SUPPORT, QUESTION, "-o", form)
    document = read(result.stdout)
    assert "409.50" in document["text"]
    assert document["usage"]["input_tokens"] > 0
    assert document["cost_usd"] == "0"


def test_a_table_shows_field_by_field(command: Command) -> None:
    result = command("run", SUPPORT, QUESTION, "-o", "table")
    assert result.stdout.startswith("text")
    assert "usage" in result.stdout


def test_structured_output_arrives_as_a_document(command: Command) -> None:
    result = command("run", str(EXAMPLES / "extract.yaml"), "Invoice 4711", "-o", "json")
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)["output"]) == {"number", "total", "currency", "items"}


def test_without_streaming_the_same_answer_comes_whole(command: Command) -> None:
    assert command("run", SUPPORT, QUESTION, "--no-stream").stdout == command("run", SUPPORT, QUESTION).stdout


def test_a_team_answers_through_its_members(command: Command) -> None:
    result = command("run", str(EXAMPLES / "team.yaml"), "Ask the accountant: what is 19 % of 1250?")
    assert result.returncode == 0, result.stderr
    assert "237.5" in result.stdout
    assert "→ accountant" in result.stderr
    assert "  → calculator" in result.stderr


def test_one_agent_of_a_file_can_be_named(command: Command) -> None:
    result = command("run", str(EXAMPLES / "team.yaml"), "What is 19 % of 1250?", "--agent", "accountant")
    assert "237.5" in result.stdout
    assert "→ accountant" not in result.stderr


def test_a_wrong_agent_name_lists_the_right_ones(command: Command) -> None:
    result = command("run", str(EXAMPLES / "team.yaml"), "hi", "--agent", "boss")
    assert result.returncode == 2
    assert "there is no agent 'boss': desk, accountant, timekeeper" in " ".join(result.stderr.replace("│", "").split())


def test_several_agents_that_nobody_calls_have_to_be_chosen_from(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "apiVersion: agentfactory.dev/v1\nkind: Blueprint\nmetadata: {name: two}\nspec: {agents: {a: {}, b: {}}}\n"
    )
    result = command("run", str(file), "hi")
    assert result.returncode == 2
    assert "choose one of several agents: a, b" in " ".join(result.stderr.replace("│", "").split())


def test_a_missing_file_is_a_usage_error(command: Command) -> None:
    result = command("run", "nowhere.yaml", "hi")
    assert result.returncode == 2
    assert "nowhere.yaml" in result.stderr


def test_broken_yaml_is_named_with_its_line(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("name: x\ntools: [calculator\n")
    result = command("run", str(file), "hi")
    assert result.returncode == 1
    assert "broken.yaml" in result.stderr
    assert "line" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_fields_are_named_by_pointer_all_at_once(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "faulty.yaml"
    file.write_text("name: x\ntoolz: []\nlimits: {steps: 0}\n")
    result = command("run", str(file), "hi")
    assert result.returncode == 1
    assert "/toolz: " in result.stderr
    assert "/limits/steps: " in result.stderr
    assert "[validation_failed]" in result.stderr


def test_an_unknown_tool_is_named_by_pointer(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "tool.yaml"
    file.write_text("name: x\ntools: [calculator, teleport]\n")
    result = command("run", str(file), "hi")
    assert result.returncode == 1
    assert "/tools/1: " in result.stderr
    assert "teleport" in result.stderr


@pytest.mark.parametrize("model", ["nonsense", "openai:gpt-5-mini"])
def test_an_unknown_or_unconfigured_model_says_what_to_do(command: Command, model: str) -> None:
    result = command("run", SUPPORT, "hi", "--model", model)
    assert result.returncode == 1
    assert "[unknown_model]" in result.stderr
    assert "openai" in result.stderr


def test_a_limit_that_is_reached_is_exit_code_5(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "tight.yaml"
    file.write_text("name: x\ntools: [calculator]\nlimits: {steps: 1}\n")
    result = command("run", str(file), QUESTION)
    assert result.returncode == 5
    assert "[step_limit_exceeded]" in result.stderr


def test_what_a_guardrail_blocks_is_exit_code_4(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "guarded.yaml"
    file.write_text("name: x\nguardrails: [{use: pii, on: [input], action: block}]\n")
    result = command("run", str(file), "Write to jane.doe@example.com")
    assert result.returncode == 4
    assert "[guardrail_blocked]" in result.stderr
    assert result.stdout == ""


def test_a_call_that_needs_consent_is_denied_where_nobody_can_be_asked(command: Command, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("the treasure")
    result = command("run", str(EXAMPLES / "notes.yaml"), "Read the file secret.md", "--workspace", str(tmp_path))
    assert result.returncode == 4
    assert "[approval_missing]" in result.stderr
    assert "treasure" not in result.stdout + result.stderr


@pytest.mark.parametrize(("answer", "allowed"), [("y", True), ("n", False)])
def test_a_person_at_the_terminal_is_asked_before_the_call(
    command: Command, tmp_path: Path, answer: str, allowed: bool
) -> None:
    (tmp_path / "secret.md").write_text("the treasure")
    code, shown = command.at_terminal(
        "run",
        str(EXAMPLES / "notes.yaml"),
        "Read the file secret.md",
        "--workspace",
        str(tmp_path),
        typed={"Allow it?": f"{answer}\n"},
    )
    assert code == 0
    assert ("treasure" in shown) is allowed
    assert shown.count("(This is the built-in demo") == 1


def test_an_unknown_setting_is_one_clear_line(command: Command) -> None:
    result = command("run", SUPPORT, "hi", env={"AF_MODELS__DEFALT": "demo"})
    assert result.returncode == 1
    assert "AF_MODELS__DEFALT" in result.stderr
    assert "[bad_setting]" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_setting_of_a_wrong_type_names_the_variable(command: Command) -> None:
    result = command("run", SUPPORT, "hi", env={"AF_DATABASE__POOL_SIZE": "many"})
    assert result.returncode == 1
    assert "AF_DATABASE__POOL_SIZE: " in result.stderr


def test_debug_shows_where_an_error_comes_from(command: Command) -> None:
    result = command("--debug", "run", SUPPORT, "hi", "--model", "nonsense")
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("extra", [{}, {"NO_COLOR": "1"}])
def test_a_pipe_never_gets_escape_sequences(command: Command, extra: dict[str, str]) -> None:
    result = command("run", SUPPORT, QUESTION, env=extra)
    assert "\x1b" not in result.stdout + result.stderr


def test_a_terminal_gets_dim_notes_unless_no_color_is_set(command: Command) -> None:
    assert "\x1b[2m" in command.at_terminal("run", SUPPORT, QUESTION)[1]
    code, plain = command.at_terminal("run", SUPPORT, QUESTION, env={"NO_COLOR": "1"})
    assert code == 0
    assert "409.50" in plain
    assert "\x1b[3" not in plain  # no colour; NO_COLOR does not speak of weight


def test_help_is_there_for_every_noun(command: Command) -> None:
    top = command("--help")
    assert top.returncode == 0
    for noun in ("run", "chat", "up", "doctor", "agent", "session", "runs", "key", "template", "model", "tool"):
        assert noun in top.stdout
        assert command(noun, "--help").returncode == 0


def test_help_imports_neither_the_server_nor_a_database_driver(environment: dict[str, str]) -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom agent_factory.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'fastapi', 'sqlalchemy', 'asyncpg', 'aiohttp', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [SCRIPT.parent / "python", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_a_usage_error(command: Command) -> None:
    assert command("fly").returncode == 2


def test_a_shell_completes_nouns_and_verbs(command: Command) -> None:
    ask = {"_AGENT_FACTORY_COMPLETE": "complete_bash", "COMP_WORDS": "agent-factory agent dep", "COMP_CWORD": "2"}
    assert command(env=ask).stdout.split() == ["deploy"]
