"""Paths that are made when somebody asks for them: `pathlib` takes longer to import than miqro does."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


class _Paths:
    """An attribute of a class: a list of paths or one path, the same object each time."""

    __slots__ = ("_names", "_value")

    def __init__(self, names: str | tuple[str, ...]) -> None:
        self._names = names
        self._value: Path | list[Path] | None = None

    def __get__(self, instance: object, owner: type | None = None) -> Path | list[Path]:
        if self._value is None:
            from pathlib import Path

            names = self._names
            self._value = Path(names) if isinstance(names, str) else [Path(name) for name in names]
        return self._value


def path(name: str) -> Any:
    """Gives an attribute of a class that is the path of this name."""
    return _Paths(name)


def paths(*names: str) -> Any:
    """Gives an attribute of a class that is the list of the paths of these names."""
    return _Paths(names)
