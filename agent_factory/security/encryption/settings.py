"""Where the key that encrypts all other keys is kept."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EncryptionSettings(BaseModel):
    """A key file, or a key of AWS KMS; times in seconds.

    Without `kms_key_id` the key is in `key_file`, which is made at the first
    start as `encryption.key` in the state folder. With it, the file is still
    read for what was encrypted before. `cache_seconds` and `cache_keys` bound
    how long, and how many, data keys are kept unwrapped in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_file: Path | None = None
    kms_key_id: str | None = Field(default=None, min_length=1, max_length=2048)
    kms_endpoint: str | None = None
    kms_region: str | None = None
    cache_seconds: float = Field(default=300.0, gt=0, le=3600)
    cache_keys: int = Field(default=1000, ge=1, le=100_000)
