"""Where large values lie."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class StorageSettings(BaseModel):
    """The object store and its limits; times in seconds.

    `url` is `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`
    or `file:///folder`; without it, values lie in a folder of this machine,
    which several machines cannot share. `options` are the store's own, such as
    `endpoint`, `region` or `access_key_id`; without credentials here, the
    vendor's usual ways to find them hold. `max_bytes` bounds one value.
    `sync` makes a folder's files outlive a loss of power, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    options: dict[str, SecretStr] = {}
    max_bytes: int = Field(default=100_000_000, ge=1, le=5_000_000_000)
    timeout: float = Field(default=60.0, gt=0, le=3_600)
    sync: bool = True
