"""A container image made of this machine's own Python: no registry is needed, and none is asked."""

import re
import subprocess
import tarfile
from pathlib import Path

IMAGE = "localhost/agent-factory-test:1"
_PYTHON = Path("/usr/bin/python3").resolve()
_LEFT_OUT = re.compile(r"/(test|idlelib|ensurepip|config-[^/]*|__pycache__)(/|$)")


def write_image(path: Path) -> None:
    """Write the archive of a root folder with a Python that runs in it."""
    library = Path("/usr/lib") / _PYTHON.name
    programs = [_PYTHON, *library.glob("lib-dynload/*.so")]
    with tarfile.open(path, "w") as archive:
        for name, mode in (("tmp", 0o1777), ("proc", 0o755), ("dev", 0o755), ("sys", 0o755), ("etc", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        for link, target in (("lib", "usr/lib"), ("lib64", "usr/lib64"), ("bin", "usr/bin")):
            made = tarfile.TarInfo(link)
            made.type, made.linkname = tarfile.SYMTYPE, target
            archive.addfile(made)
        archive.add(_PYTHON, f"usr/bin/{_PYTHON.name}")
        archive.add(_PYTHON, "usr/bin/python3")
        archive.add(library, f"usr/lib/{library.name}", filter=_wanted)
        for needed in sorted(_libraries(programs)):
            inside = needed if needed.startswith("/usr") else f"/usr{needed}"
            archive.add(Path(needed).resolve(), inside.lstrip("/"))


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search("/" + entry.name) else entry


def _libraries(programs: list[Path]) -> set[str]:
    told = subprocess.run(["ldd", *map(str, programs)], check=True, capture_output=True, text=True).stdout  # noqa: S607 - the one on the path
    return set(re.findall(r"(?:=> |^\s+)(/\S+) \(", told, re.MULTILINE))
