"""Serves the application: granian's workers under this process, which itself never imports it."""

import ctypes
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from agent_factory.cli.problems import CommandFailed

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 30
_HEADER_BYTES = 65_536
_BACKLOG = 4096
_MOST_FILES = 65_536

Load = Callable[[], Callable[..., Any]]
"""Makes the ASGI application; called in the process that serves it."""


class PortTaken(CommandFailed):
    """Something else listens where the server should."""

    code = "port_taken"
    title = "The port is taken"


class StartFailed(CommandFailed):
    """The server's process ended by itself."""

    code = "server_stopped"
    title = "The server stopped by itself"


def free_port(host: str, port: int) -> int:
    """Give the port to listen on (any free one for 0), or raise `PortTaken`.

    The servers share ports between their workers, so a second server would
    start unseen beside a first one; this look goes without sharing.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise CommandFailed(f"{host!r} is no address of this machine.") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except PermissionError:
            raise CommandFailed(f"Port {port} needs more rights than you have; choose one above 1023.") from None
        except OSError as error:
            raise PortTaken(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop what is there, or choose another by --port."
            ) from None
        return int(probe.getsockname()[1])


def serve_granian(
    load: Load, host: str, port: int, *, workers: int, header_timeout: float, ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then let the requests in flight finish.

    `header_timeout` is in seconds; see `ServerSettings`.
    `ready` is called, from a thread, once the first worker answers.
    """
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server

    server = Server(
        "agent_factory",
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        # With HTTP/2 beside it, a connection that says nothing, or half of HTTP/2's greeting, is never closed.
        http=HTTPModes.http1,
        websockets=False,
        loop=Loops.uvloop,
        log_level=LogLevels.error,
        backlog=_BACKLOG,
        backpressure=_connections(),
        http1_settings=HTTP1Settings(header_read_timeout=int(header_timeout * 1000), max_buffer_size=_HEADER_BYTES),
        workers_kill_timeout=_GRACE_SECONDS,
    )
    stopped = threading.Event()
    _watch(host, port, ready, stopped)

    def load_in_worker() -> Callable[..., Any]:
        _die_with_parent()
        return load()

    try:
        server.serve(target_loader=load_in_worker, wrap_loader=False)
    except SystemExit:
        raise StartFailed("The server's worker ended by itself; what it wrote above says why.") from None
    finally:
        stopped.set()


def _connections() -> int:
    """Give how many connections a worker takes, after asking for as many files as it may have open.

    What they send is bounded by the application; were connections, those that
    say nothing would keep the others out.
    """
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    if now < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(128, files // 2)


def serve_uvicorn(load: Load, host: str, port: int, *, ready: Callable[[], None]) -> None:
    """Serve in this one process, until SIGTERM or SIGINT."""
    import uvicorn

    for sign in (signal.SIGTERM, signal.SIGINT):
        # uvicorn sends itself the signal again once it has stopped, and there is more to stop than it
        signal.signal(sign, _ignored)
    stopped = threading.Event()
    _watch(host, port, ready, stopped)
    try:
        uvicorn.run(
            load(),
            host=host,
            port=port,
            log_level="error",
            access_log=False,
            ws="none",
            proxy_headers=False,  # the application knows whom to believe
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    finally:
        stopped.set()


def _ignored(_sign: int, _frame: object) -> None:
    """Do nothing about a signal; unlike `SIG_IGN`, children do not inherit that."""


def _watch(host: str, port: int, ready: Callable[[], None], stopped: threading.Event) -> None:
    """Call `ready` as soon as the server takes connections, unless it has stopped by then.

    Both servers listen only once the application has started.
    """
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - names what "any address" is reached by

    def look() -> None:
        while not stopped.wait(_POLL_SECONDS):
            try:
                socket.create_connection((address, port), timeout=_POLL_SECONDS).close()
            except OSError:
                continue
            ready()
            return

    threading.Thread(target=look, name="ready", daemon=True).start()


def _die_with_parent() -> None:
    """Ask the kernel to end this worker when its parent is gone, even by kill -9.

    At once, for nobody is left who would end a worker that hangs in its own end
    and goes on holding the port; what was acknowledged is in the database.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
