"""The tier `kubernetes`: a Job of its own for each piece of code, by the cluster's API (S93)."""

import asyncio
import secrets
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec
import structlog

from agent_factory.runtime.sandbox.errors import CodeRefused, SandboxFailed, TierUnavailable
from agent_factory.runtime.sandbox.frames import Answer, Question, out_of_time, too_much_output
from agent_factory.runtime.sandbox.http import Reply, Server, ServerFailed, exchange, request
from agent_factory.runtime.sandbox.job import Done, Job, TierStatus
from agent_factory.runtime.sandbox.manifests import (
    START_SECONDS,
    job_manifest,
    policy_manifest,
    secret_manifest,
    task_label,
)
from agent_factory.runtime.sandbox.settings import SandboxSettings

log = structlog.stdlib.get_logger(__name__)

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_IN_CLUSTER = "https://kubernetes.default.svc"
_CONFLICT, _NOT_FOUND = 409, 404
_MOST_SECRET = 1_000_000
"""Bytes that a Secret takes, a little less than the cluster's own limit."""


class _Meta(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""


class _JobStatus(msgspec.Struct):
    conditions: list[_Condition] | None = None


class _Job(msgspec.Struct):
    metadata: _Meta
    status: _JobStatus = msgspec.field(default_factory=_JobStatus)

    def ended(self) -> str | None:
        """Say how the job ended, or None while it has not."""
        for condition in self.status.conditions or []:
            if condition.type in {"Complete", "Failed"} and condition.status == "True":
                return condition.reason or condition.type
        return None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Terminated(msgspec.Struct):
    reason: str = ""


class _State(msgspec.Struct):
    terminated: _Terminated | None = None


class _ContainerStatus(msgspec.Struct):
    state: _State = msgspec.field(default_factory=_State)


class _PodStatus(msgspec.Struct, rename="camel"):
    container_statuses: list[_ContainerStatus] | None = None


class _Pod(msgspec.Struct):
    metadata: _Meta
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Pods(msgspec.Struct):
    items: list[_Pod]


class Kubernetes:
    """Runs each job as a Job of the cluster, which is deleted at the end, whatever happens.

    Should this process die, the cluster itself ends the Job at its deadline
    and removes it a minute later.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        """Take the settings; the cluster is not asked before the first job."""
        self._settings = settings
        self._tls: ssl.SSLContext | None = None
        self._policies: set[str] = set()

    async def status(self) -> TierStatus:
        """Ask the cluster whether this process may run jobs there."""
        hint = ""
        try:
            reply = await self._ask("GET", self._path("batch/v1", "jobs"), query={"limit": "1"})
            if not reply.ok:
                hint = f"The cluster refuses to list jobs ({reply.status}); give this service's account the right to."
        except ServerFailed as error:
            hint = f"The cluster's API server does not answer ({error}); check AF_SANDBOX__KUBERNETES__URL."
        return TierStatus("kubernetes", available=not hint, hint=hint)

    async def close(self) -> None:
        """Nothing is kept running."""

    async def run(self, job: Job) -> Done:
        """Run a job; raises the problems of `errors`."""
        status = await self.status()
        if not status.available:
            raise TierUnavailable(status.hint)
        began = time.monotonic()
        try:
            answer = await self._in_cluster(job)
        except ServerFailed as error:
            log.warning("the cluster failed", reason=str(error))
            raise SandboxFailed("The cluster broke off; try again.") from error
        return Done(
            result=answer.result,
            stdout=answer.stdout,
            stderr=answer.stderr,
            tier="kubernetes",
            duration_ms=int((time.monotonic() - began) * 1000),
            cpu_seconds=answer.cpu_seconds,
            peak_memory=answer.peak_memory,
        )

    async def _in_cluster(self, job: Job) -> Answer:
        question = Question(job)
        if len(question.wire) > _MOST_SECRET:
            raise CodeRefused("A cluster takes at most 1 MB of code and inputs; pass a reference instead.")
        await self._allow(job.network)
        if job.key:
            await self._delete({"labelSelector": f"agent-factory/task={task_label(job)}"})
        async with self._job(job) as made:
            name = made.metadata.name
            secret = secret_manifest(name, made.metadata.uid, question.wire)
            _fine(await self._ask("POST", self._path("v1", "secrets"), body=secret))
            try:
                async with asyncio.timeout(job.limits.seconds + START_SECONDS):
                    how = await self._until_ended(name)
            except TimeoutError:
                raise out_of_time(job.limits) from None
            pod = await self._pod(name)
            if pod is None:
                raise SandboxFailed("The cluster did not start the job in time; look at its events, and try again.")
            states = [status.state.terminated for status in pod.status.container_statuses or []]
            starved = any(state is not None and state.reason == "OOMKilled" for state in states)
            printed = await self._log(pod.metadata.name, question.most)
            if how == "DeadlineExceeded" and not printed:
                raise out_of_time(job.limits)
            if len(printed) >= question.most:
                raise too_much_output(job.limits)
            return question.answer(printed, b"", starved=starved)

    async def _allow(self, network: Literal["none", "full"]) -> None:
        """See that the policy of the jobs' network stands before the first of them starts."""
        if network in self._policies:
            return
        path = self._path("networking.k8s.io/v1", "networkpolicies")
        _fine(await self._ask("POST", path, body=policy_manifest(network)), _CONFLICT)
        self._policies.add(network)

    @asynccontextmanager
    async def _job(self, job: Job) -> AsyncGenerator[_Job, None]:
        name = f"agent-factory-{secrets.token_hex(8)}"
        path = self._path("batch/v1", "jobs")
        try:
            made = await self._ask("POST", path, body=job_manifest(job, name, self._settings))
            yield _fine(made).json(_Job)
        finally:
            await asyncio.shield(self._delete({"fieldSelector": f"metadata.name={name}"}))

    async def _delete(self, which: dict[str, str]) -> None:
        query = {**which, "propagationPolicy": "Background", "gracePeriodSeconds": "0"}
        try:
            reply = await self._ask("DELETE", self._path("batch/v1", "jobs"), query=query)
        except ServerFailed as error:
            log.error("a job could not be deleted; the cluster ends it at its deadline", reason=str(error))  # noqa: TRY400 - no stack helps
            return
        if not reply.ok and reply.status != _NOT_FOUND:
            log.error("a job could not be deleted; the cluster ends it at its deadline", reason=reply.words)

    async def _until_ended(self, name: str) -> str:
        """Watch a Job until it ends; a watch that the server closes is opened again."""
        query = {"watch": "1", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": "300"}
        while True:
            async with exchange(self._server(), "GET", self._path("batch/v1", "jobs"), query=query) as answer:
                if answer.status >= 400:  # noqa: PLR2004 - HTTP's own line
                    raise ServerFailed(f"a watch was refused with status {answer.status}")
                async for line in answer.lines():
                    event = _event(line)
                    if event.type == "DELETED":
                        raise ServerFailed("the job was deleted by somebody else")
                    if event.type in {"ADDED", "MODIFIED"}:
                        how = msgspec.json.decode(event.object, type=_Job).ended()
                        if how is not None:
                            return how
            await asyncio.sleep(0.5)  # a server that closes each watch at once is not to be flooded

    async def _pod(self, name: str) -> _Pod | None:
        reply = await self._ask("GET", self._path("v1", "pods"), query={"labelSelector": f"job-name={name}"})
        pods = _fine(reply).json(_Pods).items
        return pods[0] if pods else None

    async def _log(self, pod: str, most: int) -> bytes:
        path = f"{self._path('v1', 'pods')}/{quote(pod)}/log"
        reply = await self._ask("GET", path, query={"limitBytes": str(most)}, most=most + 1)
        return reply.body if reply.ok else b""

    def _path(self, group: str, kind: str) -> str:
        start = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{start}/namespaces/{quote(self._namespace())}/{kind}"

    def _namespace(self) -> str:
        return self._settings.kubernetes.namespace or _text(_ACCOUNT / "namespace") or "default"

    def _server(self) -> Server:
        cluster = self._settings.kubernetes
        url = urlsplit(cluster.url or _IN_CLUSTER)
        secure = url.scheme == "https"
        if secure and self._tls is None:
            ca = cluster.ca or (_ACCOUNT / "ca.crt" if cluster.url is None else None)
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except OSError as error:
                raise ServerFailed("the cluster's certificate cannot be read") from error
        # read anew each time: clusters change the tokens of their pods
        token = _text(cluster.token or _ACCOUNT / "token")
        return Server(
            host=url.hostname or "",
            port=url.port or (443 if secure else 80),
            tls=self._tls if secure else None,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: object = None,
        most: int = 10_000_000,
    ) -> Reply:
        return await request(self._server(), method, path, query=query, body=body, most=most)


def _fine(reply: Reply, *also: int) -> Reply:
    if not reply.ok and reply.status not in also:
        log.error("the cluster refused an object", status=reply.status, said=reply.words)
        raise ServerFailed(f"status {reply.status}")
    return reply


def _event(line: bytes) -> _Event:
    try:
        return msgspec.json.decode(line, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ServerFailed("a watch gave no JSON") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
