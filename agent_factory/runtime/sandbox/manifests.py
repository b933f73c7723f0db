"""The Kubernetes objects of one job: the Job, the Secret with its code, and the policies for the network (S93)."""

import base64
import hashlib
import math
import secrets
from typing import Any

from agent_factory.runtime.sandbox.frames import SCRIPT
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.settings import SandboxSettings

START_SECONDS = 120
"""How long a cluster may take to find a place for a pod and to pull its image."""

_KEPT_SECONDS = 60
"""How long a finished job stays, should nobody remove it."""

_NAME = "app.kubernetes.io/name"
_NETWORK = "agent-factory/network"
_TASK = "agent-factory/task"
_USERS = range(0x7000_0000, 0x7001_0000)
_INSIDE = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
    "168.63.129.16/32",
)
"""What code with a network must not reach: everything that is not the public internet."""


def task_label(job: Job) -> str:
    """Give the label of a job's task; a key may hold what a label may not."""
    return hashlib.sha256(f"{job.organization_id}/{job.key}".encode()).hexdigest()[:40]


def job_manifest(job: Job, name: str, settings: SandboxSettings) -> dict[str, Any]:
    """Give the Job: one pod, one try, no rights, no token, bounded in everything that a cluster can bound."""
    limits, cluster = job.limits, settings.kubernetes
    user = secrets.choice(_USERS)
    labels = {_NAME: "agent-factory-code", _TASK: task_label(job), _NETWORK: job.network}
    resources = {
        "cpu": f"{max(10, int(settings.cores * 1000))}m",
        "memory": f"{limits.memory_mb}Mi",
        "ephemeral-storage": f"{limits.disk_mb}Mi",
    }
    container: dict[str, Any] = {
        "name": "code",
        "image": job.image or settings.image,
        "command": ["python3", "-I", "-B", "-X", "utf8", "-c", SCRIPT, "/job/job"],
        "workingDir": "/",
        "resources": {"limits": resources, "requests": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "job", "mountPath": "/job", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside
        ],
        "terminationMessagePolicy": "File",
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "job", "secret": {"secretName": name, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": f"{limits.disk_mb}Mi"}},
        ],
    }
    if cluster.runtime_class is not None:
        pod["runtimeClassName"] = cluster.runtime_class
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            # the runner counts the code's own time; this also counts the way to the start
            "activeDeadlineSeconds": math.ceil(limits.seconds) + START_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def secret_manifest(name: str, job_uid: str, content: bytes) -> dict[str, Any]:
    """Give the Secret that the pod reads its job from; it goes when the Job goes."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": {_NAME: "agent-factory-code"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {"job": base64.b64encode(content).decode()},
    }


def policy_manifest(network: str) -> dict[str, Any]:
    """Give the NetworkPolicy for all jobs of a kind: `none`, or `full`, which is names and the public internet."""
    egress: list[dict[str, Any]] = []
    if network == "full":
        names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
        egress = [
            {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_INSIDE)}}]},
            {
                "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
                "ports": names,
            },
        ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"agent-factory-code-{network}", "labels": {_NAME: "agent-factory-code"}},
        "spec": {
            "podSelector": {"matchLabels": {_NAME: "agent-factory-code", _NETWORK: network}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": egress,
        },
    }
