"""`agent-factory workflow run` and `validate`: a workflow from a file, in this process (S83-S89)."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import EXAMPLES, SCRIPT, Command

FLOWS = EXAMPLES / "workflows"
ORDERS = str(FLOWS / "orders.yaml")
ORDER = f"@{FLOWS / 'order.json'}"
SMALL = '{"customer": "Bob", "card": "4111", "lines": [{"article": "lamp", "pieces": 2, "price": 5}]}'
DECLINED = SMALL.replace("4111", "0000")


def write(folder: Path, text: str) -> str:
    file = folder / "flow.yaml"
    file.write_text(text)
    return str(file)


def test_the_specifications_sample_runs_with_its_targets_as_labels(command: Command) -> None:
    """S83, merge 8."""
    result = command("workflow", "run", str(FLOWS / "support_routing.json"), "--input", '{"message": "charged twice"}')
    assert result.returncode == 0, result.stderr
    assert result.stdout == "billing_handler\n"
    assert "✓ classify_intent (ai_inference" in result.stderr
    assert "no language model" in result.stderr


def test_tasks_go_to_stderr_and_the_output_to_stdout(command: Command) -> None:
    result = command("workflow", "run", ORDERS, "--input", SMALL)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"text": "Dear Bob, your order for 10.0 EUR: booked.", "total": 10.0}
    assert "✓ amount [0] (tool" in result.stderr
    assert "✓ book (try" in result.stderr


def test_a_failure_that_is_caught_is_shown_with_what_was_undone(command: Command) -> None:
    result = command("workflow", "run", ORDERS, "--input", DECLINED)
    assert result.returncode == 0, result.stderr
    assert "not booked (code_failed)" in result.stdout
    assert "✗ pay (code" in result.stderr
    assert "reserve/undo" in result.stderr


def test_without_a_terminal_an_approval_is_denied_access(command: Command) -> None:
    result = command("workflow", "run", ORDERS, "--input", ORDER)
    assert result.returncode == 4
    assert "[approval_missing]" in result.stderr


@pytest.mark.parametrize(("decision", "told"), [("approve", "booked"), ("deny", "not allowed")])
def test_approvals_can_be_decided_beforehand(command: Command, decision: str, told: str) -> None:
    result = command("workflow", "run", ORDERS, "--input", ORDER, "--decide", decision, "--quiet")
    assert result.returncode == 0, result.stderr
    assert f"598.6 EUR: {told}." in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(("said", "told"), [("y", "booked"), ("n", "not allowed")])
def test_a_person_at_the_terminal_is_asked(command: Command, said: str, told: str) -> None:
    """S85."""
    typed = {"Approve?": f"{said}\n", "Comment": "\n"}
    code, shown = command.at_terminal("workflow", "run", ORDERS, "--input", ORDER, typed=typed)
    assert code == 0, shown
    assert "Sell goods for 598.6 EUR to Ada?" in shown
    assert "article: chair" in shown
    assert f"598.6 EUR: {told}." in shown


def test_ctrl_c_at_a_question_ends_the_run(command: Command) -> None:
    code, shown = command.at_terminal("workflow", "run", ORDERS, "--input", ORDER, typed={"Approve?": "\x03"})
    assert code != 0
    assert "booked" not in shown


def test_ctrl_c_cancels_what_runs(command: Command, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "name: slow\ntasks:\n"
        "  - {id: first, type: transform, config: {value: 1}, next: pause}\n"
        "  - {id: pause, type: wait, config: {seconds: 3600}}\n",
    )
    with subprocess.Popen(
        [SCRIPT, "workflow", "run", file], env=command.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "waits until" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "cancelled" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_status_output_and_usage_as_one_document(command: Command, form: str, read: Any) -> None:
    digest = str(FLOWS / "digest.yaml")
    result = command("workflow", "run", digest, "--input", '{"texts": ["Rain.", "Sun."]}', "-o", form)
    assert result.returncode == 0, result.stderr
    document = read(result.stdout)
    assert document["status"] == "completed"
    assert document["output"]["texts"] == 2
    assert document["usage"]["input_tokens"] > 0
    assert document["cost_usd"] == "0"
    assert document["error"] is None


def test_a_table_shows_field_by_field(command: Command) -> None:
    result = command("workflow", "run", ORDERS, "--input", SMALL, "-o", "table")
    assert result.stdout.startswith("status")


def test_timers_are_waited_for_here(command: Command, tmp_path: Path) -> None:
    """S84."""
    file = write(tmp_path, "name: pause\ntasks: [{id: pause, type: wait, config: {seconds: 1.2}}]\n")
    result = command("workflow", "run", file, "-o", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["duration_ms"] >= 1200
    assert "⏸ waits until" in result.stderr
    assert "✓ pause (wait" in result.stderr


def test_an_event_of_the_run_itself_ends_its_wait_and_one_from_outside_cannot_come(
    command: Command, tmp_path: Path
) -> None:
    """S90."""
    text = """\
name: events
tasks:
  - {id: hear, type: wait, config: {event: {type: order.paid, match: event.order == 7}}, depends_on: []}
  - {id: settle, type: wait, config: {seconds: 0.1}, depends_on: [], next: tell}
  - {id: tell, type: emit, config: {type: order.paid, data: {order: 7}}}
output: "{{ hear.output.order }}"
"""
    result = command("workflow", "run", write(tmp_path, text))
    assert result.returncode == 0, result.stderr
    assert result.stdout == "7\n"
    result = command("workflow", "run", write(tmp_path, text.replace("order: 7", "order: 8")))
    assert result.returncode == 1
    assert "waits for the event order.paid" in result.stderr


def test_retries_are_shown_and_a_failure_names_its_task(command: Command, tmp_path: Path) -> None:
    """S88."""
    text = """\
name: fails
tasks:
  - id: pay
    type: code
    config: {tier: snippet, code: "raise ValueError('no')"}
    retry: {attempts: 2, backoff: 0.01, on: [code_failed]}
"""
    result = command("workflow", "run", write(tmp_path, text), "-o", "json")
    assert result.returncode == 1
    assert "↻ pay: code_failed, trying again" in result.stderr
    assert "error: at pay: " in result.stderr
    document = json.loads(result.stdout)
    assert document["status"] == "failed"
    assert document["error"]["path"] == "pay"


def test_faults_of_a_definition_are_named_by_pointer_as_a_usage_error(command: Command, tmp_path: Path) -> None:
    """S89."""
    file = write(tmp_path, "name: x\ntasks: [{id: a, type: transfrom, next: b}]\n")
    for verb in ("run", "validate"):
        result = command("workflow", verb, file)
        assert result.returncode == 2
        assert "/tasks/0/type: " in result.stderr
        assert "Traceback" not in result.stderr


def test_names_that_lead_nowhere_are_named_by_pointer_before_anything_runs(command: Command, tmp_path: Path) -> None:
    text = """\
name: x
tasks:
  - {id: ask, type: agent, config: {agent: nobody, message: hi}, depends_on: []}
  - {id: use, type: tool, config: {tool: teleport}, depends_on: []}
  - {id: other, type: subworkflow, config: {workflow: nowhere}, depends_on: []}
  - {id: think, type: ai_inference, config: {model: "nobody:none", prompt: hi}, depends_on: []}
"""
    result = command("workflow", "run", write(tmp_path, text))
    assert result.returncode == 2
    for at in ("/tasks/0/config/agent", "/tasks/1/config/tool", "/tasks/2/config/workflow", "/tasks/3/config/model"):
        assert f"  {at}: " in result.stderr
    assert "✓" not in result.stderr


def test_what_a_workflow_names_can_come_from_other_files(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path, "name: top\ntasks: [{id: below, type: subworkflow, config: {workflow: child}}]\n")
    child = tmp_path / "child.yaml"
    child.write_text("name: child\ntasks: [{id: say, type: transform, config: {value: from below}}]\n")
    assert command("workflow", "run", file).returncode == 2
    result = command("workflow", "run", file, "--with", str(child))
    assert result.returncode == 0, result.stderr
    assert result.stdout == "from below\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('{"customer": 1}', "/input/customer: "),
        ("{no", "--input: this is no JSON"),
        ("@nowhere.json", "cannot be read"),
    ],
)
def test_an_input_that_does_not_fit_is_a_usage_error(command: Command, given: str, told: str) -> None:
    result = command("workflow", "run", ORDERS, "--input", given)
    assert result.returncode == 2
    assert told in result.stderr
    assert "✓" not in result.stderr


def test_an_input_can_be_piped_in(command: Command) -> None:
    assert command("workflow", "run", ORDERS, "--input", "@-", stdin=SMALL).returncode == 0


def test_far_items_of_a_map_are_not_shown_one_by_one(command: Command, tmp_path: Path) -> None:
    text = """\
name: many
tasks:
  - id: each
    type: map
    config: {items: "{{ range(200) }}", tasks: [{id: one, type: transform, config: {expression: item}}]}
    output: "{{ len(result) }}"
"""
    result = command("workflow", "run", write(tmp_path, text))
    assert result.stdout == "200\n"
    assert result.stderr.count("✓ one") == 10
    assert "… and so on" in result.stderr


@pytest.mark.parametrize("file", [*sorted(FLOWS.glob("*.yaml")), FLOWS / "support_routing.json"], ids=lambda f: f.name)
def test_an_example_is_valid_and_says_by_which_command_it_is_run(command: Command, file: Path) -> None:
    result = command("workflow", "validate", str(file))
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(": valid\n")
    assert f"agent-factory workflow run examples/workflows/{file.name} --input" in file.read_text()
