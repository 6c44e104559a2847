"""A client double with no more than the methods that miqro 1.x called (contract C45)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Call(NamedTuple):
    """One call of `publish`, as the client got it."""

    topic: str
    payload: Any
    qos: int
    retain: bool


class Recorder:
    """Keeps every call of `publish`, arguments untouched, and returns `answer` (or raises it)."""

    answer: Any = None

    on_connect: Callable[..., object]
    on_disconnect: Callable[..., object]
    on_message: Callable[..., object]

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.published: list[Call] = []
        self.subscribed: list[str] = []
        self.will: Call | None = None
        self.running = False

    def enable_logger(self, logger: object) -> None: ...

    def will_set(self, topic: str, payload: str, retain: bool) -> None:
        self.will = Call(topic, payload, 0, retain)

    def connect_async(self, host: str, port: int) -> None: ...

    def subscribe(self, topic: str) -> None:
        self.subscribed.append(topic)

    def publish(self, topic: str, message: Any, retain: bool = False, qos: int = 0) -> Any:
        self.published.append(Call(topic, message, qos, retain))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def loop_start(self) -> None:
        self.running = True
        self.on_connect(self, None, {}, 0)

    def loop_stop(self) -> None:
        self.running = False
