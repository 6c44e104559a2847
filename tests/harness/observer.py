"""A third MQTT client that writes down what it sees. It is paho's, so that it shares no mistake with ours."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import paho.mqtt.client as paho

from harness.wait import DeadlineError, Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

# Far more than anything takes, also on a machine that is busy with other things.
TIMEOUT = 30.0
_numbers = itertools.count(1)


class Message(NamedTuple):
    """A message as it came off the wire."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    at: float
    """When it came, in seconds of the monotonic clock."""

    @property
    def text(self) -> str:
        """The payload as text."""
        return self.payload.decode()


class Observer:
    """Connects, subscribes, and records every message in the order of arrival.

    Args:
        port: The broker's.
        filters: What to subscribe to, at QoS 2, so that messages arrive with the QoS they were published at.
        username: To log in with.
        password: To log in with.
        durable: Have the broker keep what it misses while it is away; it comes back by itself.
    """

    def __init__(
        self,
        port: int,
        *filters: str,
        username: str | None = None,
        password: str | None = None,
        durable: bool = False,
    ) -> None:
        self.received: Log[Message] = Log()
        self._filters = filters or ("#",)
        self._subscribed = threading.Event()
        self._port = port
        self._client = paho.Client(
            f"observer-{next(_numbers)}-{time.monotonic_ns()}", clean_session=not durable
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages_set(20)
        self._client.max_queued_messages_set(0)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_message = self._on_message

    def start(self) -> Self:
        """Connect; return when the broker has confirmed the subscriptions.

        Raises:
            DeadlineError: It did not.
        """
        self._client.connect("127.0.0.1", self._port, keepalive=60)
        self._client.loop_start()
        self.wait_subscribed()
        return self

    @property
    def subscribed(self) -> bool:
        """Whether the broker has confirmed the subscriptions of this connection."""
        return self._subscribed.is_set()

    def wait_subscribed(self, timeout: float = TIMEOUT) -> None:
        """Return when it is subscribed: at once, or again after the broker was restarted."""
        if not self._subscribed.wait(timeout):
            message = f"the observer was not subscribed within {timeout} s"
            raise DeadlineError(message)

    def close(self) -> None:
        """Disconnect and end its thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    def publish(self, topic: str, payload: str | bytes = b"", qos: int = 1, *, retain: bool = False) -> None:
        """Publish; at QoS 1 and 2 return when the broker has taken it over."""
        info = self._client.publish(topic, payload, qos, retain)
        info.wait_for_publish(TIMEOUT)
        if not info.is_published():
            message = f"the broker did not take a message on {topic!r} within {TIMEOUT} s"
            raise DeadlineError(message)

    def publish_many(self, messages: list[tuple[str, bytes]], qos: int = 1, timeout: float = 60.0) -> None:
        """Publish all; return when the broker has taken them over."""
        infos = [self._client.publish(topic, payload, qos) for topic, payload in messages]
        deadline = time.monotonic() + timeout
        for info in infos:
            info.wait_for_publish(max(0.0, deadline - time.monotonic()))
            if not info.is_published():
                message = f"the broker did not take {len(infos)} messages within {timeout} s"
                raise DeadlineError(message)

    def wait_for(
        self,
        topic: str,
        payload: str | bytes | None = None,
        *,
        where: Callable[[Message], bool] | None = None,
        start: int = 0,
        timeout: float = TIMEOUT,
    ) -> Message:
        """Return the first message (from index ``start`` of the record on) that fits, waiting for it.

        Args:
            topic: Its topic.
            payload: Its payload, or ``None`` for any.
            where: What else must hold.
            start: ``len(observer.received)`` at some moment: only what came after that moment counts.
            timeout: Seconds.

        Raises:
            DeadlineError: It did not come; the text shows what came last.
        """
        wanted = payload.encode() if isinstance(payload, str) else payload

        def fits(message: Message) -> bool:
            return (
                message.topic == topic
                and (wanted is None or message.payload == wanted)
                and (where is None or where(message))
            )

        what = f"a message on {topic!r}" + (f" with payload {wanted[:200]!r}" if wanted is not None else "")
        return self.received.wait_for(fits, timeout, what, start=start)

    def wait_count(self, topic: str, count: int, timeout: float = TIMEOUT) -> list[Message]:
        """Return the messages of a topic as soon as there are ``count`` of them."""
        return self.received.wait_for_count(
            count, timeout, f"messages on {topic!r}", lambda m: m.topic == topic
        )

    def on(self, topic: str) -> list[Message]:
        """Return the messages of a topic that came so far."""
        return [message for message in self.received.all() if message.topic == topic]

    def payloads(self, topic: str) -> list[str]:
        """Return the payloads of a topic, as text, that came so far."""
        return [message.text for message in self.on(topic)]

    def barrier(self, timeout: float = TIMEOUT, *, qos: int = 1) -> int:
        """Send a message to itself and wait for it; return the length of the record then.

        What the broker had accepted before this call is in the record afterwards: the way to say "nothing
        came" without waiting for some time. What came at QoS 2 needs one at QoS 2: it is there only when the broker
        has released it.
        """
        marker = f"harness/barrier/{next(_numbers)}"
        if "#" not in self._filters:
            message = "a barrier needs an observer that is subscribed to '#'"
            raise ValueError(message)
        self._client.publish(marker, b"", qos)
        self.wait_for(marker, timeout=timeout)
        return len(self.received)

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, code: int) -> None:
        if code == 0:
            client.subscribe([(item, 2) for item in self._filters])

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self.received.append(
            Message(message.topic, message.payload, message.qos, bool(message.retain), time.monotonic())
        )
