"""What a third client sees on the wire, and what the broker tells of its clients."""

from __future__ import annotations

import itertools
import re
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness.wait import DeadlineError, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Self

    from harness import Broker

TIMEOUT = 20.0
_numbers = itertools.count(1)


class Message(NamedTuple):
    """A message with QoS and retain flag as its publisher set them."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Tap:
    """The third client: it records everything that others publish, and publishes for the scenarios.

    It speaks MQTT 5, since only there a subscriber is told the retain flag of a live message.
    """

    def __init__(self, port: int) -> None:
        self.received: Log[Message] = Log()
        self._port = port
        self._subscribed = threading.Event()
        self._ear = paho.Client(f"tap-{time.monotonic_ns()}", protocol=paho.MQTTv5)
        self._ear.on_connect = self._on_connect
        self._ear.on_subscribe = lambda *_: self._subscribed.set()
        self._ear.on_message = self._on_message
        self._ear.max_queued_messages_set(0)
        # What the ear itself says it does not hear: a barrier needs another mouth.
        self._marker = paho.Client(f"marker-{time.monotonic_ns()}")

    def __enter__(self) -> Self:
        """Connect; return when it hears everything."""
        properties = Properties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = 1000
        for client, more in (
            (self._ear, {"clean_start": True, "properties": properties}),
            (self._marker, {}),
        ):
            client.connect("127.0.0.1", self._port, 60, **more)
            client.loop_start()
        if not self._subscribed.wait(TIMEOUT):
            raise DeadlineError(f"the tap was not subscribed within {TIMEOUT} s")
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        for client in (self._ear, self._marker):
            client.disconnect()
            client.loop_stop()

    def publish(self, topic: str, payload: str | bytes, qos: int = 1, *, retain: bool = False) -> None:
        """Publish; return when the broker has it."""
        info = self._ear.publish(topic, payload, qos, retain)
        info.wait_for_publish(TIMEOUT)
        if not info.is_published():
            raise DeadlineError(f"the broker did not take a message on {topic!r} within {TIMEOUT} s")

    def barrier(self) -> None:
        """Return when everything that the broker had accepted before the call is recorded."""
        topic = f"tap/barrier/{next(_numbers)}"
        start = len(self.received)
        self._marker.publish(topic, b"", 1)
        self.received.wait_for(lambda m: m.topic == topic, TIMEOUT, "the barrier comes back", start=start)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe("#", options=SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True))

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self.received.append(Message(message.topic, message.payload, message.qos, bool(message.retain)))


class Session(NamedTuple):
    """One thing that the broker tells of a client: `what` is connect, will, subscribe, unsubscribe or gone."""

    client: str
    what: str
    detail: str


#: Lines of mosquitto's log. A will follows the line of its client's connect.
_CONNECT = re.compile(r"New client connected from \S+ as (.+) \((p\d, c\d, k\d+)(?:, u'(.*)')?\)\.$")
_WILL = re.compile(r"Will message specified \(\d+ bytes\) \((r\d, q\d)\)\.$")
_GRANTED = re.compile(r"^\d+: (\S.*?) ([012]) (\S+)$")
_UNSUBSCRIBE = re.compile(r"Received UNSUBSCRIBE from (.+)$")
_GONE = re.compile(
    r"Client (.+?) (?:closed its connection|disconnected|has exceeded timeout|already connected)"
)
_REFUSED = re.compile(r"Sending CONNACK to (.+) \(0, ([1-9]\d*)\)$")


class BrokerLog:
    """Follows the log of a broker and records what it tells of the clients' sessions."""

    def __init__(self, broker: Broker) -> None:
        self.events: Log[Session] = Log()
        self._path: Path = broker.folder / "mosquitto.log"
        self._stop = threading.Event()
        self._last = ""
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        """Start to follow."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def wait_for(self, predicate: Callable[[Session], bool], what: str, start: int = 0) -> Session:
        """Wait for an event from index `start` on; return it."""
        return self.events.wait_for(predicate, TIMEOUT, what, start=start)

    def _follow(self) -> None:
        with self._path.open("rb") as log:
            rest = b""
            while not self._stop.is_set():
                data = log.read()
                if not data:
                    # A file cannot tell that it has grown.
                    self._stop.wait(0.005)
                    continue
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._line(line.decode(errors="replace"))

    def _line(self, line: str) -> None:
        if found := _CONNECT.search(line):
            self._last = found[1]
            user = f", user {found[3]}" if found[3] else ""
            self.events.append(Session(found[1], "connect", found[2] + user))
        elif found := _WILL.search(line):
            self.events.append(Session(self._last, "will", found[1]))
        elif found := _REFUSED.search(line):
            self.events.append(Session(found[1], "refused", found[2]))
        elif found := _UNSUBSCRIBE.search(line):
            self.events.append(Session(found[1], "unsubscribe", ""))
        elif found := _GONE.search(line):
            self.events.append(Session(found[1], "gone", ""))
        elif found := _GRANTED.search(line):
            self.events.append(Session(found[1], "subscribe", f"{found[3]} q{found[2]}"))
