"""The time now, in the zone that is asked for."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from agent_factory.kit import clock
from agent_factory.kit.errors import Invalid
from agent_factory.tools.current_time import plugin


async def _told(config: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    (tool,) = await plugin.build(config)
    return msgspec.json.decode(await tool.call(arguments))


async def test_it_tells_the_time_of_the_zone_that_is_named() -> None:
    told = await _told({}, {"timezone": "Asia/Kathmandu"})
    moment = datetime.fromisoformat(told["time"])
    assert moment.utcoffset() == timedelta(hours=5, minutes=45)
    assert told["weekday"] == moment.strftime("%A")
    assert abs(told["unix"] - clock.now().timestamp()) < 60


async def test_the_author_sets_the_zone_that_is_taken_when_none_is_named() -> None:
    assert (await _told({"timezone": "Europe/Berlin"}, {}))["timezone"] == "Europe/Berlin"
    assert (await _told({}, {}))["time"].endswith("+00:00")


@pytest.mark.parametrize("zone", ["", "Europe", "Nowhere/City", "../../etc/passwd", "/etc/localtime", "a\0b"])
async def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(Invalid) as caught:
        await _told({}, {"timezone": zone})
    assert caught.value.errors[0].pointer == "/timezone"
    with pytest.raises(Invalid):
        await plugin.build({"timezone": zone})
