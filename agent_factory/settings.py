"""Every setting of the product: joins the groups that rooms declare, and reads the environment.

`AF_DATABASE__URL` sets `database.url`; a name with `AF_` that means nothing is
refused, so that a typing error does not pass in silence. The names that
vendors have made known (`OPENAI_API_KEY`, …) are read here and nowhere else.
"""

from collections.abc import Iterable
from typing import Any

import pydantic
from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent_factory.api.settings import ServerSettings
from agent_factory.cache.settings import RedisSettings
from agent_factory.connectors.mail.settings import MailSettings
from agent_factory.database.settings import DatabaseSettings
from agent_factory.enterprise.multitenancy.settings import LifeSettings, QuotaSettings
from agent_factory.kit.errors import Invalid
from agent_factory.monitoring.settings import LoggingSettings, MetricsSettings
from agent_factory.runtime.models import ModelsSettings
from agent_factory.runtime.queue.settings import QueueSettings
from agent_factory.runtime.sandbox.settings import SandboxSettings
from agent_factory.runtime.scheduler.settings import SchedulerSettings
from agent_factory.runtime.settings import EngineSettings, ToolsSettings
from agent_factory.security.audit import AuditSettings
from agent_factory.security.egress import EgressSettings
from agent_factory.security.encryption import EncryptionSettings
from agent_factory.security.passwords import PasswordSettings
from agent_factory.security.rate_limit import LimitsSettings
from agent_factory.security.tokens import AuthSettings
from agent_factory.storage.settings import StorageSettings

_PREFIX = "AF_"
_OF_THE_COMMANDS = frozenset({"AF_API_KEY", "AF_URL", "AF_HOME"})
_OF_THE_CHECKS = frozenset(
    {"AF_CHAOS_KILLS", "AF_CHAOS_SEED", "AF_FUZZ_EXAMPLES", "AF_RECORDED_TRAFFIC", "AF_SLOW_PROOFS"}
)
"""Names that mean something beside the product; with them set, it starts as without."""
_VENDOR_NAMES = {
    "openai_api_key": "OPENAI_API_KEY",
    "openai_base_url": "OPENAI_BASE_URL",
    "anthropic_api_key": "ANTHROPIC_API_KEY",
    "anthropic_base_url": "ANTHROPIC_BASE_URL",
    "hf_token": "HF_TOKEN",
}
"""The field of the models group, and the variable that sets it where `AF_MODELS__…` does not."""


class Settings(BaseSettings):
    """The settings of one process; made without arguments, from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # what is wrong with a setting may stand beside what is secret in it
        nested_model_default_partial_update=True,
    )

    services: tuple[str, ...] | None = Field(
        default=None, description="Rooms that this process serves; all, if absent."
    )
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    limits: LimitsSettings = LimitsSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    egress: EgressSettings = EgressSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    auth: AuthSettings = AuthSettings()
    models: ModelsSettings = ModelsSettings()
    quotas: QuotaSettings = QuotaSettings()
    organizations: LifeSettings = LifeSettings()
    engine: EngineSettings = EngineSettings()
    queue: QueueSettings = QueueSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    tools: ToolsSettings = ToolsSettings()
    sandbox: SandboxSettings = SandboxSettings()
    storage: StorageSettings = StorageSettings()
    audit: AuditSettings = AuditSettings()
    mail: MailSettings = MailSettings()
    passwords: PasswordSettings = PasswordSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then our names, then the vendors'."""
        assert isinstance(env_settings, EnvSettingsSource)
        _refuse_unknown(cls, env_settings.env_vars)
        return init_settings, env_settings, _Vendors(settings_cls, env_settings)


class UnknownSetting(Invalid):
    """A variable with our prefix that no group knows."""

    code = "unknown_setting"
    title = "Unknown setting"


class _Vendors(PydanticBaseSettingsSource):
    def __init__(self, settings_cls: type[BaseSettings], environment: EnvSettingsSource) -> None:
        super().__init__(settings_cls)
        self._variables = environment.env_vars

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - the base class's signature
        """Give nothing for single fields: this source speaks as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Give what vendors' variables set."""
        known = {
            f: self._variables.get(n.lower()) for f, n in _VENDOR_NAMES.items() if f in ModelsSettings.model_fields
        }
        found = {field: value for field, value in known.items() if value}
        return {"models": found} if found else {}


def _refuse_unknown(settings: type[BaseSettings], variables: Iterable[str]) -> None:
    for variable in variables:
        name = variable.upper()
        if not name.startswith(_PREFIX) or name in _OF_THE_COMMANDS | _OF_THE_CHECKS:
            continue
        group, _, field = name.removeprefix(_PREFIX).lower().partition("__")
        declared = settings.model_fields.get(group)
        if declared is None or (field and not _has(declared.annotation, field.partition("__")[0])):
            raise UnknownSetting(
                f"{name} is no setting. Remove it, or correct its name; groups are: {_groups(settings)}."
            )


def _has(group: Any, field: str) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(group, type) and issubclass(group, pydantic.BaseModel) and field in group.model_fields


def _groups(settings: type[BaseSettings]) -> str:
    return ", ".join(f"{_PREFIX}{name.upper()}" for name in settings.model_fields)
