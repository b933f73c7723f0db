"""The tier `kubernetes` over a stand-in for the API server, and its manifests over the published schemas (S93)."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from agent_factory.runtime.sandbox.errors import (
    CodeFailed,
    CodeOutOfMemory,
    CodeRefused,
    SandboxFailed,
    TierUnavailable,
)
from agent_factory.runtime.sandbox.http import Server, request
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.kubernetes import Kubernetes
from agent_factory.runtime.sandbox.manifests import job_manifest, policy_manifest, secret_manifest
from agent_factory.runtime.sandbox.settings import KubernetesSettings, SandboxSettings
from tests.runtime.sandbox.conftest import QUICK
from tests.runtime.sandbox.waiting import until

VERSIONS = ("1.29", "1.33", "1.37")
SETTINGS = SandboxSettings(kubernetes=KubernetesSettings(runtime_class="gvisor"))
JOB = Job(code="secret code", key="run/map[3]/x", organization_id="org", limits=QUICK, image="python:3.12")


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid_by_the_published_schemas(version: str) -> None:
    manifests = [
        job_manifest(JOB, "agent-factory-x", SETTINGS),
        job_manifest(Job(code=""), "agent-factory-x", SandboxSettings()),
        secret_manifest("agent-factory-x", "uid", b"\0\xff"),
        policy_manifest("none"),
        policy_manifest("full"),
    ]
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_pod_has_no_rights_and_is_bounded_in_everything() -> None:
    spec = job_manifest(JOB, "x", SETTINGS)["spec"]
    assert spec["backoffLimit"] == 0
    assert QUICK.seconds < spec["activeDeadlineSeconds"] <= QUICK.seconds + 120
    assert spec["ttlSecondsAfterFinished"] == 60
    pod = spec["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["runtimeClassName"] == "gvisor"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & pod.keys()
    container = pod["containers"][0]
    assert container["image"] == "python:3.12"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {"cpu": "1000m", "memory": "128Mi", "ephemeral-storage": "16Mi"}
    assert "secret code" not in str(spec), "the code lies in the Secret"


def test_the_policies_shut_the_network_or_leave_the_public_internet() -> None:
    none, full = policy_manifest("none")["spec"], policy_manifest("full")["spec"]
    for spec in (none, full):
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert spec["ingress"] == []
    assert none["egress"] == []
    outside = full["egress"][0]["to"][0]["ipBlock"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(outside["except"])


async def seen(url: str, namespace: str) -> list[dict[str, Any]]:
    port = int(url.rpartition(":")[2])
    everything = (await request(Server("127.0.0.1", port=port), "GET", "/seen")).json(list[dict[str, Any]])
    return [one for one in everything if f"/{namespace}/" in one["path"]]


def namespace_of(cluster: Kubernetes) -> str:
    return cluster._namespace()


async def objects(url: str, cluster: Kubernetes, kind: str) -> list[Any]:
    group = {"jobs": "/apis/batch/v1"}.get(kind, "/api/v1")
    path = f"{group}/namespaces/{namespace_of(cluster)}/{kind}"
    reply = await request(Server("127.0.0.1", port=int(url.rpartition(":")[2])), "GET", path)
    return reply.json(dict[str, Any])["items"]


async def started(url: str, cluster: Kubernetes) -> bool:
    return bool(await objects(url, cluster, "secrets"))


async def test_a_job_leaves_nothing_in_the_cluster(cluster: Kubernetes, cluster_url: str) -> None:
    assert (await cluster.run(Job(code="result = 1", limits=QUICK))).result == 1
    for kind in ("jobs", "secrets"):
        assert await objects(cluster_url, cluster, kind) == []


async def test_the_policy_stands_before_the_first_pod_and_the_token_goes_with_all(
    cluster: Kubernetes, cluster_url: str
) -> None:
    await cluster.run(Job(code="", limits=QUICK))
    await cluster.run(Job(code="", limits=QUICK))
    calls = await seen(cluster_url, namespace_of(cluster))
    assert {call["authorization"] for call in calls} == {"Bearer the-account's-token"}
    posts = [call["path"].rpartition("/")[2] for call in calls if call["method"] == "POST"]
    assert posts == ["networkpolicies", "jobs", "secrets", "jobs", "secrets"]


async def test_the_secret_belongs_to_the_job_and_holds_the_code(cluster: Kubernetes, cluster_url: str) -> None:
    await cluster.run(Job(code="result = 'marked'", limits=QUICK))
    calls = await seen(cluster_url, namespace_of(cluster))
    secret = next(c["body"] for c in calls if c["method"] == "POST" and c["path"].endswith("secrets"))
    assert b"marked" in base64.b64decode(secret["data"]["job"])
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "Job"


async def test_a_cancelled_job_is_deleted(cluster: Kubernetes, cluster_url: str) -> None:
    task = asyncio.create_task(cluster.run(Job(code="import time\ntime.sleep(1000)", limits=QUICK)))
    await until(lambda: started(cluster_url, cluster))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await objects(cluster_url, cluster, "jobs") == []


async def test_a_second_try_of_a_task_removes_what_the_first_left(cluster: Kubernetes, cluster_url: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace_of(cluster)}/jobs"
    port = int(cluster_url.rpartition(":")[2])
    left = job_manifest(Job(code="", key="run/task", organization_id="o"), "agent-factory-left", SandboxSettings())
    other = job_manifest(Job(code="", key="run/task", organization_id="p"), "agent-factory-other", SandboxSettings())
    for manifest in (left, other):
        assert (await request(Server("127.0.0.1", port=port), "POST", path, body=manifest)).ok
    await cluster.run(Job(code="", key="run/task", organization_id="o", limits=QUICK))
    assert [job["metadata"]["name"] for job in await objects(cluster_url, cluster, "jobs")] == ["agent-factory-other"]


async def test_a_pod_that_was_ended_for_its_memory_is_told_as_such(cluster: Kubernetes) -> None:
    """The stand-in calls a pod that died of signal 9 OOMKilled, as a kubelet does when memory was the reason."""
    with pytest.raises(CodeOutOfMemory):
        await cluster.run(Job(code="import os\nos.kill(os.getppid(), 9)", limits=QUICK))


async def test_code_that_is_too_large_for_a_cluster_is_refused(cluster: Kubernetes) -> None:
    with pytest.raises(CodeRefused, match="1 MB"):
        await cluster.run(Job(code="", inputs={"x": "x" * 1_100_000}, limits=QUICK))


async def test_both_streams_of_a_pod_are_told_in_their_order(cluster: Kubernetes) -> None:
    code = "import sys\nprint('one', flush=True)\nprint('two', file=sys.stderr)"
    assert (await cluster.run(Job(code=code, limits=QUICK))).stdout == "one\ntwo\n"


async def test_a_cluster_that_refuses_or_is_away_says_what_to_do(cluster_url: str, tmp_path: Path) -> None:
    refusing = Kubernetes(SandboxSettings(kubernetes=KubernetesSettings(url=cluster_url, namespace="forbidden")))
    assert "(403)" in (await refusing.status()).hint
    with pytest.raises(TierUnavailable, match="right"):
        await refusing.run(Job(code="", limits=QUICK))
    away = Kubernetes(SandboxSettings(kubernetes=KubernetesSettings(url="http://127.0.0.1:1", namespace="x")))
    assert "does not answer" in (await away.status()).hint
    no_certificate = KubernetesSettings(url="https://127.0.0.1:1", namespace="x", ca=tmp_path / "none")
    assert "certificate" in (await Kubernetes(SandboxSettings(kubernetes=no_certificate)).status()).hint


async def test_a_job_that_somebody_else_deletes_fails_to_be_tried_again(cluster: Kubernetes, cluster_url: str) -> None:
    task = asyncio.create_task(cluster.run(Job(code="import time\ntime.sleep(1000)", limits=QUICK)))
    await until(lambda: started(cluster_url, cluster))
    path = f"/apis/batch/v1/namespaces/{namespace_of(cluster)}/jobs"
    await request(Server("127.0.0.1", port=int(cluster_url.rpartition(":")[2])), "DELETE", path)
    with pytest.raises((SandboxFailed, CodeFailed)):
        await task
