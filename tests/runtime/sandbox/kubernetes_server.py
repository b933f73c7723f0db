"""A stand-in for a cluster: the API server's real protocol, with pods that are plain processes of this machine.

Run `python -m tests.runtime.sandbox.kubernetes_server`; the first line on
stdout is `{"url": "http://127.0.0.1:N"}`; it ends when its standard input does.

It takes, checks against the published schemas, keeps, lists, watches and
deletes Jobs, Secrets, Pods and NetworkPolicies, and serves logs. A Job's pod
starts once its Secret is there, with the Secret's files; it has no isolation at
all, so nothing is shown here about a cluster's own walls. A deleted Job takes
with it what it owns. `GET /seen` gives every request so far.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
from aiohttp import web

VERSION = "1.37"
Object = dict[str, Any]


class Cluster:
    """What the cluster knows."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.versions = itertools.count(1)
        self.changed = asyncio.Condition()
        self.history: list[tuple[str, str, Object]] = []
        self.logs: dict[str, bytes] = {}
        self.running: dict[str, asyncio.Task[None]] = {}
        self.seen: list[dict[str, Any]] = []

    async def put(self, kind: str, what: str, thing: Object) -> None:
        thing["metadata"]["resourceVersion"] = str(next(self.versions))
        key = (thing["metadata"]["namespace"], kind, thing["metadata"]["name"])
        if what == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = thing
        async with self.changed:
            self.history.append((what, kind, json.loads(json.dumps(thing))))
            self.changed.notify_all()

    def listed(self, namespace: str, kind: str, query: dict[str, str]) -> list[Object]:
        return [o for (ns, k, _), o in self.objects.items() if (ns, k) == (namespace, kind) and chosen(o, query)]


CLUSTER: web.AppKey[Cluster] = web.AppKey("cluster", Cluster)


def chosen(thing: Object, query: dict[str, str]) -> bool:
    """Tell whether an object is meant by a field selector and a label selector."""
    meta = thing["metadata"]
    name, _, value = query.get("fieldSelector", "").partition("=")
    label, _, wanted = query.get("labelSelector", "").partition("=")
    return (name != "metadata.name" or meta["name"] == value) and (
        not label or meta.get("labels", {}).get(label) == wanted
    )


def refuse(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "status": "Failure", "message": message, "code": status}, status=status)


async def create(request: web.Request) -> web.Response:
    cluster, kind = request.app[CLUSTER], request.match_info["kind"]
    thing: Object = await request.json()
    try:
        kubernetes_validate.validate(thing, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return refuse(422, str(error))
    meta = thing["metadata"]
    meta["namespace"] = request.match_info["namespace"]
    if (meta["namespace"], kind, meta["name"]) in cluster.objects:
        return refuse(409, f"{kind} {meta['name']} already exists")
    meta["uid"] = os.urandom(16).hex()
    await cluster.put(kind, "ADDED", thing)
    if kind == "jobs":
        cluster.running[meta["uid"]] = asyncio.create_task(run(cluster, thing))
    return web.json_response(thing, status=201)


async def look(request: web.Request) -> web.StreamResponse:
    cluster, query = request.app[CLUSTER], dict(request.query)
    namespace, kind = request.match_info["namespace"], request.match_info["kind"]
    if query.get("watch") != "1":
        return web.json_response({"kind": "List", "items": cluster.listed(namespace, kind, query)})
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    at = len(cluster.history)
    for thing in cluster.listed(namespace, kind, query):
        await response.write(json.dumps({"type": "ADDED", "object": thing}).encode() + b"\n")
    # real servers end a watch when they like; this one does after each change
    async with cluster.changed:
        await cluster.changed.wait_for(lambda: len(cluster.history) > at)
    for what, changed_kind, thing in cluster.history[at:]:
        if changed_kind == kind and thing["metadata"]["namespace"] == namespace and chosen(thing, query):
            await response.write(json.dumps({"type": what, "object": thing}).encode() + b"\n")
    return response


async def delete(request: web.Request) -> web.Response:
    cluster = request.app[CLUSTER]
    namespace, kind = request.match_info["namespace"], request.match_info["kind"]
    for thing in cluster.listed(namespace, kind, dict(request.query)):
        uid = thing["metadata"]["uid"]
        task = cluster.running.pop(uid, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await cluster.put(kind, "DELETED", thing)
        for (_, owned_kind, _), owned in list(cluster.objects.items()):
            if any(owner["uid"] == uid for owner in owned["metadata"].get("ownerReferences", [])):
                await cluster.put(owned_kind, "DELETED", owned)
    return web.json_response({"kind": "Status", "status": "Success"})


async def read_log(request: web.Request) -> web.Response:
    text = request.app[CLUSTER].logs.get(request.match_info["pod"], b"")
    return web.Response(body=text[: int(request.query["limitBytes"])])


async def run(cluster: Cluster, job: Object) -> None:
    """Be the job controller, the scheduler and the kubelet of one Job."""
    meta, spec = job["metadata"], job["spec"]["template"]["spec"]
    name, namespace = meta["name"], meta["namespace"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": meta["uid"]}
    labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": name}
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-x", "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
        "status": {"phase": "Pending"},
    }
    await cluster.put("pods", "ADDED", pod)
    how, reason, code = "Complete", "Completed", 0
    try:
        async with asyncio.timeout(job["spec"]["activeDeadlineSeconds"]):
            secret = await find_secret(cluster, namespace, spec["volumes"][0]["secret"]["secretName"])
            code = await run_pod(cluster, pod, spec["containers"][0], secret)
        if code != 0:
            how, reason = "Failed", "BackoffLimitExceeded"
    except TimeoutError:
        how, reason = "Failed", "DeadlineExceeded"
    state = {"terminated": {"exitCode": code, "reason": "OOMKilled" if code == 137 else "Completed"}}
    pod["status"] = {"phase": "Succeeded", "containerStatuses": [{"name": "code", "state": state}]}
    await cluster.put("pods", "MODIFIED", pod)
    job["status"] = {"conditions": [{"type": how, "status": "True", "reason": reason}]}
    await cluster.put("jobs", "MODIFIED", job)


async def find_secret(cluster: Cluster, namespace: str, name: str) -> Object:
    async with cluster.changed:
        await cluster.changed.wait_for(lambda: (namespace, "secrets", name) in cluster.objects)
    return cluster.objects[namespace, "secrets", name]


async def run_pod(cluster: Cluster, pod: Object, container: Object, secret: Object) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in secret["data"].items():
            (Path(folder) / name).write_bytes(base64.b64decode(content))
        command = [
            sys.executable if word == "python3" else word.replace("/job/", f"{folder}/")
            for word in container["command"]
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.defpath},
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            text = bytearray()
            while piece := await process.stdout.read(1 << 16):
                text += piece
                cluster.logs[pod["metadata"]["name"]] = bytes(text[:50_000_000])
            code = await process.wait()
            return 128 - code if code < 0 else code
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@web.middleware
async def note(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.path != "/seen":
        body = (await request.read()).decode()
        seen = {"method": request.method, "path": request.path, "query": dict(request.query)}
        seen |= {"authorization": request.headers.get("Authorization", ""), "body": json.loads(body) if body else None}
        request.app[CLUSTER].seen.append(seen)
    if "forbidden" in request.path:
        return refuse(403, "this account may not")
    return await handler(request)


async def tell(request: web.Request) -> web.Response:
    return web.json_response(request.app[CLUSTER].seen)


async def main() -> None:
    app = web.Application(middlewares=[note], client_max_size=10_000_000)
    app[CLUSTER] = Cluster()
    for group in ("/api/v1", "/apis/batch/v1", "/apis/networking.k8s.io/v1"):
        path = group + "/namespaces/{namespace}/{kind}"
        app.add_routes([web.post(path, create), web.get(path, look), web.delete(path, delete)])
    app.add_routes([web.get("/api/v1/namespaces/{namespace}/pods/{pod}/log", read_log), web.get("/seen", tell)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
