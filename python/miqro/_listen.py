"""An event loop that hears of the engine: through its descriptor, or through a thread where it cannot."""

from __future__ import annotations

import threading
from weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ._native import Wake


class Listener:
    """Calls `callback` on `loop` whenever `wake` is notified, until it is closed.

    It does not keep the loop alive.

    Args:
        loop: The event loop; this is its thread.
        wake: What is notified. `callback` takes the notification back, with `clear()`.
        callback: What is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake, callback: Callable[[], object]) -> None:
        self._loop, self._wake, self._callback = ref(loop), wake, callback
        self._closed = False
        self._handled: threading.Event | None = None
        try:
            loop.add_reader(wake.fileno(), callback)
        except NotImplementedError:
            # A loop that waits for completions, not for descriptors (`ProactorEventLoop`, and those like it).
            self._handled = threading.Event()
            threading.Thread(target=self._wait, name="miqro-wake", daemon=True).start()

    def close(self) -> None:
        """Calls nothing any more."""
        if self._closed:
            return
        self._closed = True
        if self._handled is not None:
            self._handled.set()
            self._wake.notify()
            return
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._wake.fileno())

    def _wait(self) -> None:
        handled = self._handled
        assert handled is not None  # noqa: S101 - it is why this thread runs
        while not self._closed:
            self._wake.wait()
            handled.clear()
            loop = self._loop()
            if self._closed or loop is None:
                return
            try:
                loop.call_soon_threadsafe(self._call)
            except RuntimeError:
                # The loop has been closed.
                return
            del loop
            handled.wait()

    def _call(self) -> None:
        handled = self._handled
        assert handled is not None  # noqa: S101 - as above
        if not self._closed:
            self._callback()
        handled.set()
