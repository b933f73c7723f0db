"""Budgets, usage and quotas by commands (S207-S209)."""

import json
import uuid
from pathlib import Path

from tests.cli.conftest import Command


def rows(command: Command, *arguments: str) -> list[dict[str, object]]:
    done = command(*arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_budget_is_set_changed_listed_and_removed(server_command: Command, tmp_path: Path) -> None:
    name = f"a-{uuid.uuid4().hex[:12]}"
    file = tmp_path / "agent.yaml"
    file.write_text(f"name: {name}\n")
    assert server_command("agent", "create", str(file)).returncode == 0
    made = server_command(
        "budget", "set", "1000", "--metric", "tokens", "--period", "day", "--agent", name, "-o", "json"
    )
    assert made.returncode == 0, made.stderr
    budget = json.loads(made.stdout)
    assert (budget["subject"], budget["amount"], budget["left"]) == ("agent", "1000", "1000")
    changed = server_command(
        "budget", "set", "5", "--metric", "tokens", "--period", "day", "--agent", name, "-o", "json"
    )
    assert (json.loads(changed.stdout)["id"], json.loads(changed.stdout)["amount"]) == (budget["id"], "5")
    assert budget["id"] in [row["id"] for row in rows(server_command, "budget", "list")]
    assert server_command("budget", "delete", str(budget["id"])).stdout == f"{budget['id']} is deleted\n"
    refused = server_command("budget", "set", "-1")
    assert refused.returncode == 2
    refused = server_command("budget", "set", "NaN")
    assert refused.returncode == 1
    assert "/amount" in refused.stderr


def test_a_command_over_budget_ends_with_5(server_command: Command, tmp_path: Path) -> None:
    name = f"a-{uuid.uuid4().hex[:12]}"
    file = tmp_path / "agent.yaml"
    file.write_text(f"name: {name}\nmodel: demo\n")
    assert server_command("agent", "create", str(file)).returncode == 0
    assert server_command("agent", "deploy", name).returncode == 0
    made = server_command(
        "budget", "set", "0", "--metric", "tokens", "--period", "total", "--agent", name, "-o", "json"
    )
    assert made.returncode == 0, made.stderr
    over = server_command("chat", name, stdin="hello\n")
    assert (over.returncode, "budget_exceeded" in over.stderr) == (5, True), over.stderr


def test_usage_is_told_by_day(server_command: Command) -> None:
    found = rows(server_command, "usage", "--by", "agent", "--by", "model")
    assert all({"day", "agent_id", "model", "runs", "input_tokens"} <= row.keys() for row in found)


def test_the_operator_sets_quotas_on_the_database(server_command: Command) -> None:
    (home,) = [row["id"] for row in rows(server_command, "org", "list")][:1]
    organization = str(home)
    done = server_command("quota", "set", organization, "storage_bytes", "1000000")
    assert done.stdout == f"storage_bytes of {organization}: 1000000\n", done.stderr
    found = {row["metric"]: row for row in rows(server_command, "quota", "list", organization)}
    assert (found["storage_bytes"]["amount"], found["runs"]["amount"]) == ("1000000", None)
    assert server_command("quota", "set", organization, "storage_bytes", "default").returncode == 0
    assert server_command("quota", "set", organization, "seats", "-5").returncode != 0
