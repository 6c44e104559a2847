"""What the tests of services share: services on a double or on a broker, running in a thread, with a deadline."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from harness import wait_until
from harness.wait import Log
from miqro.test.tools import DummyMessage, DummyMQTTClient, DummyState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Self

    import miqro

    S = TypeVar("S", bound=miqro.Service)

#: Long enough for a machine that does ten other things; nobody waits for it unless something is broken.
DEADLINE = 30.0


def make(cls: Callable[..., S], config: Path, client: Any = DummyMQTTClient) -> S:
    """Make a service on a double, by default the one of the package."""
    return cls(config, mqtt_client_cls=client, state_cls=DummyState)


def receive(service: miqro.Service, topic: str, payload: bytes | str = b"", *, dispatch: bool = True) -> None:
    """Have the client double of a service receive a message; dispatch it on this thread."""
    service._on_message(service.mqtt_client, None, DummyMessage(topic, payload))
    if dispatch:
        service._drain_incoming()


def deliver(service: miqro.Service, topic: str, payload: str = "x") -> None:
    """Have the client double of a service receive a message; whoever runs the service dispatches it."""
    receive(service, topic, payload, dispatch=False)


def ends_with(seen: list[Any], *last: object) -> Callable[[], bool]:
    """Return a question to wait for: whether these are the last things that were seen."""
    return lambda: seen[-len(last) :] == list(last)


def loop_of(service: miqro.Service, name: str) -> miqro.Loop:
    """Return the loop of a service that calls the function of this name."""
    return next(loop for loop in service.LOOPS or () if getattr(loop.fn, "__name__", "") == name)


class Running:
    """Runs a service in a thread for the length of a ``with``, then stops it; what `run()` raised is raised.

    Args:
        service: The service.
    """

    def __init__(self, service: miqro.Service) -> None:
        self.service = service
        self.error: BaseException | None = None
        self.granted = 0
        if hasattr(service.mqtt_client, "on_subscribe"):
            service.mqtt_client.on_subscribe = self._on_subscribe
        self.thread = threading.Thread(target=self._run, name=f"runs {service}", daemon=True)

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self.error = error

    def wait(self, probe: Callable[[], Any], what: str = "") -> Any:
        """Wait until `probe()` is true while the service runs; return what it returned."""

        def look() -> Any:
            found = probe()
            if not found and not self.thread.is_alive():
                message = f"run() ended while waiting for {what or 'something'}: {self.error!r}"
                raise AssertionError(message) from self.error
            return found

        return wait_until(look, DEADLINE, what or "what the test waits for")

    def connected(self) -> Self:
        """Wait until the service is connected."""
        self.wait(lambda: self.service.is_connected, "the service is connected")
        return self

    def subscribed(self, times: int = 1) -> Self:
        """Wait until the broker has confirmed subscriptions so many times: what is published then arrives."""
        self.wait(lambda: self.granted >= times, "the broker confirms the subscriptions")
        return self

    def _on_subscribe(self, *_: object) -> None:
        self.granted += 1

    def join(self) -> None:
        """Wait for the end of `run()`; raise what it raised."""
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive(), "run() did not end"
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        """Start it."""
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop it."""
        self.service.stop = True
        self.thread.join(DEADLINE)
        if kind is None:
            self.join()


class Records(logging.Handler):
    """The records of a logger, for tests that wait for one of another thread."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.log: Log[logging.LogRecord] = Log()
        self._logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.log.append(record)

    def texts(self, level: int = logging.NOTSET) -> list[str]:
        """Return the messages of this level and above."""
        return [record.getMessage() for record in self.log.all() if record.levelno >= level]

    def __enter__(self) -> Self:
        """Listen."""
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._logger.removeHandler(self)
