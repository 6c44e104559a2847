"""Waiting for what happens elsewhere, always with a deadline."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class DeadlineError(AssertionError):
    """What a test waited for did not happen in time. An assertion: the test has failed, not the harness."""


def wait_until(probe: Callable[[], T], timeout: float, what: str) -> T:
    """Ask ``probe`` until what it returns is true; return that.

    For state that cannot notify anybody (a file, another process). Where something can, use :class:`Log`.

    Args:
        probe: Asked every few milliseconds.
        timeout: Seconds until this gives up.
        what: Ends the sentence "... did not happen: {what}".

    Raises:
        DeadlineError: Time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            message = f"within {timeout} s this did not happen: {what}"
            raise DeadlineError(message)
        time.sleep(0.005)


class Log(Generic[T]):
    """A list that one thread appends to while others wait for what they look for to be in it."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._changed = threading.Condition()

    def append(self, item: T) -> None:
        """Add an item and wake who waits."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def all(self) -> list[T]:
        """Return a copy of what is there by now."""
        with self._changed:
            return list(self._items)

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self._items.clear()

    def __len__(self) -> int:
        """Return how many items are there by now."""
        with self._changed:
            return len(self._items)

    def wait_for(self, predicate: Callable[[T], bool], timeout: float, what: str, *, start: int = 0) -> T:
        """Return the first item from index ``start`` on that fulfils ``predicate``, waiting for it.

        Raises:
            DeadlineError: Time is up; the text shows the last items.
        """
        found: list[T] = []

        def look() -> bool:
            nonlocal start
            while start < len(self._items):
                item = self._items[start]
                start += 1
                if predicate(item):
                    found.append(item)
                    return True
            return False

        with self._changed:
            if not self._changed.wait_for(look, timeout):
                tail = "\n  ".join(str(item) for item in self._items[-30:]) or "(nothing)"
                message = f"within {timeout} s this did not happen: {what}. Seen last:\n  {tail}"
                raise DeadlineError(message)
        return found[0]

    def wait_for_count(
        self, count: int, timeout: float, what: str, predicate: Callable[[T], bool] | None = None
    ) -> list[T]:
        """Return all items that fulfil ``predicate`` as soon as there are ``count`` of them.

        Raises:
            DeadlineError: Time is up; the text says how many there were.
        """

        def chosen() -> list[T]:
            return [item for item in self._items if predicate is None or predicate(item)]

        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self._items) >= count and len(chosen()) >= count, timeout
            ):
                message = f"within {timeout} s there were {len(chosen())} of {count}: {what}"
                raise DeadlineError(message)
            return chosen()
