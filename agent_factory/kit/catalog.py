"""Plugin catalogs: a file in a folder is its registration; entry points add third parties."""

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from agent_factory.kit.errors import NotFound, Unavailable

P = TypeVar("P")


class Catalog(Generic[P]):
    """The plugins of one kind, by name, each imported when it is first asked for.

    `package` is the folder (`agent_factory.tools`); every module in it that is
    not a package ends in `plugin = …`. Third parties use the entry-point group
    of the same name and cannot take over a built-in name.
    """

    def __init__(self, package: str) -> None:
        """List the names without importing a plugin."""
        self._package = package
        folder = importlib.import_module(package)
        built_in = {m.name: f"{package}.{m.name}" for m in pkgutil.iter_modules(folder.__path__) if not m.ispkg}
        self._entry_points = {e.name: e for e in entry_points(group=package) if e.name not in built_in}
        self._modules = built_in
        self._loaded: dict[str, P] = {}

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return sorted({*self._modules, *self._entry_points})

    def get(self, name: str) -> P:
        """Load one plugin; an unknown name is `NotFound` with the known ones."""
        if name not in self._loaded:
            if name in self._modules:
                self._loaded[name] = importlib.import_module(self._modules[name]).plugin
            elif name in self._entry_points:
                self._loaded[name] = self._load(self._entry_points[name])
            else:
                raise NotFound(f"There is no {name!r} in {self._package}; known are: {', '.join(self.names())}.")
        return self._loaded[name]

    def _load(self, entry_point: EntryPoint) -> P:
        try:
            return entry_point.load()
        except Exception as error:  # a third party's module may fail in any way while it is imported
            package = entry_point.dist.name if entry_point.dist else entry_point.value
            raise Unavailable(
                f"{entry_point.name!r} of the package {package} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
