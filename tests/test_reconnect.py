"""Brokers that come late, go, come back, and refuse; what is published meanwhile (C43, C44)."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import FakeBroker, Observer, Peer, Proxy, Running, packets, wait_until
from harness.broker import free_port
from harness.wait import Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

SOON = 10.0
FAST = "reconnect_delay_min: 0.02\nreconnect_delay_max: 0.1"
ONLINE = "service/rc/online"
PREFIX = "service/rc/"


class Rc(miqro.Service):
    SERVICE_NAME = "rc"

    @miqro.handle("ping")
    def on_ping(self, payload: str) -> None:
        self.publish("pong", payload, qos=1)


def lines(caplog: pytest.LogCaptureFixture, pattern: str, level: int = logging.WARNING) -> list[str]:
    """The log lines of at least this level that match."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= level and re.search(pattern, record.getMessage())
    ]


def wait_debug(caplog: pytest.LogCaptureFixture, pattern: str, count: int) -> None:
    """Wait until there are so many lines that match, at whatever level."""
    wait_until(lambda: len(lines(caplog, pattern, 0)) >= count, SOON, f"{count} log lines with {pattern!r}")


# ---- C43: for ever ---------------------------------------------------------------------------------------


def test_run_needs_no_broker_and_says_so_once(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C43: never connected: the reason in words, once; tried again and again until there is one."""
    caplog.set_level(logging.DEBUG)
    port = free_port()
    service = Rc(write_config(port, broker=FAST))
    info = service.publish("early", "x", qos=1)
    with Running(service):
        wait_debug(caplog, "no connection to the broker", 4)
        assert not service.is_connected
        (line,) = lines(caplog, "no connection to the broker")
        assert f"127.0.0.1:{port}" in line
        assert "is the broker running" in line
        assert service.disconnect_count == 0
        with make_broker(port=port):
            info.wait_for_publish(SOON)
            wait_until(lambda: service.is_connected, SOON, "the service is connected")


def test_a_lost_connection_is_made_again_with_its_subscriptions(
    broker: Broker, observer: Observer, write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C43: cut three times: each time handlers hear, and publishes arrive; a link that flaps is told of once."""
    caplog.set_level(logging.DEBUG)
    with Proxy(broker.port) as proxy:
        service = Rc(write_config(proxy.port, broker=FAST))
        with Running(service):
            for turn in range(4):
                start = len(observer.received)
                if turn:
                    proxy.cut()
                    wait_until(lambda: service.disconnect_count == turn, SOON, "the service notices")  # noqa: B023
                proxy.wait_connections(turn + 1)
                observer.wait_for(ONLINE, "1", start=start if turn else 0)
                observer.publish(f"{PREFIX}ping", f"{turn}")
                observer.wait_for(f"{PREFIX}pong", f"{turn}")
    assert len(lines(caplog, "^connected to the broker at .* after .* without it", logging.DEBUG)) == 3
    assert len(lines(caplog, "MQTT disconnected, rc=7")) == 3
    assert len(lines(caplog, "no connection to the broker.*reset")) == 1


def test_a_frozen_network_is_noticed(
    broker: Broker, observer: Observer, write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C43: half-open: nobody answers for one and a half keepalives: another connection."""
    with Proxy(broker.port) as proxy:
        service = Rc(write_config(proxy.port, broker=f"{FAST}\nkeepalive: 1"))
        with Running(service):
            observer.wait_for(ONLINE, "1")
            proxy.swallow()
            # With a keepalive of a second a machine that is slow may have broken a connection already.
            before = service.disconnect_count
            info = service.publish("x", "through", qos=1)
            wait_until(lambda: service.disconnect_count > before, 20, "the service notices")
            proxy.resume()
            info.wait_for_publish(SOON)
            # The broker has it; the observer has it a moment later.
            observer.barrier()
            assert observer.payloads(f"{PREFIX}x") == ["through"]
    assert lines(caplog, "has not answered")


def test_every_address_of_a_name_is_tried(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C43: `localhost` may be ::1 first; this broker listens on 127.0.0.1 only."""
    path = write_config(broker.port)
    path.write_text(path.read_text().replace("127.0.0.1", "localhost"))
    with Running(Rc(path)):
        observer.wait_for(ONLINE, "1")


def test_a_refusal_is_told_once_per_reason_and_tried_again(
    write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C43: refused by the broker: the reason in words, once per change of reason, another try after the backoff."""
    caplog.set_level(logging.DEBUG)

    def refuse(code: int) -> Callable[[Peer], None]:
        return lambda peer: void(peer.accept(code))

    def accept(peer: Peer) -> None:
        peer.accept()
        peer.serve()

    with FakeBroker(*map(refuse, (5, 5, 5, 4, 4, 3, 5)), accept) as fake:
        service = Rc(write_config(fake.port, broker=FAST))
        with Running(service):
            service.publish("x", "y", qos=1).wait_for_publish(SOON)
            told = lines(caplog, "no connection to the broker", logging.ERROR)
            assert [re.sub(".*: the broker (.{20}).*", r"\1", line) for line in told] == [
                "does not allow this ",
                "says that the user n",
                "says that it is not ",
                "does not allow this ",
            ]
            assert service.failure_count == 4
            assert len(lines(caplog, "no connection to the broker", 0)) == 7
            assert len(fake.peers) == 8


def void(_value: object) -> None:
    """Forget a value."""


# ---- C44: kept, in order, bounded ------------------------------------------------------------------------


def collecting(log: Log[packets.Packet]) -> Callable[[Peer], None]:
    """Return a script that answers everything and writes down the PUBLISH packets."""

    def script(peer: Peer) -> None:
        peer.accept()
        while (request := peer.read()) is not None and request.kind != packets.DISCONNECT:
            if request.kind == packets.PUBLISH:
                log.append(request)
            peer.answer(request)

    return script


def sent(service: miqro.Service, port: int, log: Log[packets.Packet]) -> list[tuple[str, str]]:
    """Run the service to its last message, `end`; return topic and payload of its own messages, in order."""
    info = service.publish("end", "", qos=1)
    assert info.rc == 0
    with Running(service):
        info.wait_for_publish(SOON)
    found = [(p.topic.removeprefix(PREFIX), p.payload.decode()) for p in log.all()]
    return [pair for pair in found if pair[0] not in {"online", "end"}]


@pytest.fixture
def wire() -> Any:
    """A fake broker that accepts everything, and what it got."""
    log: Log[packets.Packet] = Log()
    with FakeBroker(collecting(log)) as fake:
        yield fake.port, log


def test_messages_published_offline_are_sent_in_order(wire: Any, write_config: Callable[..., Path]) -> None:
    """C44: QoS 0 too, and before the first connect; the order is that of publishing, across QoS and topics."""
    port, log = wire
    service = Rc(write_config(port))
    wanted = []
    for number in range(300):
        service.publish(f"t{number % 7}", number, qos=number % 3)
        wanted.append((f"t{number % 7}", str(number)))
    assert sent(service, port, log) == wanted


def test_messages_published_in_an_outage_are_sent_in_order(
    write_config: Callable[..., Path],
) -> None:
    """C44: after a connection was lost, behind what was on the way; nothing is missing, at any QoS."""
    first: Log[packets.Packet] = Log()
    second: Log[packets.Packet] = Log()
    hang_up = threading.Event()

    def cut(peer: Peer) -> None:
        peer.accept()
        while (request := peer.read()) is not None:
            if request.kind == packets.PUBLISH:
                first.append(request)
                if request.payload == b"9":
                    hang_up.wait(SOON)
                    return
            peer.answer(request)

    with FakeBroker(cut, collecting(second)) as fake:
        service = Rc(write_config(fake.port, broker=FAST))
        away = threading.Event()

        def on_disconnect(*args: Any) -> None:
            service._on_disconnect(*args)
            away.set()

        service.mqtt_client.on_disconnect = on_disconnect
        with Running(service):
            for number in range(10):
                service.publish("n", number, qos=number % 2)
            first.wait_for(lambda p: p.payload == b"9", SOON, "the last message before the cut")
            hang_up.set()
            assert away.wait(SOON)
            for number in range(10, 40):
                service.publish("n", number, qos=number % 3)
            last = service.publish("n", 40, qos=2)
            last.wait_for_publish(SOON)
    numbers = [int(p.payload) for p in second.all() if p.topic == f"{PREFIX}n"]
    # What was not acknowledged comes again; then the rest.
    again = [number for number in numbers if number < 10]
    assert again[-1] == 9
    assert all(number % 2 for number in again)
    assert numbers == sorted(again) + list(range(10, 41))


def test_what_is_in_flight_is_sent_again_as_mqtt_demands(write_config: Callable[..., Path]) -> None:
    """C44: the broker kept the session: the same numbers, DUP set, PUBREL where PUBREC had come; in order."""
    second: Log[packets.Packet] = Log()

    def first_life(peer: Peer) -> None:
        peer.accept()
        publishes = []
        while len(publishes) < 3:
            request = peer.read()
            assert request is not None
            if request.kind == packets.PUBLISH and request.qos:
                publishes.append(request)
            elif request.kind == packets.SUBSCRIBE:
                peer.answer(request)
        # The second one is taken over half, the others not at all.
        peer.answer(publishes[1])
        released = peer.skip_to(packets.PUBREL)
        assert released.mid == publishes[1].mid
        mids.extend(packet.mid for packet in publishes)

    def second_life(peer: Peer) -> None:
        peer.accept(session_present=True)
        while (request := peer.read()) is not None and request.kind != packets.DISCONNECT:
            second.append(request)
            peer.answer(request)

    mids: list[int] = []

    class Keeping(Rc):
        CLEAN_SESSION = False

    with FakeBroker(first_life, second_life) as fake:
        service = Keeping(write_config(fake.port, broker=FAST))
        infos = [service.publish("x", number, qos=qos) for number, qos in enumerate((1, 2, 2))]
        with Running(service):
            for info in infos:
                info.wait_for_publish(SOON)
    again = [
        (p.name, p.mid, bool(p.flags & 8) if p.kind == packets.PUBLISH else None)
        for p in second.all()
        if p.kind in {packets.PUBLISH, packets.PUBREL} and (p.kind == packets.PUBREL or p.qos)
    ]
    assert again[:3] == [("PUBLISH", mids[0], True), ("PUBREL", mids[1], None), ("PUBLISH", mids[2], True)]


def test_a_broker_that_forgot_the_session_gets_everything_anew(write_config: Callable[..., Path]) -> None:
    """C44: what it had not acknowledged, in order, as new messages."""
    second: Log[packets.Packet] = Log()

    def first_life(peer: Peer) -> None:
        peer.accept()
        for _ in range(2):
            while True:
                request = peer.read()
                assert request is not None
                if request.kind == packets.PUBLISH and request.qos:
                    break
                if request.kind == packets.SUBSCRIBE:
                    peer.answer(request)
            if request.qos == 2:
                # Taken over half, and forgotten.
                peer.answer(request)
                peer.skip_to(packets.PUBREL)

    with FakeBroker(first_life, collecting(second)) as fake:
        service = Rc(write_config(fake.port, broker=FAST))
        infos = [service.publish("x", number, qos=qos) for number, qos in enumerate((1, 2))]
        with Running(service):
            for info in infos:
                info.wait_for_publish(SOON)
    again = [(p.payload, p.qos, bool(p.flags & 8)) for p in second.all() if p.topic == f"{PREFIX}x"]
    assert again == [(b"0", 1, False), (b"1", 2, False)]


def test_at_most_twenty_messages_are_in_flight(write_config: Callable[..., Path]) -> None:
    """C44: the 21st QoS 1 message waits for an acknowledgement."""
    seen: list[int] = []
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        held = []
        while (request := peer.read()) is not None and request.kind != packets.DISCONNECT:
            if request.kind == packets.PUBLISH and request.qos:
                held.append(request)
                if len(held) == 20:
                    asked.set()
                if len(held) <= 20:
                    continue
            elif request.kind == packets.SUBSCRIBE and "late" in str(request.filters):
                # It was asked for when 20 were here. Had there been more to send, they would have come before it.
                seen.append(len(held))
                for one in held:
                    peer.answer(one)
            peer.answer(request)

    with FakeBroker(script) as fake:
        service = Rc(write_config(fake.port))
        infos = [service.publish("x", number, qos=1 + number % 2) for number in range(50)]
        with Running(service):
            assert asked.wait(SOON)
            wait_until(lambda: service.is_connected, SOON, "the service is connected")
            service.add_handler("late", lambda _service, _payload: None)
            for info in infos:
                info.wait_for_publish(SOON)
    assert seen == [20]


def test_of_retained_messages_of_one_topic_the_newest_is_kept(
    wire: Any, write_config: Callable[..., Path]
) -> None:
    """C44: at QoS 0, while offline; QoS 1 and 2, other topics, and what is not retained are all kept."""
    port, log = wire
    service = Rc(write_config(port))
    for number in range(3):
        service.publish("state", number, retain=True)
        service.publish("other", number, retain=True)
        service.publish("event", number)
        service.publish("sure", number, retain=True, qos=1)
    found = sent(service, port, log)
    assert [payload for topic, payload in found if topic == "state"] == ["2"]
    assert [payload for topic, payload in found if topic == "other"] == ["2"]
    assert [payload for topic, payload in found if topic == "event"] == ["0", "1", "2"]
    assert [payload for topic, payload in found if topic == "sure"] == ["0", "1", "2"]
    # The newest stands where it was published, not where the one before it stood.
    assert found[-4:] == [("state", "2"), ("other", "2"), ("event", "2"), ("sure", "2")]


def test_a_sensor_that_runs_for_days_offline_fills_no_queue(
    wire: Any, write_config: Callable[..., Path]
) -> None:
    """C44: thousands of retained values of a few topics need as many places as there are topics."""
    port, log = wire
    service = Rc(write_config(port, broker="max_queued_messages: 10"))
    sure = service.publish("sure", "x")
    for number in range(5_000):
        service.publish(f"state{number % 4}", number, retain=True)
    assert not sure.is_published()
    assert sent(service, port, log) == [("sure", "x"), *((f"state{n}", str(4_996 + n)) for n in range(4))]


def test_when_the_queue_is_full_the_oldest_of_qos_0_goes_first(
    wire: Any, write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C44: counted, and logged once per outage; QoS 1 and 2 are never dropped."""
    port, log = wire
    service = Rc(write_config(port, broker="max_queued_messages: 9"))
    for number in range(4):
        service.publish("zero", number)
        service.publish("one", number, qos=1)
    for number in range(4, 7):
        service.publish("zero", number)
    found = sent(service, port, log)  # one more
    assert [payload for topic, payload in found if topic == "one"] == [*"0123"]
    assert [payload for topic, payload in found if topic == "zero"] == [*"3456"]
    (first,) = lines(caplog, "dropped$")
    assert "full" in first
    (count,) = lines(caplog, "messages were dropped meanwhile")
    assert count.startswith("3 ")
    assert service.failure_count == 1


def test_drops_are_told_anew_in_the_next_outage(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C44: once per outage, not once for ever."""
    broker = make_broker().start()
    service = Rc(write_config(broker.port, broker=f"{FAST}\nmax_queued_messages: 5"))
    with Running(service):
        for outage in (1, 2):
            # Nothing of the last outage is left in the queue.
            service.publish("ready", outage, qos=1).wait_for_publish(SOON)
            broker.kill()
            wait_until(lambda: not service.is_connected, SOON, "the service notices")
            for number in range(20):
                service.publish("x", number)
            wait_until(lambda: len(lines(caplog, "are dropped$")) == outage, SOON, "the drops are told")  # noqa: B023
            broker.restart()
            wait_until(lambda: len(lines(caplog, "15 messages were dropped")) == outage, SOON, "and counted")  # noqa: B023
    assert len(lines(caplog, "dropped")) == 4


def test_bytes_are_bounded_too(wire: Any, write_config: Callable[..., Path]) -> None:
    """C44: `max_queued_bytes` counts topics and payloads."""
    port, log = wire
    service = Rc(write_config(port, broker="max_queued_bytes: 10000"))
    for number in range(10):
        service.publish("zero", f"{number}" * 2_000)
    found = [payload[0] for _, payload in sent(service, port, log)]
    assert found == [*"6789"]


def test_a_queue_full_of_sure_messages_refuses_more_and_says_so_once(
    wire: Any, write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C44, C36: rc 15, never silently: each is counted, and one line per outage says it."""
    port, log = wire
    service = Rc(write_config(port, broker="max_queued_messages: 4"))
    for number in range(3):
        assert service.publish("kept", number, qos=2).rc == 0
    service.publish("end", "", qos=1)
    for number in range(5):
        assert service.publish("refused", number, qos=number % 3).rc == miqro.mqtt.MQTT_ERR_QUEUE_SIZE
    assert service.failure_count == 5
    assert len(lines(caplog, "queue is full")) == 1
    with Running(service):
        log.wait_for(lambda p: p.topic == f"{PREFIX}end", SOON, "the last message")
        service.publish("after", "x", qos=1).wait_for_publish(SOON)
    topics = [p.topic.removeprefix(PREFIX) for p in log.all()]
    assert topics.count("kept") == 3
    assert "refused" not in topics
    assert len(lines(caplog, "5 messages were refused meanwhile")) == 1


def test_a_message_larger_than_the_queue_is_sent_alone(wire: Any, write_config: Callable[..., Path]) -> None:
    """C44: a bound of the queue is no bound of a message: 300 kB through 1,000 bytes."""
    port, log = wire
    service = Rc(write_config(port, broker="max_queued_bytes: 1000"))
    with Running(service):
        wait_until(lambda: service.is_connected, SOON, "the service is connected")
        for _ in range(3):
            service.publish("big", "x" * 300_000, qos=1).wait_for_publish(SOON)
    assert [len(p.payload) for p in log.all() if p.topic == f"{PREFIX}big"] == [300_000] * 3


def test_a_full_queue_while_connected_holds_the_publisher_up_and_loses_nothing(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C44: not only QoS 1: what was accepted while connected arrives, however small the queue."""
    service = Rc(write_config(broker.port, broker="max_queued_messages: 5"))
    with Running(service):
        observer.wait_for(ONLINE, "1")
        wait_until(lambda: service.is_connected, SOON, "the service is connected")
        for number in range(500):
            assert service.publish("x", number, qos=number % 2).rc == 0
        observer.wait_count(f"{PREFIX}x", 500, timeout=60)
    assert sorted(map(int, observer.payloads(f"{PREFIX}x"))) == list(range(500))


def test_the_defaults_hold_ten_thousand_messages(write_config: Callable[..., Path]) -> None:
    """C44: 10,000 messages by default."""
    service = Rc(write_config(1))
    infos = [service.publish("x", number, qos=1) for number in range(10_001)]
    assert [info.rc for info in infos] == [0] * 10_000 + [15]


def test_messages_for_the_service_survive_a_short_absence(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """C43, C3: with `CLEAN_SESSION = False` the broker keeps what comes at QoS 1 meanwhile."""

    class Keeping(Rc):
        CLEAN_SESSION = False

    broker = make_broker().start()
    path = write_config(broker.port)
    with Observer(broker.port) as observer:
        with Running(Keeping(path)):
            observer.wait_for(ONLINE, "1")
        observer.publish(f"{PREFIX}ping", "meanwhile", qos=1)
        with Running(Keeping(path)):
            observer.wait_for(f"{PREFIX}pong", "meanwhile")
