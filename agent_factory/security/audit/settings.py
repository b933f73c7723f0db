"""How the audit trail is sealed, signed and watched."""

from pydantic import BaseModel, ConfigDict, Field

from agent_factory.storage.settings import StorageSettings


class WatchSettings(BaseModel):
    """When something is told to be an attack: how many, within `window` seconds.

    An alert is not told again for the same one within `cool_down` seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: float = Field(default=600.0, gt=0, le=86_400)
    cool_down: float = Field(default=3_600.0, gt=0, le=604_800)
    accounts_by_address: int = Field(default=10, ge=2, le=10_000)
    addresses_by_account: int = Field(default=10, ge=2, le=10_000)
    blocked_egress: int = Field(default=20, ge=1, le=10_000)
    new_hosts: int = Field(default=50, ge=2, le=10_000)


class AuditSettings(BaseModel):
    """The audit trail; times in seconds.

    A checkpoint is signed once `checkpoint_rows` events have come since the
    last, or `checkpoint_seconds` after the first of them. `witness` is where a
    copy of each checkpoint goes: a folder or an object store that whoever
    changes the database cannot change; without its `url`, the folder `audit` in
    the state folder. Each caller's refused requests are recorded up to
    `refusals` a minute, and those of an organisation up to ten times as many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sealer: bool = True
    poll: float = Field(default=1.0, gt=0, le=60)
    checkpoint_rows: int = Field(default=1_000, ge=1, le=10_000)
    checkpoint_seconds: float = Field(default=60.0, gt=0, le=86_400)
    refusals: int = Field(default=60, ge=1, le=10_000)
    witness: StorageSettings = StorageSettings()
    watch: WatchSettings = WatchSettings()
