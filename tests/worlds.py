"""A service on the engine's client and a real broker, or on a double: for tests of what holds in both worlds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import wait_until
from miqro.test.tools import DummyMQTTClient, DummyState
from services import DEADLINE, Running, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from harness import Broker, Observer
    from harness.observer import Message

    Config = Callable[..., Path]


class World:
    """Where a service lives: what it is sent, and what it has said."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.kind: str = request.param
        self._write: Config = request.getfixturevalue("write_config")
        if self.kind == "engine":
            self._broker: Broker = request.getfixturevalue("broker")
            self._observer: Observer = request.getfixturevalue("observer")

    def make(self, cls: type[Any], more: str = "", **options: Any) -> Any:
        """Make a service that lives here."""
        if self.kind == "engine":
            self.service = cls(self._write(self._broker.port, more), state_cls=DummyState, **options)
        else:
            self.service = cls(
                self._write(1883, more), mqtt_client_cls=DummyMQTTClient, state_cls=DummyState, **options
            )
        return self.service

    def ready(self, running: Running) -> None:
        """Wait until the service's subscriptions stand."""
        if self.kind == "engine":
            running.subscribed()
        else:
            running.wait(lambda: self.service.mqtt_client.subscribed)

    def send(self, topic: str, payload: str) -> None:
        """Publish to the service."""
        if self.kind == "engine":
            self._observer.publish(topic, payload)
        else:
            receive(self.service, topic, payload, dispatch=False)

    def wait_for(self, topic: str, payload: str) -> Any:
        """Wait until the service has published this; return it, with its `qos` and `retain`."""
        if self.kind == "engine":
            message: Message = self._observer.wait_for(topic, payload)
            return message
        queue = self.service.mqtt_client.message_queue
        found: Any = wait_until(
            lambda: [item for item in queue if item == (topic, payload)],
            DEADLINE,
            f"{payload!r} on {topic!r}",
        )
        return found[0]
