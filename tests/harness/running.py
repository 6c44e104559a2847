"""A service that runs on a thread of this process, and is stopped at the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from harness.wait import DeadlineError

if TYPE_CHECKING:
    from typing_extensions import Self


class Runnable(Protocol):
    """What of a service is needed here."""

    stop: Any

    def run(self) -> object:
        """Run until ``stop`` is true."""


class Running:
    """Runs ``service.run()`` on a thread from the beginning of the ``with`` until its end.

    Args:
        service: The service.
        timeout: Seconds that it has to end in, once it was told to.
    """

    def __init__(self, service: Runnable, timeout: float = 5.0) -> None:
        self.service = service
        self._timeout = timeout
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def stop(self) -> None:
        """Tell it to end; return when it has.

        Raises:
            DeadlineError: It has not.
        """
        self.service.stop = True
        self.wait()

    def wait(self) -> None:
        """Return when it has ended; raise what it has raised.

        Raises:
            DeadlineError: It has not ended.
        """
        self.thread.join(self._timeout)
        if self.thread.is_alive():
            message = f"run() did not return within {self._timeout} s"
            raise DeadlineError(message)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        """Start it."""
        self.thread.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        """End it; where the test has failed already, that failure is the one to be seen."""
        self.service.stop = True
        if kind is None:
            self.stop()
        else:
            self.thread.join(self._timeout)

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self._error = error
