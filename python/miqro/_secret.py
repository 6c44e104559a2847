"""Values that are not to be shown: from `!secret`, `!env`, or a password of the configuration."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Hidden:
    """The base of values that `repr()` does not show, so that no log of a configuration or a traceback has them.

    Attributes:
        origin: Where the value comes from, such as ``!secret NAME``.
    """

    __slots__ = ()

    origin: str

    def __repr__(self) -> str:
        return "'(hidden)'"


class HiddenText(Hidden, str):
    """A text; `str()` and everything else but `repr()` give what it is."""

    __slots__ = ("origin",)

    __str__ = str.__str__

    def __reduce__(self) -> tuple[Any, ...]:
        return hide, (str(self), self.origin)


class HiddenInt(Hidden, int):
    """A whole number, likewise."""

    __str__ = int.__repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return hide, (int(self), self.origin)


class HiddenFloat(Hidden, float):
    """Another number, likewise."""

    __str__ = float.__repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return hide, (float(self), self.origin)


_CLASSES: dict[type, type[Any]] = {str: HiddenText, int: HiddenInt, float: HiddenFloat}


def hide(value: Any, origin: str) -> Any:
    """Gives a value as one that is not shown; equal to it, and of its type.

    Args:
        value: A text or a number. Of other types, which are no secrets, it is given back as it is.
        origin: Where it comes from.

    Returns:
        The value, hidden.
    """
    hidden_class = _CLASSES.get(type(value))
    if hidden_class is None:
        return value
    hidden = hidden_class(value)
    hidden.origin = origin
    return hidden
