"""The rooms: each starts alone, all together, and an unknown one not at all (S3)."""

import pytest

from agent_factory.assembly import ROOMS, UnknownRoom, chosen, make_app
from agent_factory.database.session import Database
from agent_factory.security.auth import Actor
from agent_factory.settings import Settings
from tests.serving import client_of, key_for, opened, settings_for

NAMES = [room.name for room in ROOMS]


def paths_of(*services: str) -> set[str]:
    return set(make_app(Settings(services=services or None)).openapi()["paths"])


@pytest.mark.parametrize("name", NAMES)
async def test_each_room_starts_alone_and_knows_its_callers(
    name: str, database_url: str, database: Database, actor: Actor
) -> None:
    key = await key_for(database, actor)
    async with opened(settings_for(database_url, services=(name,))) as app, client_of(app, key) as client:
        assert (await client.get("/ready")).status_code == 200
        room = next(room for room in ROOMS if room.name == name)
        own = {getattr(route, "path", "") for router in room.routers for route in router.routes}
        lists = [path for path in sorted(own) if "{" not in path and ":" not in path and path != "/mcp"]
        answers = [(await client.get(path)).status_code for path in lists]
        assert 200 in answers, (name, lists, answers)
        others = {p for other in NAMES if other != name for p in paths_of(other)} - paths_of(name)
        assert (await client.get(next(p for p in sorted(others) if "{" not in p))).status_code == 404


def test_all_together_show_what_each_shows() -> None:
    assert paths_of() == {path for name in NAMES for path in paths_of(name)}


def test_a_chosen_few_keep_their_order() -> None:
    assert [room.name for room in chosen(["auth", "agents"])] == ["agents", "auth"]


@pytest.mark.parametrize("names", [["nope"], ["auth", "nope"], ["Auth"], [""]])
def test_an_unknown_room_refuses_to_start(names: list[str]) -> None:
    with pytest.raises(UnknownRoom, match="the rooms are: agents"):
        make_app(Settings(services=tuple(names)))


def test_no_two_rooms_have_a_name_or_a_route_in_common() -> None:
    assert len(set(NAMES)) == len(NAMES)
    routes = [
        (getattr(route, "path", ""), method)
        for room in ROOMS
        for router in room.routers
        for route in router.routes
        for method in getattr(route, "methods", None) or ()
    ]
    assert len(set(routes)) == len(routes)
