"""The date and time now, in any time zone."""

from datetime import UTC, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid


class TimeSettings(Settings):
    """The zone that is taken when the model names none."""

    timezone: str = Field(default="UTC", max_length=64, description="IANA name, for example Europe/Berlin.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if _zone(value) is None:
            raise ValueError("is no IANA time zone")
        return value


def _zone(name: str) -> tzinfo | None:
    if name == "UTC":  # known without the zone files of the machine
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, such as "Europe"
        return None


def _tell(name: str) -> dict[str, object]:
    zone = _zone(name)
    if zone is None:
        raise Invalid(
            f"{name!r} is no time zone; name one like Europe/Berlin or UTC.",
            errors=[FieldError("/timezone", "is no IANA time zone")],
        )
    moment = now().astimezone(zone)
    return {
        "time": moment.isoformat(timespec="seconds"),
        "timezone": name,
        "weekday": moment.strftime("%A"),
        "unix": int(moment.timestamp()),
        "summer_time": bool(moment.dst() or timedelta()),
    }


async def _make(settings: TimeSettings, name: str | None, _context: ToolContext) -> list[Tool]:
    async def current_time(timezone: str = settings.timezone) -> dict[str, object]:
        return _tell(timezone)

    parameters = {
        "type": "object",
        "properties": {
            "timezone": {
                "type": "string",
                "maxLength": 64,
                "default": settings.timezone,
                "description": "IANA name, for example Europe/Berlin.",
            }
        },
        "additionalProperties": False,
    }
    return [Tool(name or plugin.name, plugin.description, parameters, current_time, pure=True, timeout=5.0)]


plugin = ToolPlugin(
    "current_time", "Tells the date, time, weekday and UTC offset now in a time zone.", TimeSettings, _make
)
