"""A client that has no broker: it keeps what a service publishes and delivers what a test sends."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Any

    from typing_extensions import Self

    from miqro.mqtt import Properties


class DummyMessage:
    """A message as a service receives it.

    Args:
        topic: Its topic.
        payload: Its payload; text and numbers are encoded, `None` is an empty payload.
        retain: Whether the broker had kept it.
        properties: What else it says (MQTT 5): a `miqro.mqtt.Properties`.

    Raises:
        TypeError: The payload is of another type.
    """

    def __init__(
        self, topic: str, payload: object = b"", retain: bool = False, properties: Properties | None = None
    ) -> None:
        self.topic = topic
        self.properties = properties
        self.payload = _encode(payload)
        self.retain = retain
        self.qos = 0
        self.mid = 0
        self.dup = False

    def __repr__(self) -> str:
        return f"DummyMessage({self.topic!r}, {self.payload!r}, retain={self.retain})"


class Published(tuple[str, str]):  # noqa: SLOT001 - it has attributes
    """A message that the service published: the pair of topic and text, with what else it was published with.

    Attributes:
        topic: The topic.
        text: The payload as text.
        payload: The payload as it goes over the wire.
        qos: The quality of service.
        retain: Whether the broker shall keep it.
        properties: What else it says (MQTT 5).
    """

    topic: str
    text: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties | None

    def __new__(
        cls,
        topic: str,
        payload: object,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> Self:
        """Make the pair; the payload is decoded as a service's handler would."""
        encoded = _encode(payload)
        text = encoded.decode("utf-8", errors="replace")
        self = super().__new__(cls, (topic, text))
        self.topic, self.text, self.payload, self.qos, self.retain = topic, text, encoded, qos, retain
        self.properties = properties
        return self


class DummyPublishInfo:
    """What `publish` of the double returns: accepted, and delivered at once.

    Attributes:
        rc: 0, for accepted.
        mid: Number of the message, from 1.
    """

    def __init__(self, rc: int = 0, mid: int = 0) -> None:
        self.rc = rc
        self.mid = mid

    def __iter__(self) -> Iterator[int]:
        """Unpack as the pair `(rc, mid)`."""
        return iter((self.rc, self.mid))

    def __await__(self) -> Generator[Any, None, DummyPublishInfo]:
        """Return at once."""
        return self
        yield

    def is_published(self) -> bool:
        """Say yes."""
        return True

    def wait_for_publish(self, timeout: float | None = None) -> None:
        """Return at once."""


class DummyMQTTClient:
    """A client without a broker, to be given as `mqtt_client_cls`.

    Attributes:
        message_queue: What the service has published and the test has not yet looked at: pairs of topic and
            text, in order. Each also has `qos`, `retain` and `payload`.
        subscribed: The filters that the service has subscribed to since it was connected, in order.
        connected: Whether the service has been told that it is connected.
        will: The will, as a pair of topic and text; `None` where there is none.
        connect_arguments: What the service called `connect_async` with, by name.
        credentials: What it called `username_pw_set` with, by name.
        tls_arguments: What it called `tls_set` with, by name; `None` where it did not.
    """

    #: It is a client of MQTT 5, as far as a service can tell.
    takes_properties = True

    def __init__(self, client_id: str = "", *args: object, **kwargs: object) -> None:
        self.client_id = client_id
        self.message_queue: list[Published] = []
        self.subscribed: list[str] = []
        self.connected = False
        self.will: Published | None = None
        self.connect_arguments: dict[str, object] = {}
        self.credentials: dict[str, object] = {}
        self.tls_arguments: dict[str, object] | None = None
        self.on_connect: Callable[..., object] | None = None
        self.on_disconnect: Callable[..., object] | None = None
        self.on_message: Callable[..., object] | None = None
        # Tests that let the link go down mean it: `send` and the like connect a fresh client only.
        self.was_connected = False
        self._thread = _Thread()
        self._last_mid = 0

    # --- for tests ---

    def ensure_connected(self) -> None:
        """Connect, if it is not: the service subscribes and announces itself, as on a real connection."""
        if not self.connected:
            self.connected = self.was_connected = True
            if self.on_connect is not None:
                self.on_connect(self, None, {"session present": 0}, 0)

    def simulate_disconnect(self, rc: int = 1) -> None:
        """Lose the connection: the subscriptions are gone, and the service is told with this code.

        It stays so until `ensure_connected()`.
        """
        self.connected = False
        self.was_connected = True
        self.subscribed.clear()
        if self.on_disconnect is not None:
            self.on_disconnect(self, None, rc)

    def simulate_thread_death(self) -> None:
        """Let the network thread die without a word: only health checks can tell."""
        self._thread.alive = False

    def deliver(self, message: DummyMessage) -> None:
        """Hand a message to the service, which queues it; handlers run when it dispatches its queue."""
        if self.on_message is not None:
            self.on_message(self, None, message)

    # --- for the service ---

    def publish(
        self,
        topic: str,
        payload: object = None,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> DummyPublishInfo:
        """Keep a message in `message_queue`."""
        self.message_queue.append(Published(topic, payload, qos, retain, properties))
        return DummyPublishInfo(0, self._next_mid())

    def subscribe(
        self, topic: str | tuple[str, int] | Iterable[tuple[str, int]], qos: int = 0, **options: object
    ) -> tuple[int, int]:
        """Note one filter, or several with their QoS."""
        for one in _filters(topic):
            if one not in self.subscribed:
                self.subscribed.append(one)
        return 0, self._next_mid()

    def unsubscribe(self, topic: str | Iterable[str], **options: object) -> tuple[int, int]:
        """Forget one filter or several."""
        gone = [topic] if isinstance(topic, str) else list(topic)
        self.subscribed[:] = [one for one in self.subscribed if one not in gone]
        return 0, self._next_mid()

    def will_set(
        self, topic: str, payload: object = None, qos: int = 0, retain: bool = False, **options: object
    ) -> None:
        """Keep the will."""
        self.will = Published(topic, payload, qos, retain)

    def will_clear(self) -> None:
        """Forget the will."""
        self.will = None

    def username_pw_set(self, username: str | None, password: str | None = None) -> None:
        """Keep the credentials."""
        self.credentials = {"username": username, "password": password}

    def tls_set(self, *args: object, **kwargs: object) -> None:
        """Keep the arguments."""
        self.tls_arguments = kwargs

    def enable_logger(self, logger: object = None) -> None:
        """Do nothing: there is nothing to log."""

    def connect_async(
        self, host: str = "localhost", port: int = 1883, keepalive: int = 60, **options: object
    ) -> None:
        """Keep the arguments; nothing is connected."""
        self.connect_arguments = {"host": host, "port": port, "keepalive": keepalive, **options}

    def reconnect_delay_set(self, min_delay: float = 1, max_delay: float = 120) -> None:
        """Do nothing: only the test reconnects."""

    def loop_start(self) -> int:
        """Connect, as the network thread of a client does that has a broker."""
        self.ensure_connected()
        return 0

    def loop_stop(self, force: bool = False) -> int:
        """Do nothing: there is no thread."""
        return 0

    def disconnect(self, **options: object) -> int:
        """Disconnect; the service is told that it was asked for."""
        if self.connected:
            self.simulate_disconnect(rc=0)
        return 0

    def is_connected(self) -> bool:
        """Tell whether it is."""
        return self.connected

    def _next_mid(self) -> int:
        self._last_mid += 1
        return self._last_mid


class _Thread:
    """Stands for the network thread of a client."""

    alive = True

    def is_alive(self) -> bool:
        return self.alive


def _filters(topic: str | tuple[str, int] | Iterable[tuple[str, int]]) -> list[str]:
    """Return the filters of one of the three forms that `subscribe` takes."""
    if isinstance(topic, str):
        return [topic]
    first, *rest = topic
    if isinstance(first, str):
        return [first]
    return [first[0], *(one for one, _ in rest)]  # type: ignore[misc]


def _encode(payload: object) -> bytes:
    """Turn into bytes what a client takes as payload."""
    if payload is None:
        return b""
    if isinstance(payload, bytes | bytearray):
        return bytes(payload)
    if isinstance(payload, str):
        return payload.encode("utf-8", errors="surrogatepass")
    if isinstance(payload, int | float) and not isinstance(payload, bool):
        return str(payload).encode()
    raise TypeError(f"a payload is text, bytes, a number or None, not {type(payload).__name__}: {payload!r}")
