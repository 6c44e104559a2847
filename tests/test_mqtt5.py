"""MQTT 5 (contract C41, C43, C44): services and clients against a real mosquitto, and against brokers that refuse."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

import miqro
from harness import FakeBroker, packets
from harness.wait import Log, wait_until
from miqro import mqtt
from services import Records, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

    from harness import Broker, Observer

SOON = 15.0


class Outside:
    """A client of MQTT 5 that is not ours, and what it has received.

    Args:
        port: Of the broker.
        topic_filter: What it subscribes to.
    """

    def __init__(self, port: int, topic_filter: str) -> None:
        self.received: Log[paho.MQTTMessage] = Log()
        self._subscribed = threading.Event()
        self.client = paho.Client(protocol=paho.MQTTv5)
        self.client.on_message = lambda _client, _userdata, message: self.received.append(message)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe(topic_filter, 2)
        assert self._subscribed.wait(SOON)

    def wait_for(self, topic: str) -> paho.MQTTMessage:
        """Return the next message on a topic."""
        return self.received.wait_for(lambda message: message.topic == topic, SOON, f"a message on {topic}")

    def publish(self, topic: str, payload: str, **properties: object) -> None:
        """Publish with properties, by paho's names."""
        given = PahoProperties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(given, name, value)
        self.client.publish(topic, payload, 1, properties=given)

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def outside(broker: Broker) -> Iterator[Outside]:
    """An outsider that listens to everything that services say."""
    one = Outside(broker.port, "service/#")
    yield one
    one.close()


class Up(Running):
    """Runs a service that is connected, and whose subscriptions stand, from the beginning of the ``with`` on."""

    def __enter__(self) -> Self:
        """Start it, and wait."""
        return super().__enter__().connected().subscribed()


class Sums(miqro.Service):
    """Answers questions."""

    SERVICE_NAME = "sums"
    heard: Log[tuple[str, Any]]

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        self.heard = Log()

    @miqro.handle("add")
    @miqro.accept_json
    def add(self, a: int, b: int) -> dict[str, int]:
        """Return a sum, as JSON."""
        return {"sum": a + b}

    @miqro.handle("hear/#")
    def hear(self, payload: str, rest: str) -> str:
        """Note what came, and what it said of itself."""
        self.heard.append((payload, self.message_properties))
        return f"heard {rest}"

    @miqro.handle("ask_back")
    def ask_back(self, payload: str) -> None:
        """Ask another service, from a handler, without waiting."""
        self.asked = self.request("service/asker/question", payload, timeout=SOON)


class Asker(miqro.Service):
    """Asks, and can be asked."""

    SERVICE_NAME = "asker"

    @miqro.handle("question")
    def question(self, payload: str) -> str:
        """Return an answer."""
        return payload.upper()

    @miqro.handle("wait")
    def wait(self, payload: str) -> None:
        """Wait on the thread that has to receive the answer, which cannot work."""
        self.request("service/sums/add", payload).result()


FIVE = "protocol: 5"

#: CONNACK of a broker that says nothing of itself.
WELCOME = bytes([0x20, 3, 0, 0, 0])


def _read_on(peer: Any) -> None:
    """Read until the client goes."""
    while peer.read() is not None:
        pass


def test_properties_reach_other_clients_and_come_from_them(
    broker: Broker, outside: Outside, write_config: Callable[..., Path]
) -> None:
    """What a message says besides its payload, both ways; a reply carries the correlation data."""
    service = Sums(write_config(broker.port, broker=FIVE))
    with Up(service):
        service.publish(
            "said",
            {"a": 1},
            qos=1,
            expiry=100,
            content_type="application/json",
            response_topic="service/answers",
            correlation_data=b"\x00\x01",
            user_properties={"unit": "m"},
            is_text=True,
        )
        said = outside.wait_for("service/sums/said")
        properties = said.properties
        assert said.payload == b'{"a": 1}'
        assert properties.MessageExpiryInterval in (99, 100)
        assert properties.ContentType == "application/json"
        assert properties.ResponseTopic == "service/answers"
        assert properties.CorrelationData == b"\x00\x01"
        assert properties.UserProperty == [("unit", "m")]
        assert properties.PayloadFormatIndicator == 1

        outside.publish(
            "service/sums/hear/x",
            "hello",
            ResponseTopic="service/outside",
            CorrelationData=b"mine",
            UserProperty=[("a", "1"), ("a", "2")],
        )
        text, heard = service.heard.wait_for(lambda item: item[0] == "hello", SOON, "the message")
        assert heard.user_properties == [("a", "1"), ("a", "2")]
        assert (heard.response_topic, heard.correlation_data) == ("service/outside", b"mine")
        assert service.message_properties is None, "outside of a handler there is none"
        answer = outside.wait_for("service/outside")
        assert (answer.payload, answer.properties.CorrelationData) == (b"heard x", b"mine")

        # Without a response topic what a handler returns is ignored, as in 1.x.
        outside.publish("service/sums/hear/y", "again", ContentType="text")
        outside.publish("service/sums/hear/z", "end", ResponseTopic="service/outside/end")
        outside.wait_for("service/outside/end")
        topics = [message.topic for message in outside.received.all()]
        assert topics.count("service/outside") == 1
        assert text == "hello"


@pytest.mark.parametrize("protocol", ["5", "auto"])
def test_services_ask_each_other(broker: Broker, write_config: Callable[..., Path], protocol: str) -> None:
    """A request is answered by the value that a handler returns; awaited, or waited for on another thread."""
    config = write_config(broker.port, broker=f"protocol: {protocol}")
    sums, asker = Sums(config), Asker(config)
    with Up(sums), Up(asker):
        reply = asker.request("service/sums/add", {"a": 2, "b": 3}, timeout=SOON).result()
        assert reply == '{"sum": 5}'
        assert reply.payload == b'{"sum": 5}'

        async def ask() -> list[str]:
            requests = [asker.request("service/sums/add", {"a": n, "b": n}, timeout=SOON) for n in range(20)]
            return [await request for request in requests]

        assert asyncio.run(ask()) == [f'{{"sum": {2 * n}}}' for n in range(20)]

        # The other way round, from a handler.
        asker.publish("service/sums/ask_back", "why", global_=True)
        wait_until(lambda: hasattr(sums, "asked"), SOON, "the handler asks")
        assert sums.asked.result() == "WHY"
        assert not asker.failure_count, asker.last_failure


def test_a_request_that_nobody_answers_ends_with_a_sentence(
    broker: Broker, write_config: Callable[..., Path]
) -> None:
    """Timeouts name the topic; a late answer is dropped; the service's own thread is told that it cannot wait."""
    asker = Asker(write_config(broker.port, broker=FIVE))
    with Up(asker):
        request = asker.request("service/nobody", "?", timeout=0.2)
        with pytest.raises(
            miqro.RequestTimeoutError, match=r"answered the request on 'service/nobody' within 0\.2 s"
        ):
            request.result()
        assert request.done()

        async def ask() -> str:
            return await asker.request("service/nobody", "?", timeout=0.1)

        with pytest.raises(TimeoutError):
            asyncio.run(ask())
        with pytest.raises(ValueError, match="over 0 s"):
            asker.request("service/nobody", "?", timeout=0)

        failures = asker.failure_count
        asker.publish("wait", "{}")
        wait_until(lambda: asker.failure_count > failures, SOON, "the handler fails")
        assert "own thread" in str(asker.last_failure)
        open_request = asker.request("service/nobody", "?", timeout=60)
    with pytest.raises(miqro.RequestError, match="the service has stopped"):
        open_request.result()


def test_late_and_unknown_answers_are_dropped(
    broker: Broker, outside: Outside, write_config: Callable[..., Path]
) -> None:
    """What comes on the topic of the answers and answers nothing is no error."""
    asker = Asker(write_config(broker.port, broker=FIVE))
    with Up(asker) as running, Records("asker.main") as records:
        asker.log.setLevel("DEBUG")
        request = asker.request("service/outside/question", "?", timeout=SOON)
        topic = outside.wait_for("service/outside/question").properties.ResponseTopic
        outside.publish(topic, "without data")
        outside.publish(topic, "of another", CorrelationData=b"unknown")
        running.wait(lambda: sum("nobody waits" in text for text in records.texts()) == 2)
        assert not request.done()
        assert not records.texts(40)


def test_3_1_1_has_neither_properties_nor_requests(broker: Broker, write_config: Callable[..., Path]) -> None:
    """The sentence says what to set."""
    asker = Asker(write_config(broker.port))
    with Up(asker):
        with pytest.raises(miqro.RequestError, match="set `protocol: 5`"):
            asker.request("service/sums/add", "{}")
        info = asker.publish("x", "y", content_type="text")
        assert info.rc == mqtt.MQTT_ERR_INVAL
        assert "set `protocol: 5`" in str(asker.last_failure)
        with pytest.raises(TypeError):
            asker.publish("x", "y", retian=True)


@pytest.mark.parametrize("hangs_up", [False, True], ids=["says no", "hangs up"])
def test_auto_falls_back_to_3_1_1(write_config: Callable[..., Path], hangs_up: bool) -> None:
    """C41: a broker that does not speak MQTT 5 gets 3.1.1 at once, and is asked for nothing else meanwhile."""
    levels: list[int] = []

    def first(peer: Any) -> None:
        request = peer.expect(packets.CONNECT)
        levels.append(request.body[6])
        if not hangs_up:
            peer.send(packets.connack(1))

    def later(peer: Any) -> None:
        levels.append(peer.accept().body[6])
        peer.serve()

    with FakeBroker(first, later) as fake:
        service = Asker(write_config(fake.port, broker="protocol: auto\nreconnect_delay_min: 20"))
        with Up(service):
            assert levels == [5, 4]
            assert not service.failure_count
            with pytest.raises(miqro.RequestError, match=r"the broker speaks MQTT 3\.1\.1 only"):
                service.request("service/x", "?")
            # Properties that cannot be sent are left out: the service chose not to know.
            assert service.publish("x", "y", qos=1, content_type="text").rc == 0


def test_a_request_before_the_connect_fails_when_the_broker_is_old(write_config: Callable[..., Path]) -> None:
    """With `auto` it is known only then."""
    with FakeBroker(lambda peer: peer.accept(1), lambda peer: (peer.accept(), peer.serve())) as fake:
        service = Asker(write_config(fake.port, broker="protocol: auto"))
        request = service.request("service/x", "?", timeout=60)
        with (
            Up(service),
            pytest.raises(miqro.RequestError, match=r"speaks MQTT 3\.1\.1 only"),
        ):
            request.result(SOON)


def test_a_broker_that_refuses_mqtt_5_is_named(write_config: Callable[..., Path]) -> None:
    """C43: with `protocol: 5` it stays refused, in words."""
    with FakeBroker(lambda peer: peer.accept(1)) as fake:
        service = Asker(write_config(fake.port, broker=FIVE))
        with Running(service) as running:
            running.wait(lambda: service.failure_count)
            assert "does not speak" in str(service.last_failure)


@pytest.mark.parametrize(
    "data",
    [
        bytes([0x20, 3, 0, 0, 1]),  # CONNACK whose properties end too early
        bytes([0x20, 5, 0, 0, 2, 0x99, 0]),  # an unknown property
        bytes([0x20, 3, 0, 0x55, 0]),  # an unknown reason code
        bytes([0x20, 3, 0, 0, 0, 0x32, 6, 0, 1, 97, 0, 0, 0]),  # a QoS 1 message with the number 0
        bytes([0x20, 3, 0, 0, 0, 0x30, 7, 0, 1, 97, 3, 0x23, 0, 1]),  # a topic alias
        bytes([0x20, 3, 0, 0, 0, 0xF0, 0]),  # AUTH
    ],
)
def test_malformed_packets_end_the_connection_with_a_sentence(
    write_config: Callable[..., Path], data: bytes
) -> None:
    """Never the process; the next connection works."""
    with FakeBroker(
        lambda peer: (peer.expect(packets.CONNECT), peer.send(data), peer.read()),
        lambda peer: (peer.expect(packets.CONNECT), peer.send(WELCOME), _read_on(peer)),
    ) as fake:
        service = Asker(write_config(fake.port, broker=FIVE))
        with Records("asker.mqtt") as records, Running(service) as running:
            running.wait(lambda: any("not MQTT 5 (" in text for text in records.texts(30)))
            running.wait(lambda: service.is_connected)


def test_the_receive_maximum_of_the_broker_is_kept_to(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """C44: mosquitto takes 3 at a time, and would end the connection over a fourth."""
    broker = make_broker(options=["max_inflight_messages 3"]).start()
    outside = Outside(broker.port, "service/#")
    service = Asker(write_config(broker.port, broker=FIVE))
    with Up(service):
        infos = [service.publish("n", str(number), qos=2) for number in range(300)]
        for info in infos:
            info.wait_for_publish(SOON)
        outside.received.wait_for_count(
            300, SOON, "all of them", lambda message: message.topic == "service/asker/n"
        )
    assert [m.payload for m in outside.received.all() if m.topic == "service/asker/n"] == [
        str(number).encode() for number in range(300)
    ]
    assert service.disconnect_count == 1
    outside.close()


def test_a_message_larger_than_the_broker_takes_is_refused_alone(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """C37: by a sentence; the session is unharmed, also where the message waited for the connect."""
    broker = make_broker(options=["max_packet_size 2000"]).start()
    service = Asker(write_config(broker.port, broker=FIVE))
    waiting = service.publish("waiting", "x" * 5000, qos=1)
    assert waiting.rc == 0
    with Up(service) as running:
        with pytest.raises(miqro.PublishError, match="accepts 2000 at most"):
            waiting.wait_for_publish(SOON)
        running.wait(lambda: "'service/asker/waiting' is lost" in str(service.last_failure))
        failures = service.failure_count
        info = service.publish("large", "x" * 2500, qos=1)
        assert info.rc == mqtt.MQTT_ERR_INVAL
        assert service.failure_count == failures + 1
        assert "accepts 2000 at most" in str(service.last_failure)
        service.publish("small", "x" * 1900, qos=1).wait_for_publish(SOON)
    assert service.disconnect_count == 1


def test_a_broker_without_retained_messages_and_qos_2_gets_what_it_takes(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """The will, too, without the flag that it refuses; one warning each."""
    broker = make_broker(options=["retain_available false", "max_qos 1"]).start()
    outside = Outside(broker.port, "service/#")
    service = Asker(write_config(broker.port, broker=FIVE))
    with Records("asker.mqtt") as records, Up(service) as running:
        service.publish("kept", "x", qos=2, retain=True).wait_for_publish(SOON)
        service.publish("kept", "y", qos=2, retain=True).wait_for_publish(SOON)
        message = outside.wait_for("service/asker/kept")
        assert (message.qos, message.retain) == (1, False)
        running.wait(lambda: len(records.texts(30)) >= 3, "the warnings")
        assert sum("QoS 1" in text for text in records.texts(30)) == 1
        assert sum("keeps no messages" in text for text in records.texts(30)) == 1
        assert sum("the will" in text for text in records.texts(30)) == 1
    outside.close()


def test_the_brokers_keepalive_counts(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """MQTT-3.2.2-21: with ours, of an hour, there would be no ping here."""
    broker = make_broker(options=["max_keepalive 10", "log_type all"]).start()
    service = Asker(write_config(broker.port, broker=f"{FIVE}\nkeepalive: 3600"))
    with Up(service):
        broker.wait_log("PINGREQ from asker", 20)


def test_a_client_without_an_id_gets_one(broker: Broker) -> None:
    """And says so in its log."""
    client = mqtt.Client(protocol=mqtt.MQTTv5)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.enable_logger()
    client.connect_async("127.0.0.1", broker.port)
    with Records("miqro.mqtt") as records:
        client._logger.setLevel("DEBUG")  # type: ignore[union-attr]
        client.loop_start()
        assert connected.wait(SOON)
        client.loop_stop()
        assert any("has chosen the client id 'auto-" in text for text in records.texts())


def test_shared_subscriptions_share(
    broker: Broker, outside: Outside, write_config: Callable[..., Path]
) -> None:
    """C13: each message goes to one of the services of a group."""
    seen: Log[tuple[str, str]] = Log()

    class Worker(miqro.Service):
        @miqro.handle_global("$share/workers/work/+")
        def work(self, payload: str) -> None:
            seen.append((self.SERVICE_NAME, payload))

    config = write_config(broker.port, broker=FIVE)
    names = ["one", "two"]
    workers = [type(name, (Worker,), {"SERVICE_NAME": name})(config) for name in names]
    with Up(workers[0]), Up(workers[1]):
        for number in range(20):
            outside.publish("work/x", str(number))
        seen.wait_for_count(20, SOON, "all the work is done")
    assert sorted(int(payload) for _, payload in seen.all()) == list(range(20))
    assert {name for name, _ in seen.all()} == set(names)


def test_options_of_subscriptions_reach_the_broker(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """`no_local`: not what the service says itself; `retain_handling=2`: nothing retained; flags as published."""
    observer.publish("kept/x", "old", retain=True)
    observer.barrier()
    seen: Log[str] = Log()

    class Picky(miqro.Service):
        SERVICE_NAME = "picky"

        @miqro.handle("own", no_local=True)
        def own(self, payload: str) -> None:
            seen.append(f"own {payload}")

        @miqro.handle_global("kept/#", retain_handling=2)
        def kept(self, payload: str, _rest: str) -> None:
            seen.append(f"kept {payload}")

    service = Picky(write_config(broker.port, broker=FIVE))
    with Up(service):
        service.publish("own", "mine")
        observer.publish("service/picky/own", "yours")
        observer.publish("kept/x", "new")
        seen.wait_for(lambda item: item == "kept new", SOON, "the new message")
    assert seen.all() == ["own yours", "kept new"]
    with pytest.raises(ValueError, match="retain_handling must be"):
        miqro.handle("x", retain_handling=3)
    with pytest.raises(ValueError, match="shared subscription"):
        service.mqtt_client.subscribe("$share/g/x", 1 | 4)


def test_what_the_broker_refuses_fails_in_words(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """PUBACK with a reason: the message is given up, the next one goes on."""
    broker = make_broker(
        users={"me": "secret"}, acl=["user me", "topic write service/asker/#", "topic read service/#"]
    ).start()
    config = write_config(broker.port, "auth: {username: me, password: secret}", broker=FIVE)
    service = Asker(config)
    with Records("asker.mqtt") as records, Up(service) as running:
        # mosquitto 2.0.11 hangs up after each refusal: what it refused must not be sent again.
        for _ in range(2):
            with pytest.raises(miqro.PublishError, match="not authorized"):
                service.publish("forbidden", "x", qos=1, global_=True).wait_for_publish(SOON)
        service.publish("fine", "x", qos=2).wait_for_publish(SOON)
        running.wait(lambda: sum("'forbidden' is lost" in text for text in records.texts(40)) == 2)


@pytest.mark.parametrize(
    ("goodbye", "words"),
    [
        (bytes([0xE0, 1, 0x8E]), "another client has connected with the same client id"),
        (bytes([0xE0, 0]), "it does not say why"),
        (bytes([0xE0, 9, 0x8B, 7, 0x1F, 0, 4, *b"2 pm"]), 'the broker shuts down (the broker says: "2 pm")'),
        (bytes([0xE0, 6, 0x9D, 4, 0x1C, 0, 1, *b"b"]), 'it names "b" instead'),
    ],
)
def test_the_goodbye_of_the_broker_is_told(
    write_config: Callable[..., Path], goodbye: bytes, words: str
) -> None:
    """DISCONNECT with its reason in words (section 3.14), in all the lengths that it may have."""

    def leaves(peer: Any) -> None:
        peer.expect(packets.CONNECT)
        peer.send(WELCOME)
        peer.read()
        peer.send(goodbye)
        _read_on(peer)

    with FakeBroker(leaves) as fake:
        service = Asker(write_config(fake.port, broker=FIVE))
        with Records("asker.mqtt") as records, Running(service) as running:
            running.wait(lambda: any(words in text for text in records.texts(30)), words)


def test_refused_messages_free_the_window(write_config: Callable[..., Path]) -> None:
    """MQTT-4.4.0: a PUBREC with an error ends the exchange: no PUBREL, and the next message has its turn."""
    answers = iter([0x97, 0, 0x90])

    def takes_one_at_a_time(peer: Any) -> None:
        peer.expect(packets.CONNECT)
        peer.send(bytes([0x20, 6, 0, 0, 3, 0x21, 0, 1]))
        while (found := peer.read()) is not None:
            if found.kind == packets.PUBLISH and found.qos == 2:
                code = next(answers)
                peer.send(bytes([0x50, 3, *found.mid.to_bytes(2, "big"), code]))
            elif found.kind == packets.PUBREL:
                peer.send(bytes([0x70, 2, *found.mid.to_bytes(2, "big")]))

    with FakeBroker(takes_one_at_a_time) as fake:
        service = Asker(write_config(fake.port, broker=FIVE))
        with Running(service) as running:
            running.wait(lambda: service.is_connected)
            first, second, third = (service.publish("x", str(number), qos=2) for number in range(3))
            with pytest.raises(miqro.PublishError, match="a quota of the broker is used up"):
                first.wait_for_publish(SOON)
            second.wait_for_publish(SOON)
            with pytest.raises(miqro.PublishError, match="does not accept the topic"):
                third.wait_for_publish(SOON)
        releases = [found.mid for found in fake.peers.all()[0].seen if found.kind == packets.PUBREL]
        assert len(releases) == 1


def test_what_has_expired_is_not_sent(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """Its publisher is told, while the broker is still away."""
    broker = make_broker()
    service = Asker(write_config(broker.port, broker=f"{FIVE}\nreconnect_delay_max: 0.5"))
    short = service.publish("short", "x", qos=1, expiry=1)
    long = service.publish("long", "x", qos=1, expiry=1000)
    with Running(service) as running:
        with pytest.raises(miqro.PublishError, match="expired"):
            short.wait_for_publish(SOON)
        outside_broker = broker.start()
        running.connected()
        long.wait_for_publish(SOON)
    assert "service/asker/short" not in outside_broker.log


def test_a_session_is_kept_as_long_as_it_was_asked_for(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """`session_expiry`: what was published meanwhile is there after a stop and a start."""
    broker = make_broker().start()
    outside = Outside(broker.port, "x/#")
    config = write_config(broker.port, broker=f"{FIVE}\nsession_expiry: 300")
    service = Sums(config)
    with Up(service):
        pass
    outside.publish("service/sums/hear/x", "meanwhile")
    broker.wait_log(r"Received PUBLISH .*service/sums/hear/x")
    again = Sums(config)
    with Running(again):
        again.heard.wait_for(lambda item: item[0] == "meanwhile", SOON, "the message that waited")
    outside.close()
