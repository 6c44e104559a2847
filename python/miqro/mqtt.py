"""An MQTT client with the names of paho's 1.6 client, on miqro's engine (contract C46).

A service makes one for itself. It can be used alone too: set the callbacks, `connect_async()`, `loop_start()`.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from . import _native
from ._native import Event, Message, PublishInfo, Session, Wake, forked
from ._properties import properties_of, subscription
from ._transport import TransportSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable
    from typing import Any

MQTT_ERR_SUCCESS = 0
MQTT_ERR_NOMEM = 1
MQTT_ERR_PROTOCOL = 2
MQTT_ERR_INVAL = 3
MQTT_ERR_NO_CONN = 4
MQTT_ERR_CONN_REFUSED = 5
MQTT_ERR_CONN_LOST = 7
MQTT_ERR_PAYLOAD_SIZE = 9
MQTT_ERR_QUEUE_SIZE = 15

MQTTv31 = 3
MQTTv311 = 4
MQTTv5 = 5

MQTTMessage = Message
MQTTMessageInfo = PublishInfo
Properties = _native.Properties

#: How long `disconnect()` waits for the broker to take what is queued, in seconds.
FAREWELL_SECONDS = 1.0
#: How long the queue is held back after a connect while the service says its greeting, in seconds: a service
#: thread that is busy delays the queue by this much, and no longer.
GREETING_SECONDS = 1.0
#: Events that are taken from the engine at a time.
BATCH = 256
#: A connection that was lost again after less than this, for the same reason, is not news (seconds).
FLAPPING_SECONDS = 60.0
#: Incoming messages that are dropped are news again after so long without (seconds).
OVERRUN_SECONDS = 60.0

_WORDS = {
    MQTT_ERR_SUCCESS: "no error",
    MQTT_ERR_NOMEM: "out of memory",
    MQTT_ERR_PROTOCOL: "a network protocol error",
    MQTT_ERR_INVAL: "an argument that MQTT does not allow",
    MQTT_ERR_NO_CONN: "the client is not connected",
    MQTT_ERR_CONN_REFUSED: "the broker refused the connection",
    MQTT_ERR_CONN_LOST: "the connection was lost",
    MQTT_ERR_PAYLOAD_SIZE: "the payload is too large",
    MQTT_ERR_QUEUE_SIZE: "the queue is full",
}


def error_string(rc: int) -> str:
    """What a result code means."""
    return _WORDS.get(rc, f"unknown error {rc}")


# A child of fork() must not use what belongs to the threads of its parent.
os.register_at_fork(after_in_child=forked)


class Client(TransportSettings):
    """One client of one broker.

    Args:
        client_id: Who it is, to the broker. Empty: the broker makes an id up.
        clean_session: Whether the broker forgets it when it is gone; `None` is `True`.
        userdata: Handed to the callbacks.
        protocol: `MQTTv311` or `MQTTv5`. The callbacks have the same arguments with both.
        transport: `"tcp"`, `"websockets"`, or `"unix"`, where the host is the path of the socket, as with paho 2.
        reconnect_on_failure: Taken for paho's sake; it always reconnects.

    Callbacks are attributes: `on_connect(client, userdata, flags, rc)`, `on_disconnect(client, userdata, rc)`,
    `on_message(client, userdata, message)`, `on_publish(client, userdata, mid)`,
    `on_subscribe(client, userdata, mid, granted_qos)`, `on_unsubscribe(client, userdata, mid)`. They run on the
    thread of `loop_start()`, in a service on the service's thread.
    """

    def __init__(
        self,
        client_id: str = "",
        clean_session: bool | None = None,
        userdata: object = None,
        protocol: int = MQTTv311,
        transport: str = "tcp",
        reconnect_on_failure: bool = True,
    ) -> None:
        if protocol not in (MQTTv311, MQTTv5):
            raise ValueError(f"the protocol must be MQTTv311 (4) or MQTTv5 (5), not {protocol!r}")
        if transport not in ("tcp", "websockets", "unix"):
            raise ValueError(f"the transport is tcp, websockets or unix, not {transport!r}")
        self._options: dict[str, Any] = {
            "transport": transport,
            "client_id": client_id,
            "clean_session": clean_session is not False,
            "protocol": "5" if protocol == MQTTv5 else "3.1.1",
        }
        self._userdata = userdata
        self._wake = Wake()
        self._session: Session | None = None
        self._making = allocate_lock()
        self._in_service = False
        self._thread: threading.Thread | None = None
        self._logger: logging.Logger | None = None
        self._trouble: str | None = None
        self._flapping = False
        #: Since when it is connected, as far as the callbacks have been told; zero: it is not.
        self._connected_at = 0.0
        self._dropped_in_outage = 0
        self._overrun_at = float("-inf")
        #: Told how the connection is, in words.
        self._status: Callable[[str], None] = lambda _text: None
        #: Told of what goes wrong, in a sentence.
        self._problem: Callable[[str], None] = lambda _text: None
        self.on_connect: Callable[..., object] | None = None
        self.on_disconnect: Callable[..., object] | None = None
        self.on_message: Callable[..., object] | None = None
        self._on_publish: Callable[..., object] | None = None
        self.on_subscribe: Callable[..., object] | None = None
        self.on_unsubscribe: Callable[..., object] | None = None

    def __repr__(self) -> str:
        return f"<miqro.mqtt.Client {self._options['client_id']!r} of {self._broker()}>"

    # ---- settings; what is set while it is connected counts from the next connection on --------------

    def username_pw_set(self, username: str | None, password: str | None = None) -> None:
        """Sets the credentials; `None` for none."""
        self._configure(username=username or "", password=password or "")

    def will_set(self, topic: str, payload: object = None, qos: int = 0, retain: bool = False) -> None:
        """Sets what the broker publishes when this client is gone without a goodbye.

        Raises:
            TypeError: The payload is neither text, bytes, a number nor `None`.
        """
        payload = _plain(payload)
        data = payload.encode() if isinstance(payload, str) else payload
        self._configure(will={"topic": topic, "payload": list(data), "qos": qos, "retain": retain})

    def will_clear(self) -> None:
        """No will any more."""
        self._configure(will=None)

    def user_data_set(self, userdata: object) -> None:
        """Sets what is handed to the callbacks."""
        self._userdata = userdata

    def enable_logger(self, logger: logging.Logger | None = None) -> None:
        """Logs the state of the connection to `logger`, or to the logger `miqro.mqtt`."""
        if logger is None:
            import logging

            logger = logging.getLogger("miqro.mqtt")
        self._logger = logger

    def disable_logger(self) -> None:
        """Logs nothing."""
        self._logger = None

    def max_inflight_messages_set(self, inflight: int) -> None:
        """Sets how many QoS 1 and 2 messages may be unacknowledged. Over 20, mosquitto 2.0.11 loses some."""
        self._configure(max_inflight=inflight)

    def max_queued_messages_set(self, queue_size: int) -> Client:
        """Sets how many messages wait for the broker."""
        self._configure(max_queued_messages=queue_size)
        return self

    def reconnect_delay_set(self, min_delay: float = 1, max_delay: float = 120) -> None:
        """Sets the seconds between attempts to connect: the first, and the longest."""
        self._configure(reconnect_delay_min=float(min_delay), reconnect_delay_max=float(max_delay))

    def _configure(self, **options: object) -> None:
        """Sets options that paho has no name for; see `SessionOptions` in the engine."""
        with self._making:
            self._options.update(options)
            if self._session is not None:
                self._session.configure(self._session_options())

    def _session_options(self) -> dict[str, Any]:
        return {"report_published": self._on_publish is not None, **self._options}

    @property
    def on_publish(self) -> Callable[..., object] | None:
        """Called with the number of each message that the broker has acknowledged."""
        return self._on_publish

    @on_publish.setter
    def on_publish(self, callback: Callable[..., object] | None) -> None:
        self._on_publish = callback
        self._configure()

    # ---- the connection ------------------------------------------------------------------------------

    def connect_async(
        self, host: str, port: int = 1883, keepalive: int = 60, bind_address: str = "", bind_port: int = 0
    ) -> None:
        """Says where the broker is; `loop_start()` connects, and reconnects for ever."""
        if not host:
            raise ValueError("the host of the broker is missing")
        self._configure(
            host=host,
            port=port,
            keepalive=keepalive,
            bind_address=bind_address or "",
            bind_port=bind_port or 0,
        )

    def connect(
        self, host: str, port: int = 1883, keepalive: int = 60, bind_address: str = "", bind_port: int = 0
    ) -> int:
        """The same as `connect_async`: the connection is made by `loop_start()`. Returns 0."""
        self.connect_async(host, port, keepalive, bind_address, bind_port)
        return MQTT_ERR_SUCCESS

    def loop_start(self) -> None:
        """Starts to connect, and a thread that calls the callbacks."""
        self._engine().start()
        if not self._in_service and self._thread is None:
            import threading

            self._thread = threading.Thread(target=self._loop, name="miqro-callbacks", daemon=True)
            self._thread.start()
            from ._exit import watch_client

            watch_client(self)

    def loop_stop(self, force: bool = False) -> None:
        """Ends the session, if `disconnect()` has not, and the thread."""
        self.disconnect()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._wake.notify()
            import threading

            if thread is not threading.current_thread():
                thread.join()

    def disconnect(self) -> int:
        """Sends what is queued, for a second at most, says goodbye to the broker and ends the session."""
        session = self._session
        if session is None or session.is_of_parent():
            self._session = None
            return MQTT_ERR_NO_CONN
        owed = session.close(FAREWELL_SECONDS)
        if owed and self._logger is not None:
            path = self._options.get("durable")
            kept = f"; those of QoS 1 and 2 are kept in {path}" if path else ""
            self._logger.warning("%d messages could not be delivered before the end%s", owed, kept)
        while events := session.take(BATCH):
            for event in events:
                # Messages that nobody will handle any more are left.
                if not isinstance(event, Message):
                    self._handle(event)
        self._session = None
        return MQTT_ERR_SUCCESS

    def is_connected(self) -> bool:
        """Whether the broker has accepted it and the connection stands."""
        return self._session is not None and self._session.is_connected()

    def _is_running(self) -> bool:
        return self._session is not None and self._session.is_running()

    # ---- messages ------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: object = None,
        qos: int = 0,
        retain: bool = False,
        properties: object = None,
    ) -> PublishInfo:
        """Accepts a message for delivery, connected or not.

        Args:
            topic: Where to.
            payload: Text, bytes, a number, or `None` for nothing.
            qos: 0, 1 or 2.
            retain: Whether the broker keeps it.
            properties: What else it says: our `Properties`, or paho's. They are of MQTT 5.

        Raises:
            ValueError: Topic, size, qos or properties cannot be sent.
            TypeError: The payload is of another type.
        """
        if properties is not None:
            properties = properties_of(properties)
        if type(payload) is not str:
            payload = _plain(payload)
        return (self._session or self._engine()).publish(topic, payload, qos, retain, properties)

    def subscribe(
        self,
        topic: str | tuple[str, object] | list[tuple[str, object]],
        qos: int = 0,
        options: object = None,
    ) -> tuple[int, int]:
        """Subscribes to a filter, or to a list of (filter, qos), now and on every connect.

        Args:
            topic: A filter, a pair of filter and qos, or a list of such pairs. In the place of a qos may stand paho's
                `SubscribeOptions` (MQTT 5).
            qos: 0, 1 or 2.
            options: paho's `SubscribeOptions`, instead of `qos`.

        Returns:
            0, and the number of the request.

        Raises:
            ValueError: A filter is not valid.
        """
        if isinstance(topic, str):
            topic = (topic, qos if options is None else options)
        filters = topic if isinstance(topic, list) else [topic]
        wanted = [(topic_filter, subscription(how)) for topic_filter, how in filters]
        return MQTT_ERR_SUCCESS, self._engine().subscribe(wanted)

    def unsubscribe(self, topic: str | list[str]) -> tuple[int, int]:
        """Ends the subscription to a filter, or to a list of filters. Returns 0 and the request's number."""
        filters = topic if isinstance(topic, list) else [topic]
        return MQTT_ERR_SUCCESS, self._engine().unsubscribe(filters)

    # ---- events --------------------------------------------------------------------------------------

    def _engine(self) -> Session:
        session = self._session
        if session is None:
            # The first publish and `loop_start()` may come at once, from two threads.
            with self._making:
                session = self._session
                if session is None:
                    session = self._session = Session(self._session_options(), self._wake)
                    self._warn_of_trust()
        return session

    def _join_service(self, wake: Wake, max_incoming: int) -> None:
        """A service takes the events itself, on its own thread, and sleeps on `wake`."""
        self._in_service = True
        self._wake = wake
        self._configure(greeting_timeout=GREETING_SECONDS, max_incoming_messages=max_incoming)

    def _loop(self) -> None:
        while self._session is not None:
            self._wake.wait()
            self._wake.clear()
            session = self._session
            while session is not None and (events := session.take(BATCH)):
                for event in events:
                    try:
                        self._handle(event)
                    except Exception:
                        if self._logger is None:
                            raise
                        self._logger.exception("a callback failed")

    def _handle(self, event: Event | Message) -> None:
        """Logs an event, and calls the callback that belongs to it."""
        if isinstance(event, Message):
            self._call(self.on_message, event)
        elif isinstance(event, Event.Connected):
            self._connected(event)
        elif isinstance(event, Event.Refused):
            self._report_trouble(event.reason, event.retry_in, refused=True)
            self._call(self.on_connect, {}, event.code)
        elif isinstance(event, Event.Unreachable):
            self._report_trouble(event.reason, event.retry_in)
        elif isinstance(event, Event.Disconnected):
            self._disconnected(event)
        elif isinstance(event, Event.Subscribed):
            self._subscribed(event)
        elif isinstance(event, Event.Unsubscribed):
            self._unsubscribed(event)
        elif isinstance(event, Event.Rejected):
            self._rejected(event)
        elif isinstance(event, Event.Limited):
            if self._logger is not None:
                self._logger.warning("%s", event.reason)
        elif isinstance(event, Event.Published):
            self._call(self.on_publish, event.mid)
        elif isinstance(event, Event.Dropped):
            self._dropped(event)
        elif isinstance(event, Event.Overrun):
            self._overrun(event)
        elif isinstance(event, Event.Storage):
            self._storage(event)
        elif isinstance(event, Event.Terminated):
            from ._errors import InternalError

            raise InternalError(f"{event.reason}. This is a defect of miqro: please report it")

    def _call(self, callback: Callable[..., object] | None, *args: object) -> None:
        if callback is not None:
            callback(self, self._userdata, *args)

    def _connected(self, event: Event.Connected) -> None:
        import time

        self._connected_at = time.monotonic()
        self._status(f"connected to {self._broker()}")
        if self._logger is not None:
            level = 10 if self._flapping else 20
            after = "" if event.outage is None else f" after {_duration(event.outage)} without it"
            speaks = " with MQTT 5" if event.protocol == MQTTv5 else ""
            self._logger.log(level, "connected to the broker at %s%s%s", self._broker(), speaks, after)
            if event.assigned_client_id is not None:
                self._logger.log(level, "the broker has chosen the client id %r", event.assigned_client_id)
            if self._dropped_in_outage:
                self._logger.warning("%d messages were dropped meanwhile", self._dropped_in_outage)
        self._dropped_in_outage = 0
        try:
            self._call(self.on_connect, {"session present": int(event.session_present)}, MQTT_ERR_SUCCESS)
        finally:
            if self._session is not None:
                self._session.greeted()

    def _disconnected(self, event: Event.Disconnected) -> None:
        if event.requested or event.retry_in is None:
            if self._logger is not None:
                self._logger.info("disconnected from the broker at %s", self._broker())
            self._call(self.on_disconnect, MQTT_ERR_SUCCESS)
            return
        import time

        lasted = time.monotonic() - self._connected_at
        self._connected_at = 0.0
        self._flapping = lasted < FLAPPING_SECONDS and event.reason == self._trouble
        if not self._flapping:
            self._trouble = None
        self._report_trouble(event.reason, event.retry_in)
        self._call(self.on_disconnect, MQTT_ERR_CONN_LOST)

    def _report_trouble(self, reason: str, retry_in: float, refused: bool = False) -> None:
        """The first time, and whenever the reason changes, it is news; after that it is for debugging."""
        news = reason != self._trouble
        self._trouble = reason
        self._status(f"connecting to {self._broker()}: {reason}")
        if news and refused:
            self._problem(reason)
        if self._logger is not None:
            self._logger.log(
                (40 if refused else 30) if news else 10,
                "no connection to the broker at %s: %s. Trying again in %s",
                self._broker(),
                reason,
                _duration(retry_in),
            )

    def _subscribed(self, event: Event.Subscribed) -> None:
        for topic_filter, granted, reason in event.granted:
            if granted is None:
                self._trouble_with(
                    f"the broker refuses the subscription to {topic_filter!r}: no message of it will come; {reason}"
                )
        qos = tuple(128 if granted is None else granted for _, granted, _ in event.granted)
        self._call(self.on_subscribe, event.mid, qos)

    def _unsubscribed(self, event: Event.Unsubscribed) -> None:
        for topic_filter, reason in event.refused:
            self._trouble_with(f"the broker does not end the subscription to {topic_filter!r}: {reason}")
        self._call(self.on_unsubscribe, event.mid)

    def _rejected(self, event: Event.Rejected) -> None:
        what = f"a message on {event.topic!r} is lost"
        if event.count > 1:
            what = f"{event.count} messages, the first of them on {event.topic!r}, are lost"
        self._trouble_with(f"{what}: {event.reason}")

    def _trouble_with(self, text: str) -> None:
        self._problem(text)
        if self._logger is not None:
            self._logger.error("%s", text)

    def _dropped(self, event: Event.Dropped) -> None:
        if not self._dropped_in_outage:
            text = "the queue is full while the broker is away: the oldest QoS 0 messages are dropped"
            self._problem(text)
            if self._logger is not None:
                self._logger.warning("%s", text)
        self._dropped_in_outage += event.count

    def _overrun(self, event: Event.Overrun) -> None:
        import time

        news = time.monotonic() - self._overrun_at > OVERRUN_SECONDS
        self._overrun_at = time.monotonic()
        text = (
            f"{event.count} incoming QoS 0 messages were dropped: more comes in than the service handles while it "
            "waits for the broker to acknowledge what it publishes"
        )
        if news:
            self._problem(text)
        if self._logger is not None:
            self._logger.log(30 if news else 10, "%s", text)

    def _storage(self, event: Event.Storage) -> None:
        if event.trouble:
            self._problem(event.text)
        if self._logger is not None:
            self._logger.log(40 if event.trouble else 20, "%s", event.text)


def _plain(payload: object) -> str | bytes:
    """A payload of paho's types as text or bytes.

    Raises:
        TypeError: It is of another type.
    """
    if payload is None:
        return b""
    if isinstance(payload, (str, bytes)):
        return payload
    if isinstance(payload, bytearray):
        return bytes(payload)
    if isinstance(payload, (int, float)):
        return str(payload)
    raise TypeError(f"a payload is text, bytes, a number or None, not {type(payload).__name__}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
