"""Where the embedded server's socket is: in the data's own folder, or elsewhere when its path is too long."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from agent_factory.database.system_user import SystemUser

_LONGEST = 85
"""Bytes of a folder's path: a socket's whole path has room for 107, on some systems for 103."""


def socket_folder(folder: Path, data: Path) -> Path | None:
    """Give the folder of the socket, or None where a start has yet to make one."""
    if len(os.fsencode(data)) <= _LONGEST and "," not in str(data):  # a comma separates hosts in a URL
        return data
    note = folder / "socket"
    return Path(note.read_text()) if note.exists() else None


def make_socket_folder(folder: Path, data: Path, user: SystemUser) -> Path:
    """Give the folder of the socket, closed to all but the server's user.

    One that had to be made is noted in `folder`, so that the URL stays the
    same when the server comes back.
    """
    known = socket_folder(folder, data)
    if known == data:
        return data
    if known is not None:
        with suppress(OSError):
            known.mkdir(mode=0o700)
            os.chown(known, user.uid, user.gid)
        if user.alone_in(known):
            return known
    short = "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108 - the folder made in it is private
    made = Path(tempfile.mkdtemp(prefix="af-", dir=short))
    os.chown(made, user.uid, user.gid)
    (folder / "socket").write_text(str(made))
    return made


def remove_socket_folder(folder: Path, data: Path) -> None:
    """Remove a folder that was made for the socket alone."""
    known = socket_folder(folder, data)
    if known is not None and known != data:
        with suppress(OSError):
            known.rmdir()
