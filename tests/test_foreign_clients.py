"""Services on other clients: paho's, subclasses of ours, doubles with few methods (C45); our own alone (C46)."""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest

import miqro
from harness import FakeBroker, Observer, Peer, Proxy, Running, packets, wait_until
from miqro import ha_sensors
from miqro.test.tools import DummyMessage
from recorder import Call, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Broker

SOON = 10.0
ONLINE = "service/foreign/online"


class Foreign(miqro.Service):
    SERVICE_NAME = "foreign"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.threads: set[int] = set()
        self.connects = 0

    def _on_connect(self, client: Any, userdata: Any, flags: Any, rc: int) -> None:
        self.threads.add(threading.get_ident())
        super()._on_connect(client, userdata, flags, rc)
        self.connects += 1

    @miqro.handle("echo")
    def on_echo(self, payload: str) -> None:
        self.threads.add(threading.get_ident())
        self.publish("response", payload)

    @miqro.handle("deep/#")
    def on_deep(self, payload: str, rest: str) -> None:
        self.publish(f"deeper/{rest}", payload, qos=1)

    @miqro.handle_global("sun/+")
    def on_sun(self, payload: str) -> None:
        self.publish("sun", payload, only_if_changed=True)

    @miqro.loop(seconds=3600)
    def once(self) -> None:
        self.publish_json("loop", {"a": 1.23456789}, retain=True)


# ---- paho 1.6.1 (C45) ------------------------------------------------------------------------------------


class PahoSubclass(paho.Client):
    """As services of 1.x made them."""

    def publish(self, topic: str, *args: Any, **kwargs: Any) -> Any:
        return super().publish(topic, *args, **kwargs)


@pytest.mark.parametrize(
    "client",
    [
        paho.Client,
        PahoSubclass,
        functools.partial(paho.Client, reconnect_on_failure=True),
        lambda name: paho.Client(name, userdata=name),
    ],
    ids=["paho.Client", "a subclass", "a partial", "a function"],
)
def test_a_service_runs_on_paho(
    broker: Broker, observer: Observer, write_config: Callable[..., Path], client: Any
) -> None:
    """C45: handlers, publishing, will, discovery, loops, health and the end, on a real `paho.mqtt.client.Client`."""
    service = Foreign(write_config(broker.port), mqtt_client_cls=client)
    ha_sensors.Sensor(ha_sensors.Device(service, "Lamp"), "B", state_topic_postfix="b")
    assert isinstance(service.mqtt_client, paho.Client)
    running = Running(service)
    with running:
        observer.wait_for(ONLINE, "1")
        observer.wait_for("homeassistant/device/foreign_Lamp/config")
        wait_until(lambda: service.connects, SOON, "the service has greeted")
        observer.publish("service/foreign/echo", "hello")
        observer.wait_for("service/foreign/response", "hello")
        observer.publish("service/foreign/deep/a/b", "x")
        assert observer.wait_for("service/foreign/deeper/a/b", "x").qos == 1
        for value in ("1", "1", "2"):
            observer.publish("sun/elevation", value)
        observer.wait_for("service/foreign/sun", "2")
        wait_until(service.healthy, SOON, "it is healthy")
        assert service.mqtt_thread_alive()
        info = service.publish("sure", b"\x00\xff", qos=2)
        assert isinstance(info, paho.MQTTMessageInfo)
        info.wait_for_publish(SOON)
        assert observer.wait_for("service/foreign/sure").payload == b"\x00\xff"
        assert service.threads == {running.thread.ident}
    observer.wait_for(ONLINE, "0")
    assert observer.payloads("service/foreign/sun") == ["1", "2"]
    assert not service.mqtt_thread_alive()
    with Observer(broker.port, ONLINE) as late:
        assert late.wait_for(ONLINE, "0").retain


def test_paho_reconnects_and_is_greeted_again(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C45, C40: subscriptions and `1` after a cut, too; `_on_disconnect` hears of it on the service's thread."""
    with Proxy(broker.port) as proxy:
        service = Foreign(write_config(proxy.port), mqtt_client_cls=paho.Client)
        service.mqtt_client.reconnect_delay_set(1, 1)
        with Running(service):
            wait_until(lambda: service.connects == 1, SOON, "the service has greeted")
            observer.wait_for(ONLINE, "1")
            proxy.cut()
            # The `1` after the will's `0`: the first connection may have said it twice. It subscribes before that, but
            # paho's `subscribe` does not wait for the broker.
            wait_until(
                lambda: "1" in "".join(observer.payloads(ONLINE)).partition("0")[2],
                SOON,
                "it is greeted again",
            )
            observer.publish("service/foreign/echo", "again")
            observer.wait_for("service/foreign/response", "again")
        assert (service.connects, service.disconnect_count) == (2, 2)


def test_paho_gets_the_broker_section_and_the_login(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """C45, C42: `auth` reaches it, and the settings that it knows."""
    broker = make_broker(users={"me": "secret", "watch": "er"}).start()
    path = write_config(broker.port, "auth:\n  username: me\n  password: secret", broker="keepalive: 17")
    service = Foreign(path, mqtt_client_cls=paho.Client)
    with Observer(broker.port, username="watch", password="er") as observer, Running(service):
        observer.wait_for(ONLINE, "1")
        assert service.mqtt_client._keepalive == 17


def test_an_invalid_topic_does_not_reach_paho(
    broker: Broker, write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C37, C45: checked for every client."""
    service = Foreign(write_config(broker.port), mqtt_client_cls=paho.Client)
    assert service.publish("a/#", "x").rc == paho.MQTT_ERR_INVAL
    assert service.failure_count == 1
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


# ---- doubles (C45) ---------------------------------------------------------------------------------------


def test_a_double_with_the_methods_that_1_x_called_is_enough(write_config: Callable[..., Path]) -> None:
    """C45: no `disconnect`, no `unsubscribe`, no `qos` on `subscribe`, `publish` returns nothing."""
    service = Foreign(write_config(1), mqtt_client_cls=Recorder)
    double: Recorder = service.mqtt_client
    assert double.client_id == "foreign"
    assert double.will == Call(ONLINE, "0", 0, True)
    with Running(service):
        wait_until(lambda: service.connects, SOON, "the service has greeted")
        double.on_message(double, None, DummyMessage("service/foreign/echo", b" hello \n"))
        wait_until(
            lambda: Call("service/foreign/response", "hello", 0, False) in double.published,
            SOON,
            "the answer",
        )
        service.add_handler("late", lambda _service, _payload: None)
    assert double.subscribed == [
        "sun/+",
        "service/foreign/echo",
        "service/foreign/deep/#",
        "service/foreign/enabled",
        "service/foreign/late",
    ]
    assert double.published[0] == Call(ONLINE, "1", 0, True)
    assert Call("service/foreign/loop", '{"a": 1.23457}', 0, True) in double.published
    assert double.published[-1] == Call(ONLINE, "0", 0, True)
    assert double.running is False
    assert service.mqtt_thread_alive()


def test_the_callbacks_of_a_double_run_on_the_thread_of_the_service(
    write_config: Callable[..., Path],
) -> None:
    """C15, C45: whichever thread the client calls them on."""

    class Threaded(Recorder):
        def loop_start(self) -> None:
            self.thread = threading.Thread(target=lambda: self.on_connect(self, None, {}, 0))
            self.thread.start()

    service = Foreign(write_config(1), mqtt_client_cls=Threaded)
    running = Running(service)
    with running:
        wait_until(lambda: service.connects, SOON, "the service has greeted")
        worker = threading.Thread(
            target=service.mqtt_client.on_message,
            args=(service.mqtt_client, None, DummyMessage("service/foreign/echo", b"x")),
        )
        worker.start()
        worker.join(SOON)
        wait_until(lambda: len(service.mqtt_client.published) >= 3, SOON, "the answer")
        assert service.threads == {running.thread.ident}


def test_a_thread_of_a_double_that_died_is_seen(write_config: Callable[..., Path]) -> None:
    """C45, C5: `mqtt_thread_alive()` looks at paho's `_thread`."""
    service = Foreign(write_config(1), mqtt_client_cls=Recorder)
    service.mqtt_client._thread = None
    assert not service.mqtt_thread_alive()
    service.mqtt_client._thread = threading.current_thread()
    assert service.mqtt_thread_alive()


# ---- subclasses of ours (C45) ----------------------------------------------------------------------------


class Prefixed(miqro.mqtt.Client):
    """What `--mqtt-debug-prefix` makes."""

    def publish(self, topic: str, *args: Any, **kwargs: Any) -> Any:
        return super().publish("debug/" + topic, *args, **kwargs)

    def will_set(self, topic: str, *args: Any, **kwargs: Any) -> Any:
        return super().will_set("debug/" + topic, *args, **kwargs)


def test_a_subclass_that_prefixes_topics_prefixes_all_of_them(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C45: overrides of `publish` and `will_set`, as the debug prefix makes them, are used on every way."""
    service = Foreign(write_config(broker.port), mqtt_client_cls=Prefixed)
    ha_sensors.Sensor(ha_sensors.Device(service, "Lamp"), "B", state_topic_postfix="b")
    with Running(service):
        observer.wait_for(f"debug/{ONLINE}", "1")
        wait_until(lambda: service.connects, SOON, "the service has greeted")
        observer.publish("service/foreign/echo", "x")
        observer.wait_for("debug/service/foreign/response", "x")
        observer.wait_for("debug/homeassistant/device/foreign_Lamp/config")
        observer.wait_for("debug/service/foreign/loop")
    observer.wait_for(f"debug/{ONLINE}", "0")
    own = [m.topic for m in observer.received.all() if m.topic.startswith(("service/", "homeassistant/"))]
    assert own == ["service/foreign/echo"]


def test_the_will_of_a_subclass_is_its_own(write_config: Callable[..., Path]) -> None:
    """C45, C40: what its `will_set` made of it goes into the CONNECT."""

    def script(peer: Peer) -> None:
        assert b"debug/service/foreign/online\x00\x010" in peer.accept().body
        peer.serve()

    with FakeBroker(script) as fake:
        service = Foreign(write_config(fake.port), mqtt_client_cls=Prefixed)
        with Running(service):
            wait_until(lambda: service.connects, SOON, "the service has greeted")


def test_a_message_that_a_prefixing_client_dropped_does_not_count_as_sent(
    write_config: Callable[..., Path],
) -> None:
    """C35, C45: though the topic that was dropped is another one than the service knows."""
    service = Foreign(write_config(1, broker="max_queued_messages: 1"), mqtt_client_cls=Prefixed)
    service.publish("x", 1, only_if_changed=True)
    service.publish("y", 1)
    assert service.publish("x", 1, only_if_changed=True).mid != 0


# ---- miqro.mqtt.Client alone (C46) -----------------------------------------------------------------------


@pytest.fixture
def client(broker: Broker) -> Iterator[miqro.mqtt.Client]:
    """A client that knows the broker and has not started."""
    client = miqro.mqtt.Client("alone")
    client.connect_async("127.0.0.1", broker.port, 60)
    yield client
    client.loop_stop()


def test_a_client_alone_calls_back_with_paho_s_signatures(
    broker: Broker, observer: Observer, client: miqro.mqtt.Client
) -> None:
    """C46: names, return values and callback signatures of paho 1.6."""
    calls: dict[str, tuple[Any, ...]] = {}
    done = {
        name: threading.Event()
        for name in ("connect", "message", "publish", "subscribe", "unsubscribe", "disconnect")
    }

    def callback(name: str) -> Callable[..., None]:
        def called(*args: Any) -> None:
            calls.setdefault(name, args)
            done[name].set()

        return called

    for name in done:
        setattr(client, f"on_{name}", callback(name))
    client.user_data_set("userdata")
    client.loop_start()
    assert done["connect"].wait(SOON)
    assert calls["connect"] == (client, "userdata", {"session present": 0}, 0)
    assert client.is_connected()

    result, mid = client.subscribe([("a/#", 2), ("b", 0)])
    assert result == miqro.mqtt.MQTT_ERR_SUCCESS
    assert done["subscribe"].wait(SOON)
    assert calls["subscribe"] == (client, "userdata", mid, (2, 0))

    info = client.publish("c", "x", qos=1, retain=False)
    assert isinstance(info, miqro.mqtt.MQTTMessageInfo)
    info.wait_for_publish(SOON)
    assert done["publish"].wait(SOON)
    assert calls["publish"] == (client, "userdata", info.mid)

    observer.publish("a/b", b"\xff\x00", qos=2, retain=True)
    assert done["message"].wait(SOON)
    who, userdata, message = calls["message"]
    assert (who, userdata) == (client, "userdata")
    assert isinstance(message, miqro.mqtt.MQTTMessage)
    assert (message.topic, message.payload, message.qos, message.retain) == ("a/b", b"\xff\x00", 2, False)

    result, mid = client.unsubscribe("a/#")
    assert result == 0
    assert done["unsubscribe"].wait(SOON)
    assert calls["unsubscribe"] == (client, "userdata", mid)

    assert client.disconnect() == 0
    assert done["disconnect"].wait(SOON)
    assert calls["disconnect"] == (client, "userdata", 0)
    assert not client.is_connected()
    assert client.disconnect() == miqro.mqtt.MQTT_ERR_NO_CONN


def test_settings_count_from_the_next_connection_on() -> None:
    """C46: also those that are made after the first publish, and while the client is connected."""
    bodies: list[bytes] = []
    published = threading.Event()

    def script(peer: Peer) -> None:
        bodies.append(peer.accept().body)
        peer.serve()

    def first(peer: Peer) -> None:
        bodies.append(peer.accept().body)
        peer.answer(peer.expect(packets.PUBLISH))
        assert published.wait(SOON)
        client.will_set("will", "the second")
        client.username_pw_set("somebody", "pass")

    with FakeBroker(first, script) as fake:
        client = miqro.mqtt.Client("late")
        client.publish("a", "x", qos=1)  # from here on there is a session
        client.connect_async("127.0.0.1", fake.port)
        client.will_set("will", "the first")
        client.reconnect_delay_set(0.01, 0.01)
        client.on_publish = lambda *_: published.set()
        client.loop_start()
        wait_until(lambda: len(bodies) == 2, SOON, "it has connected again")
        client.will_clear()
        client.loop_stop()
    assert bodies[0].endswith(b"the first")
    assert bodies[1].endswith(b"the second" + b"\0\x08somebody" + b"\0\x04pass")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [("ä", "ä".encode()), (b"\x00", b"\x00"), (bytearray(b"x"), b"x"), (None, b""), (5, b"5"), (1.5, b"1.5")],
)
def test_payloads_are_those_of_paho_in_publish_and_will(payload: Any, expected: bytes) -> None:
    """C46: text, bytes, numbers, None."""

    def script(peer: Peer) -> None:
        assert peer.accept().body.endswith(b"\x00\x04will" + len(expected).to_bytes(2, "big") + expected)
        assert peer.skip_to(packets.PUBLISH).payload == expected
        peer.serve()

    with FakeBroker(script) as fake:
        client = miqro.mqtt.Client("payloads")
        client.will_set("will", payload, qos=1, retain=True)
        client.connect_async("127.0.0.1", fake.port)
        info = client.publish("x", payload)
        client.loop_start()
        info.wait_for_publish(SOON)
        client.loop_stop()


def test_what_paho_refuses_with_an_exception_is_refused_so(client: miqro.mqtt.Client) -> None:
    """C46: as paho's client: ValueError for topics, filters and qos, TypeError for payloads."""
    reference = paho.Client()
    for act in (
        lambda c: c.publish("a/#", "x"),
        lambda c: c.publish("", "x"),
        lambda c: c.publish("x", "y", qos=3),
        lambda c: c.subscribe("a", 3),
        lambda c: c.subscribe(""),
        lambda c: c.connect_async(""),
    ):
        for one in (reference, client):
            with pytest.raises(ValueError, match="."):
                act(one)
    for one in (reference, client):
        with pytest.raises(TypeError):
            one.publish("x", object())


def test_two_threads_that_come_first_share_one_session(client: miqro.mqtt.Client) -> None:
    """C46: what one of them publishes is not lost in a session that nobody starts."""
    start = threading.Barrier(8)
    infos: list[Any] = []

    def work() -> None:
        start.wait(SOON)
        infos.append(client.publish("x", "y", qos=1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    client.loop_start()
    for info in infos:
        info.wait_for_publish(SOON)
        assert info.is_published()


def test_a_callback_may_publish_and_disconnect(
    broker: Broker, observer: Observer, client: miqro.mqtt.Client
) -> None:
    """C46: from the thread that calls it."""
    ended = threading.Event()

    def on_connect(who: miqro.mqtt.Client, *_args: Any) -> None:
        who.publish("alone/greeting", "hello", qos=1)
        who.disconnect()

    client.on_connect = on_connect
    client.on_disconnect = lambda *_args: ended.set()
    client.loop_start()
    assert ended.wait(SOON)
    observer.wait_for("alone/greeting", "hello")
    client.loop_stop()


def test_error_codes_have_paho_s_numbers_and_words() -> None:
    """C46: `MQTT_ERR_*`, and a sentence for each."""
    names = [name for name in vars(miqro.mqtt) if name.startswith(("MQTT_ERR_", "MQTTv"))]
    assert len(names) > 8
    for name in names:
        assert getattr(miqro.mqtt, name) == getattr(paho, name)
    assert miqro.mqtt.error_string(15) == "the queue is full"
    assert "99" in miqro.mqtt.error_string(99)
