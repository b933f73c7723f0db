"""The audit trail at the terminal: of a server, and in the database itself (S197)."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from agent_factory.database.embedded import Server
from agent_factory.kit.ids import decode
from tests.cli.conftest import Command


@pytest.fixture
def agent(server_command: Command, tmp_path: Path) -> str:
    """Create an agent, so that something has happened; give its id."""
    file = tmp_path / "agent.yaml"
    file.write_text(f"name: {tmp_path.name.replace('_', '-')}\n")
    created = server_command("agent", "create", str(file), "-o", "json")
    assert created.returncode == 0, created.stderr
    return json.loads(created.stdout)[0]["id"]


def test_what_happened_is_listed_and_taken_along(server_command: Command, agent: str, tmp_path: Path) -> None:
    listed = server_command("audit", "list", "--resource", agent)
    assert "agents_create" in listed.stdout, listed.stderr
    assert agent in listed.stdout
    file = tmp_path / "trail.jsonl"
    assert server_command("audit", "export", "--file", str(file), "--action", "agents_create").returncode == 0
    assert agent in [json.loads(line)["resource"] for line in file.read_text().splitlines()]
    printed = server_command("audit", "export", "--action", "agents_create")
    assert printed.stdout == file.read_text()
    refused = server_command("audit", "export", "--since", "yesterday")
    assert refused.returncode == 1
    assert "validation_failed" in refused.stderr


def test_the_key_of_the_trail_is_rotated_and_an_export_is_checked_without_the_product(
    server_command: Command, agent: str, tmp_path: Path
) -> None:
    rotated = server_command("audit", "rotate-key")
    assert rotated.stdout.endswith("what older ones have signed stays good\n"), rotated.stderr
    keys = tmp_path / "keys.json"
    keys.write_text(server_command("audit", "keys", "-o", "json").stdout)
    old, new = json.loads(keys.read_text())
    assert (old["signs_now"], new["signs_now"], new["id"] in rotated.stdout) == (False, True, True)
    sound = server_command("audit", "verify")
    assert sound.returncode == 0, sound.stderr
    assert f"are signed by {old['id']}" in sound.stdout
    file = tmp_path / "trail.jsonl"
    assert server_command("audit", "export", "--proofs", "--file", str(file)).returncode == 0
    alone = {"AF_HOME": str(tmp_path / "nothing"), "AF_DATABASE__URL": "postgresql://127.0.0.1:9/none"}
    checking = ("audit", "verify", "--file", str(file), "--keys", str(keys))
    checked = server_command(*checking, env=alone)
    assert checked.returncode == 0, checked.stderr
    assert "nobody touched them" in checked.stdout
    file.write_text(file.read_text().replace(agent, "agt_another", 1))
    touched = server_command(*checking, "-o", "json", env=alone)
    assert touched.returncode == 1
    assert "It is not what was sealed." in [f["detail"] for f in json.loads(touched.stdout)["findings"]]
    keys.write_text("{}")
    assert "has no public keys" in server_command(*checking, env=alone).stderr
    assert server_command("audit", "verify", "--file", str(file)).returncode == 2


def test_the_operator_verifies_the_database_itself_and_is_told_which_row_was_touched(
    server_command: Command, agent: str
) -> None:
    sound = server_command("audit", "verify")
    assert sound.returncode == 0, sound.stderr
    assert "nobody touched them" in sound.stdout
    (event,) = json.loads(server_command("audit", "list", "--resource", agent, "-o", "json").stdout)
    asyncio.run(_tamper(Path(server_command.environment["AF_HOME"]), event["id"]))
    touched = server_command("audit", "verify")
    assert touched.returncode == 1
    assert "1 row(s) were touched" in touched.stderr
    assert event["id"] in touched.stdout
    report = json.loads(server_command("audit", "verify", "-o", "json").stdout)
    assert (report["sound"], [(f["touched"], f["event_id"]) for f in report["findings"]]) == (
        False,
        [("edited", event["id"])],
    )


async def _tamper(home: Path, event_id: str) -> None:
    """Change a row as somebody can who owns the database."""
    server = Server(home / "postgres")
    connection = await asyncpg.connect(await server.start())
    try:
        await connection.execute("ALTER TABLE audit_events NO FORCE ROW LEVEL SECURITY")
        await connection.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        await connection.execute("UPDATE audit_events SET resource = 'x' WHERE id = $1", decode("aud", event_id))
        await connection.execute("ALTER TABLE audit_events ENABLE TRIGGER USER")
        await connection.execute("ALTER TABLE audit_events FORCE ROW LEVEL SECURITY")
    finally:
        await connection.close()
        await server.stop()
