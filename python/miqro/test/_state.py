"""States that are kept in memory, so that a test neither needs nor leaves files."""

from __future__ import annotations

from copy import deepcopy

from miqro import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from miqro import Service

_saved: dict[str, dict[Any, Any]] = {}


class DummyState(State):
    """A state that starts with what was last saved for a service of this name, and saves to memory.

    So a test can make a second service and see it go on where the first one stopped.
    """

    def __init__(self, service: Service) -> None:
        """Start with a copy of what was saved."""
        self.service = service
        self._data = deepcopy(_saved.get(service.SERVICE_NAME, {}))

    def save(self) -> None:
        """Keep a copy of the present content, for the next service of this name."""
        _saved[self.service.SERVICE_NAME] = deepcopy(self._data)


class ReadOnlyDummyState(DummyState):
    """A state that starts empty whatever was saved, and saves to the same place."""

    def __init__(self, service: Service) -> None:
        """Start empty."""
        super().__init__(service)
        self._data = {}


def reset_saved_state() -> None:
    """Forget everything that was saved, for all services: call it before each test."""
    _saved.clear()
