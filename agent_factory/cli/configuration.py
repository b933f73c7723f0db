"""The settings of this process, or one clear sentence about what is wrong with them."""

from typing import TYPE_CHECKING, Any

from agent_factory.kit.errors import FieldError, Invalid

if TYPE_CHECKING:
    from agent_factory.settings import Settings


class BadSetting(Invalid):
    """A setting in the environment that cannot be used."""

    code = "bad_setting"
    title = "A setting cannot be used"


def settings(**groups: Any) -> "Settings":  # noqa: ANN401 - the groups check what they are given
    """Read the settings; `groups` go over the environment. Raises `BadSetting` that names the variable."""
    import pydantic
    from pydantic_settings import SettingsError

    from agent_factory.settings import Settings, UnknownSetting

    try:
        return Settings(**groups)
    except pydantic.ValidationError as error:
        faults = [
            FieldError("AF_" + "__".join(str(part).upper() for part in fault["loc"]), fault["msg"])
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise BadSetting(f"{len(faults)} setting(s) in the environment cannot be used.", errors=faults) from None
    except (UnknownSetting, SettingsError) as error:
        raise BadSetting(str(error)) from None
