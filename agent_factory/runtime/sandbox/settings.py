"""What this installation lets users' code use."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MostLimits(BaseModel):
    """The most that one job may ask for, in the units of a task's own limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_seconds: float = Field(default=600, gt=0)
    seconds: float = Field(default=900, gt=0)
    memory_mb: int = Field(default=2048, ge=16)
    processes: int = Field(default=128, ge=1)
    disk_mb: int = Field(default=1024, ge=1)
    output_bytes: int = Field(default=10_000_000, ge=1)


class KubernetesSettings(BaseModel):
    """The cluster that runs jobs; without an `url`, the one that this process is a pod of.

    `token` and `ca` are files. `runtime_class` names the pods' runtime, such
    as gVisor's. Names of images and the network are as in `SandboxSettings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    namespace: str | None = None
    token: Path | None = None
    ca: Path | None = None
    runtime_class: str | None = None


class SandboxSettings(BaseModel):
    """Which tiers may be used, by how many jobs at once, and with how much.

    `network` opens the network of this machine to jobs that ask for it: they
    then reach whatever the machine reaches, so leave it closed unless you
    trust your users' code as your own. `cores` bounds the processors of one
    job. `images` are patterns of the images that jobs may name; an empty list
    allows only `image`. `docker` is the socket of Docker or podman; without
    it, the usual places are looked at. `cgroup` is the control group in which
    each job gets its own; without it, the one of this process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiers: tuple[Literal["snippet", "sandbox", "container", "kubernetes"], ...] = ("snippet", "sandbox", "container")
    concurrency: int = Field(default=4, ge=1)
    network: bool = False
    cores: float = Field(default=1.0, gt=0)
    most: MostLimits = MostLimits()
    image: str = "python:3.11-slim"
    images: tuple[str, ...] = ()
    docker: Path | None = None
    runtime: str | None = None
    cgroup: str | None = None
    kubernetes: KubernetesSettings = KubernetesSettings()
