"""Workflows of a server by commands alone: their life, their runs, approvals, triggers, more workers."""

import json
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SCRIPT, Command, Up, clean_environment


def flow(name: str, *, asks: bool = False) -> str:
    ask = "  - {id: ask, type: approval, config: {title: May I?, details: {for: you}}, next: after}\n" if asks else ""
    return (
        f"name: {name}\ntasks:\n"
        '  - {id: each, type: map, config: {items: "{{ input.names }}", tasks: '
        '[{id: greet, type: transform, config: {value: "Hello {{ item }}"}}]}'
        f"{', next: ask' if asks else ', next: after'}}}\n"
        f"{ask}"
        "  - {id: after, type: transform, config: {value: \"{{ join(each.output, ', ') }}\"}}\n"
    )


NAMES = '{"names": ["Ada", "Alan"]}'


def made(command: Command, folder: Path, text: Callable[[str], str]) -> str:
    """Create and deploy a workflow with a name of its own."""
    name = f"w-{uuid.uuid4().hex[:12]}"
    file = folder / f"{name}.yaml"
    file.write_text(text(name))
    created = command("workflow", "create", str(file))
    assert created.returncode == 0, created.stderr
    deployed = command("workflow", "deploy", name)
    assert deployed.returncode == 0, deployed.stderr
    return name


@pytest.fixture
def workflow(server_command: Command, tmp_path: Path) -> str:
    """A deployed workflow."""
    return made(server_command, tmp_path, flow)


@pytest.fixture
def asking(server_command: Command, tmp_path: Path) -> str:
    """A deployed workflow that asks a person."""
    return made(server_command, tmp_path, lambda name: flow(name, asks=True))


def document(command: Command, *arguments: str) -> Any:
    result = command(*arguments, "-o", "json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def started(command: Command, name: str) -> str:
    return str(document(command, "workflow", "start", name, "--input", NAMES)["id"])


def test_a_workflow_goes_through_its_life_by_commands_alone(
    server_command: Command, workflow: str, tmp_path: Path
) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(flow(workflow).replace("Hello", "Goodbye"))
    edited = server_command("workflow", "edit", workflow, "--file", str(second))
    assert edited.returncode == 0, edited.stderr
    shown = document(server_command, "workflow", "get", workflow)
    assert (shown["latest_version"], shown["deployed_version"]) == (2, 1)
    assert server_command("workflow", "deploy", workflow).returncode == 0
    assert server_command("workflow", "rollback", workflow).returncode == 0
    assert document(server_command, "workflow", "get", workflow)["deployed_version"] == 1
    assert [v["number"] for v in document(server_command, "workflow", "versions", workflow)] == [2, 1]
    assert workflow in [row["name"] for row in document(server_command, "workflow", "list", "--limit", "100")]
    assert server_command("workflow", "pause", workflow).returncode == 0
    assert server_command("workflow", "archive", workflow).stdout == f"{workflow} is archived\n"


def test_an_unknown_workflow_is_told_as_such(server_command: Command) -> None:
    result = server_command("workflow", "start", "never-made")
    assert result.returncode == 1
    assert "There is no workflow 'never-made'" in result.stderr


def test_starting_with_wait_shows_the_tasks_and_prints_the_output(server_command: Command, workflow: str) -> None:
    result = server_command("workflow", "start", workflow, "--input", NAMES, "--wait")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Hello Ada, Hello Alan\n"
    assert "✓ after (transform" in result.stderr
    assert re.search(r"^run_\w+$", result.stderr, re.MULTILINE)


@pytest.mark.timeout(60)
def test_an_approval_is_listed_and_decided(server_command: Command, asking: str) -> None:
    """S85."""
    run = started(server_command, asking)
    listed: list[dict[str, Any]] = []
    while not listed:
        listed = document(server_command, "approval", "list", "--status", "pending", "--run", run)
    assert [row["title"] for row in listed] == ["May I?"]
    assert document(server_command, "approval", "get", listed[0]["id"])["details"] == {"for": "you"}
    decided = document(server_command, "approval", "decide", listed[0]["id"], "approve", "--comment", "fine")
    assert decided["status"] == "approved"
    assert "run.completed" in server_command("runs", "events", run).stdout
    assert document(server_command, "runs", "output", run) == "Hello Ada, Hello Alan"


def test_steps_are_shown_as_a_tree_and_one_by_its_path(server_command: Command, workflow: str) -> None:
    assert server_command("workflow", "start", workflow, "--input", NAMES, "--wait").returncode == 0
    run = document(server_command, "runs", "list", "--workflow", workflow)[0]["id"]
    tree = server_command("runs", "steps", run, "--tree").stdout
    assert re.search(r"^each +map +completed", tree, re.MULTILINE)
    assert re.search(r"^ {4}greet +transform +completed", tree, re.MULTILINE)
    assert tree.index("each") < tree.index("greet") < tree.index("after")
    step = document(server_command, "runs", "step", run, "each[1]/greet")
    assert "Hello Alan" in json.dumps(step["output"])


def test_a_run_is_forked_compared_and_replayed(server_command: Command, workflow: str) -> None:
    assert server_command("workflow", "start", workflow, "--input", NAMES, "--wait").returncode == 0
    first = document(server_command, "runs", "list", "--workflow", workflow)[0]["id"]
    changes = json.dumps({"value": "{{ len(each.output) }}"})
    forked = server_command("runs", "fork", first, "--from", "after", "--config", changes, "--wait")
    assert forked.returncode == 0, forked.stderr
    assert forked.stdout == "2\n"
    second = document(server_command, "runs", "list", "--workflow", workflow)[0]["id"]
    compared = server_command("runs", "diff", first, second)
    assert compared.returncode == 0, compared.stderr
    assert "input: the same" in compared.stdout
    assert "output: differs" in compared.stdout
    assert re.search(r"^after +no +Hello Ada, Hello Alan +2", compared.stdout, re.MULTILINE)
    assert document(server_command, "runs", "replay", first)["same"] is True
    assert document(server_command, "runs", "cost", first)["run_id"] == first


def test_a_run_that_failed_says_where_and_can_be_tried_again(server_command: Command, tmp_path: Path) -> None:
    name = made(
        server_command,
        tmp_path,
        lambda name: f"name: {name}\ntasks: [{{id: divide, type: transform, config: {{expression: 1 / input}}}}]\n",
    )
    failed = server_command("workflow", "start", name, "--input", "0", "--wait")
    assert failed.returncode == 1
    assert "error: at divide: " in failed.stderr
    assert "[expression_failed]" in failed.stderr
    run = document(server_command, "runs", "list", "--workflow", name)[0]["id"]
    again = server_command("runs", "retry", run, "--wait")
    assert again.returncode == 1
    assert "error: at divide: " in again.stderr


def test_a_schedule_is_made_seen_disabled_and_deleted(server_command: Command, workflow: str) -> None:
    """S90, S100."""
    config = json.dumps({"cron": "0 8 * * 1", "timezone": "Europe/Berlin"})
    trigger = document(server_command, "trigger", "create", workflow, "cron", "--config", config)
    assert trigger["next_at"] is not None
    listed = document(server_command, "trigger", "list", "--type", "cron", "--limit", "100")
    assert trigger["id"] in [row["id"] for row in listed]
    assert server_command("trigger", "disable", trigger["id"]).stdout == f"{trigger['id']} is disabled\n"
    assert document(server_command, "trigger", "get", trigger["id"])["enabled"] is False
    assert server_command("trigger", "enable", trigger["id"]).returncode == 0
    assert server_command("trigger", "delete", trigger["id"]).returncode == 0
    assert server_command("trigger", "get", trigger["id"]).returncode == 1


def test_a_worker_does_the_runs_of_a_server_that_does_none_and_stops_cleanly(
    up: Callable[..., Up], command: Command, tmp_path: Path
) -> None:
    alone: Mapping[str, str] = {"AF_QUEUE__WORKER": "false"}
    up(env=alone)
    name = made(command, tmp_path, flow)
    run = started(command, name)
    assert document(command, "runs", "get", run)["status"] == "pending"
    with subprocess.Popen(
        [SCRIPT, "worker", "--concurrency", "2"], env=clean_environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as worker:
        events = command("runs", "events", run)
        assert "run.completed" in events.stdout, events.stderr
        worker.send_signal(signal.SIGTERM)
        told = worker.communicate(timeout=40)[0]
        assert worker.returncode == 0
    assert told.splitlines() == ["> working on runs, 2 at once; Ctrl-C stops", "> stopped"]
    assert document(command, "runs", "get", run)["status"] == "completed"


def test_a_worker_without_a_database_says_what_to_do(command: Command) -> None:
    result = command("worker")
    assert result.returncode == 1
    assert "agent-factory up" in result.stderr
