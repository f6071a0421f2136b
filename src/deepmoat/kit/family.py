"""Family: all components of one kind. The file name is the component's name.

Nothing registers itself: names come from the folder (and, for other people's packages, from
entry points), and a module is imported when it is first asked for.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Generic, TypeVar

from deepmoat.kit.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Family(Generic[T]):
    """Components of type ``base`` found in ``package`` or the entry-point group of that name."""

    package: str
    base: type[T]

    def names(self) -> list[str]:
        """Every name known, without importing any of them."""
        own = [m.name for m in iter_modules(import_module(self.package).__path__)]
        return sorted({*own, *(e.name for e in entry_points(group=self.package))})

    def get(self, name: str) -> type[T]:
        """The class behind ``name``; ConfigError with the known names where there is none."""
        names = self.names()
        if name not in names:
            close = get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
            raise ConfigError(f"no such component: {name!r}", where=self.package, hint=hint)
        for point in entry_points(group=self.package, name=name):
            return self._only_class(point.load())
        return self._only_class(import_module(f"{self.package}.{name}"))

    def __iter__(self) -> Iterator[tuple[str, type[T]]]:
        return ((name, self.get(name)) for name in self.names())

    def _only_class(self, module: ModuleType) -> type[T]:
        found = [
            c
            for _, c in inspect.getmembers(module, inspect.isclass)
            if c.__module__ == module.__name__ and issubclass(c, self.base)
        ]
        if len(found) != 1:
            raise ConfigError(f"want one {self.base.__name__}, found {len(found)}", where=module.__name__)
        return found[0]
