"""Which tier runs a job, and whether it may run at all."""

import asyncio
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import cast

import msgspec

from agent_factory.core.task import CodeLimits
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.runtime.sandbox.bubblewrap import Bubblewrap
from agent_factory.runtime.sandbox.container import Container
from agent_factory.runtime.sandbox.errors import CodeFailed, CodeRefused, TierUnavailable
from agent_factory.runtime.sandbox.job import Done, Job, Runner, Tier, TierStatus
from agent_factory.runtime.sandbox.kubernetes import Kubernetes
from agent_factory.runtime.sandbox.settings import SandboxSettings
from agent_factory.runtime.sandbox.snippet import Snippet

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_LADDER: tuple[Tier, ...] = ("sandbox", "container", "kubernetes")
"""The tiers that run any Python, the cheapest first."""


class Sandbox:
    """Runs users' code, each job in the tier that it names, or in the cheapest that can run it."""

    def __init__(self, settings: SandboxSettings, runners: Mapping[Tier, Runner] | None = None) -> None:
        """Take the settings and, instead of the built-in ones, the tiers; nothing is started."""
        self._settings = settings
        built_in: dict[Tier, Runner] = {
            "snippet": Snippet(settings),
            "sandbox": Bubblewrap(settings),
            "container": Container(settings),
            "kubernetes": Kubernetes(settings),
        }
        self._runners = {
            name: runner
            for name, runner in (built_in if runners is None else runners).items()
            if name in settings.tiers
        }
        self._slots = asyncio.Semaphore(settings.concurrency)

    async def run(self, job: Job) -> Done:
        """Run a job.

        Raises `CodeFailed`, `CodeTimeout`, `CodeOutOfMemory`, `CodeTooMuchOutput`,
        `CodeRefused`, `TierUnavailable`, `SandboxFailed`, or `Invalid`.
        """
        job = msgspec.structs.replace(job, limits=self._limits(job))
        self._check(job)
        if job.tier != "auto":
            return await self._run(job.tier, job)
        if not _plain(job) or await self._first(("snippet",)) is None:
            return await self._run(await self._lowest(job), job)
        try:
            return await self._run("snippet", job)
        except CodeFailed:
            # monty knows a part of Python; what fails there has had no effect, and Python has the last word
            better = await self._first(_LADDER)
            if better is None:
                raise
            return await self._run(better, job)

    async def tiers(self) -> list[TierStatus]:
        """Tell which tiers can run code here, and what the others lack."""
        names: tuple[Tier, ...] = ("snippet", *_LADDER)
        return [await self._status(name) for name in names]

    async def close(self) -> None:
        """End what the tiers keep running."""
        for runner in self._runners.values():
            await runner.close()

    async def _run(self, tier: Tier, job: Job) -> Done:
        status = await self._status(tier)
        if not status.available:
            raise TierUnavailable(status.hint)
        async with self._slots:
            return await self._runners[tier].run(job)

    async def _status(self, tier: Tier) -> TierStatus:
        runner = self._runners.get(tier)
        if runner is None:
            return TierStatus(
                tier, available=False, hint=f"The tier {tier} is switched off; add it to AF_SANDBOX__TIERS."
            )
        return await runner.status()

    async def _first(self, tiers: tuple[Tier, ...]) -> Tier | None:
        for tier in tiers:
            if (await self._status(tier)).available:
                return tier
        return None

    async def _lowest(self, job: Job) -> Tier:
        wanted = _LADDER if job.image is None else _LADDER[1:]
        found = await self._first(wanted)
        if found is not None:
            return found
        statuses = [await self._status(tier) for tier in wanted]
        hints = [status.hint for status in statuses if status.name in self._runners] or [statuses[0].hint]
        raise TierUnavailable(" Or: ".join(hints))

    def _limits(self, job: Job) -> CodeLimits:
        """Bring limits that the task left open below the most of this installation; refuse the ones it asked for."""
        asked, most = job.limits, self._settings.most
        over: dict[str, float] = {
            name: cast("float", getattr(most, name))
            for name in CodeLimits.model_fields
            if getattr(asked, name) > getattr(most, name)
        }
        refused = [f"{name} {value:g}" for name, value in over.items() if name in asked.model_fields_set]
        if refused:
            raise CodeRefused(f"This installation gives code at most {', '.join(refused)}; ask for less.")
        return asked.model_copy(update=over) if over else asked

    def _check(self, job: Job) -> None:
        settings = self._settings
        if job.network != "none" and not settings.network:
            raise CodeRefused("Code has no network here; use `http` tasks, or have AF_SANDBOX__NETWORK set.")
        if job.image is not None and (not _IMAGE.fullmatch(job.image) or ".." in job.image):
            raise Invalid("An image is named as in `registry/name:tag`.", errors=[_fault("image")])
        if job.image is not None and job.tier in {"snippet", "sandbox"}:
            raise Invalid("An image needs the tier container, kubernetes or auto.", errors=[_fault("image")])
        if job.image not in {None, settings.image} and not any(
            fnmatchcase(job.image or "", p) for p in settings.images
        ):
            raise CodeRefused("This image is not one that code may run in; have it added to AF_SANDBOX__IMAGES.")
        if job.tier == "snippet" and not _plain(job):
            raise Invalid("The tier snippet has no environment and no network.", errors=[_fault("tier")])
        for name, value in job.environment.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise Invalid("Names of the environment are letters, digits and _.", errors=[_fault("environment")])


def _plain(job: Job) -> bool:
    return job.image is None and not job.environment and job.network == "none"


def _fault(field: str) -> FieldError:
    return FieldError(f"/{field}", "does not fit")
