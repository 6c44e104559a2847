"""A service and its broker from the CONNECT to the farewell (C40)."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import miqro
from harness import FakeBroker, Observer, Peer, Running, Script, packets, wait_until
from harness.wait import Log
from miqro import ha_sensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

SOON = 10.0
ONLINE = "service/lifecycle/online"


class Lifecycle(miqro.Service):
    SERVICE_NAME = "lifecycle"

    @miqro.handle("set/#")
    def on_set(self, payload: str, rest: str) -> None:
        self.publish(f"got/{rest}", payload)

    @miqro.handle_global("sun/elevation")
    def on_sun(self, payload: str) -> None:
        self.publish("sun", payload)


class Connect(NamedTuple):
    """What a CONNECT says (MQTT 3.1.1, section 3.1)."""

    client_id: str
    clean: bool
    keepalive: int
    will_topic: str
    will_payload: bytes
    will_retain: bool
    will_qos: int


def parse_connect(packet: packets.Packet) -> Connect:
    """Take a CONNECT with a will and without credentials apart."""

    def field() -> bytes:
        nonlocal rest
        end = 2 + int.from_bytes(rest[:2], "big")
        found, rest = rest[2:end], rest[end:]
        return found

    rest = packet.body
    assert field() == b"MQTT"
    assert rest[0] == 4
    flags, keepalive, rest = rest[1], int.from_bytes(rest[2:4], "big"), rest[4:]
    assert flags & 0b1100_0101 == 0b0000_0100  # a will, and no credentials
    fields = [field() for _ in range(3)]
    assert rest == b""
    return Connect(
        fields[0].decode(),
        bool(flags & 2),
        keepalive,
        fields[1].decode(),
        fields[2],
        bool(flags & 32),
        flags >> 3 & 3,
    )


class Recording:
    """A script of a fake broker: answers everything, and writes down what comes."""

    def __init__(self) -> None:
        self.log: Log[packets.Packet] = Log()

    def __call__(self, peer: Peer) -> None:
        self.log.append(peer.accept())
        while (request := peer.read()) is not None:
            self.log.append(request)
            if request.kind == packets.DISCONNECT:
                break
            peer.answer(request)

    def wait_publish(self, topic: str, payload: str | None = None) -> packets.Packet:
        """Wait for a PUBLISH."""
        return self.log.wait_for(
            lambda p: (
                p.kind == packets.PUBLISH
                and p.topic == topic
                and (payload is None or p.payload == payload.encode())
            ),
            SOON,
            f"a PUBLISH on {topic}",
        )

    def story(self) -> list[str]:
        """What came, without acknowledgements, one word or two each."""
        told = []
        for packet in self.log.all():
            if packet.kind == packets.PUBLISH:
                told.append(
                    f"{packet.topic}={packet.payload.decode()[:10]}"
                    + (" retained" if packet.flags & 1 else "")
                )
            elif packet.kind == packets.SUBSCRIBE:
                told.append("SUBSCRIBE " + " ".join(f"{name}:{qos}" for name, qos in packet.filters))
            elif packet.kind in {packets.CONNECT, packets.DISCONNECT, packets.UNSUBSCRIBE}:
                told.append(packet.name)
        return told


# ---- CONNECT ---------------------------------------------------------------------------------------------


def test_the_client_id_is_the_name_and_the_will_is_offline(write_config: Callable[..., Path]) -> None:
    """C40: client id = `SERVICE_NAME`; will = `<prefix>online` `0` retained; C41: keepalive 60."""
    script = Recording()
    with FakeBroker(script) as fake:
        with Running(Lifecycle(write_config(fake.port))):
            script.wait_publish(ONLINE)
        assert parse_connect(script.log.all()[0]) == Connect("lifecycle", True, 60, ONLINE, b"0", True, 0)


def test_the_configuration_and_the_class_change_the_connect(write_config: Callable[..., Path]) -> None:
    """C40, C41, C3: `client_id`, `keepalive`, `data_topic`, `CLEAN_SESSION`."""

    class Durable(Lifecycle):
        CLEAN_SESSION = False

    script = Recording()
    with FakeBroker(script) as fake:
        path = write_config(
            fake.port,
            "services:\n  lifecycle:\n    data_topic: home/\n",
            broker="client_id: other\nkeepalive: 7",
        )
        with Running(Durable(path)):
            script.wait_publish("home/online")
        assert parse_connect(script.log.all()[0]) == Connect("other", False, 7, "home/online", b"0", True, 0)


# ---- the greeting ----------------------------------------------------------------------------------------


def test_every_connect_is_greeted_in_the_same_order(write_config: Callable[..., Path]) -> None:
    """C40: subscriptions, then `1` retained, then Home Assistant discovery, then what was queued, in order."""
    first, second = Recording(), Recording()

    def cut(peer: Peer) -> None:
        first.log.append(peer.accept())
        while (request := peer.read()) is not None:
            first.log.append(request)
            peer.answer(request)
            if (
                request.kind == packets.PUBLISH
                and request.topic.endswith("queued")
                and request.payload == b"3"
            ):
                return  # hangs up

    with FakeBroker(cut, second) as fake:
        service = Lifecycle(write_config(fake.port, broker="reconnect_delay_min: 0.05"))
        device = ha_sensors.Device(service, "Lamp")
        ha_sensors.Sensor(device, "Brightness", state_topic_postfix="b")
        ha_sensors.Sensor(None, "Lonely", service=service, state_topic_postfix="l")
        for number in range(4):
            service.publish("queued", number, qos=number % 2)
        offline = threading.Event()
        service.mqtt_client.on_disconnect = _after(service._on_disconnect, offline.set)
        with Running(service):
            assert offline.wait(SOON)
            for number in range(4, 8):
                service.publish("queued", number, qos=number % 2)
            second.wait_publish("service/lifecycle/queued", "7")
    greeting = [
        "CONNECT",
        "SUBSCRIBE sun/elevation:1 service/lifecycle/set/#:1 service/lifecycle/enabled:1 homeassistant/status:1",
        f"{ONLINE}=1 retained",
        'homeassistant/device/lifecycle_Lamp/config={"device": retained',
    ]
    # What the broker had acknowledged when it hung up, but the service had not read yet, comes once more.
    for script, wanted in ((first, ["0123"]), (second, ["4567", "34567", "134567"])):
        story = script.story()
        queued = [word for word in story if "queued" in word]
        assert story[:4] == greeting
        assert story[4].startswith("homeassistant/sensor/")
        assert story[5 : 5 + len(queued)] == queued
        assert "".join(word[-1] for word in queued) in wanted


def _after(first: Callable[..., object], second: Callable[[], object]) -> Callable[..., None]:
    def both(*args: object) -> None:
        first(*args)
        second()

    return both


def test_the_quality_of_subscriptions_is_the_class_s(write_config: Callable[..., Path]) -> None:
    """C3: `SUBSCRIBE_QOS`."""

    class Modest(Lifecycle):
        SUBSCRIBE_QOS = 0

    script = Recording()
    with FakeBroker(script) as fake:
        with Running(Modest(write_config(fake.port))):
            script.wait_publish(ONLINE)
        assert "service/lifecycle/set/#:0" in script.story()[1]


def test_a_handler_added_while_connected_is_subscribed_now_and_again(
    write_config: Callable[..., Path],
) -> None:
    """C40, C43: in one more SUBSCRIBE on this connection, and with all the others on the next."""
    first, second = Recording(), Recording()
    hang_up = threading.Event()

    def cut(peer: Peer) -> None:
        first.log.append(peer.accept())
        while (request := peer.read()) is not None:
            first.log.append(request)
            peer.answer(request)
            if request.kind == packets.SUBSCRIBE and "late" in str(request.filters):
                hang_up.wait(SOON)
                return

    with FakeBroker(cut, second) as fake:
        service = Lifecycle(write_config(fake.port, broker="reconnect_delay_min: 0.05"))
        with Running(service):
            first.wait_publish(ONLINE)
            wait_until(lambda: service.is_connected, SOON, "the service is connected")
            service.add_handler("late", lambda _service, _payload: None)
            first.log.wait_for(
                lambda p: p.kind == packets.SUBSCRIBE and p.filters == [("service/lifecycle/late", 1)],
                SOON,
                "a SUBSCRIBE of its own",
            )
            hang_up.set()
            second.wait_publish(ONLINE)
        filters = [
            name
            for packet in second.log.all()
            if packet.kind == packets.SUBSCRIBE
            for name, _ in packet.filters
        ]
        assert sorted(filters) == sorted(
            ["sun/elevation", *(f"service/lifecycle/{name}" for name in ("set/#", "enabled", "late"))]
        )


def test_the_heartbeat_says_online_again_and_again(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C40: `1` again every `MQTT_ONLINE_UPDATE_INTERVAL`, retained."""

    class Lively(Lifecycle):
        MQTT_ONLINE_UPDATE_INTERVAL = 0.05

    with Running(Lively(write_config(broker.port))):
        found = observer.wait_count(ONLINE, 4)
        with Observer(broker.port, ONLINE) as late:
            assert late.wait_for(ONLINE, "1").retain
    assert [message.text for message in found] == ["1"] * 4
    assert found[-1].at - found[0].at >= 0.05


def test_the_heartbeat_does_not_say_what_the_connect_is_about_to_say(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C40: the connection stands, and `_on_connect` still waits for the service's thread: one `1`, not two."""
    service = Lifecycle(write_config(broker.port))
    client = service.mqtt_client
    client.loop_start()
    try:
        wait_until(client.is_connected, SOON, "the connection")
        service._update_online_status()
        wait_until(lambda: service._loop_step() or service.is_connected, SOON, "that the service hears of it")
        service._update_online_status()
        observer.wait_count(ONLINE, 2)
    finally:
        client.loop_stop()
    observer.barrier()
    assert observer.payloads(ONLINE) == ["1", "1"]


# ---- a clean stop ----------------------------------------------------------------------------------------


def test_a_stop_says_offline_delivers_what_is_queued_and_disconnects(
    write_config: Callable[..., Path],
) -> None:
    """C40: `stop = True`: what is queued, `0` retained, DISCONNECT, the end of the connection; nothing after."""
    script = Recording()
    with FakeBroker(script) as fake:
        service = Lifecycle(write_config(fake.port))
        with Running(service):
            script.wait_publish(ONLINE)
            for number in range(50):
                service.publish("last", number, qos=number % 3)
        assert service.is_connected is False
        fake.wait_finished(1)
        assert len(fake.peers) == 1
        story = script.story()
        last = [word for word in story if "last" in word]
        assert [word.partition("=")[2] for word in last] == [str(number) for number in range(50)]
        assert story[-2:] == [f"{ONLINE}=0 retained", "DISCONNECT"]
        acknowledged = {p.mid for p in script.log.all() if p.kind == packets.PUBREL}
        assert len(acknowledged) == 16  # the farewell waits for every QoS 2 message


def test_the_broker_keeps_offline_and_sends_no_will(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C40: `0` retained, once."""
    with Running(Lifecycle(write_config(broker.port))):
        observer.wait_for(ONLINE, "1")
    observer.barrier()
    assert observer.payloads(ONLINE) == ["1", "0"]
    with Observer(broker.port, ONLINE) as late:
        assert late.wait_for(ONLINE, "0").retain


def test_a_stop_tells_on_disconnect_though_messages_wait(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C4, C40: at the end the service knows that it is disconnected, however many messages it leaves unhandled."""
    count = 1_000
    blocked, free = threading.Event(), threading.Event()

    class Blocked(Lifecycle):
        @miqro.handle("block")
        def on_block(self, _payload: str) -> None:
            blocked.set()
            free.wait(SOON)
            self.stop = True

    service = Blocked(write_config(broker.port))
    with Running(service):
        observer.wait_for(ONLINE, "1")
        observer.publish("service/lifecycle/block")
        assert blocked.wait(SOON)
        observer.publish_many([(f"service/lifecycle/set/{number}", b"x") for number in range(count)])
        wait_until(lambda: service.mqtt_client._session.waiting() >= count, SOON, "the messages wait")
        free.set()
    assert service.is_connected is False
    assert service.disconnect_count == 1


def test_a_stop_is_bounded_though_the_broker_acknowledges_nothing(write_config: Callable[..., Path]) -> None:
    """C40: bounded wait; then DISCONNECT all the same, and `0` before it."""
    script = Recording()

    def deaf(peer: Peer) -> None:
        script.log.append(peer.accept())
        while (request := peer.read()) is not None:
            script.log.append(request)
            if request.kind == packets.DISCONNECT:
                break

    with FakeBroker(deaf) as fake:
        service = Lifecycle(write_config(fake.port))
        with Running(service):
            script.wait_publish(ONLINE)
            service.publish("x", "y", qos=1)
            script.wait_publish("service/lifecycle/x")
        fake.wait_finished(1)
        assert script.story()[-2:] == [f"{ONLINE}=0 retained", "DISCONNECT"]


def test_a_stop_is_bounded_though_the_queue_is_full_and_the_broker_frozen(
    make_broker: Callable[..., Broker], write_config: Callable[..., Path]
) -> None:
    """C40: no room for the `0`, and nobody who makes some: the end comes all the same."""
    broker = make_broker().start()
    service = Lifecycle(write_config(broker.port, broker="max_queued_messages: 10"))
    # Two seconds, with room for a busy machine; without a bound it lasts as long as the keepalive, 90 s.
    running = Running(service, timeout=8)
    threads = [
        threading.Thread(target=service.publish, args=("x", "y"), kwargs={"qos": 1}, daemon=True)
        for _ in range(12)
    ]
    with Observer(broker.port) as observer, running:
        observer.wait_for(ONLINE, "1")
        broker.freeze()
        try:
            for thread in threads:
                thread.start()
            wait_until(lambda: service.mqtt_client._session.owed()[0] >= 10, SOON, "the queue is full")
            running.stop()
        finally:
            broker.thaw()
        for thread in threads:
            thread.join(SOON)
            assert not thread.is_alive()


def test_a_full_queue_waits_for_the_greeting(write_config: Callable[..., Path]) -> None:
    """C40, C44: after a long outage, too, `1` and discovery come before what was queued."""
    script = Recording()
    with FakeBroker(script) as fake:
        service = Lifecycle(write_config(fake.port, broker="max_queued_messages: 5"))
        ha_sensors.Sensor(ha_sensors.Device(service, "Lamp"), "Brightness", state_topic_postfix="b")
        for number in range(5):
            assert service.publish("queued", number, qos=1).rc == 0
        with Running(service):
            script.wait_publish("service/lifecycle/queued", "4")
        story = script.story()
    assert story[2] == f"{ONLINE}=1 retained"
    assert story[3].startswith("homeassistant/device/")
    assert [word[-1] for word in story[4:9]] == [*"01234"]


def test_run_returns_without_a_broker(write_config: Callable[..., Path]) -> None:
    """C40, C43: nothing can be delivered, so nothing is waited for."""
    service = Lifecycle(write_config(1))
    service.publish("x", "y", qos=2)
    with Running(service):
        pass
    assert service.is_connected is False


def test_stop_before_run_is_a_greeting_and_a_farewell_at_most(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C54, C40: `stop` set before `run()`: it returns at once, and leaves the service offline."""
    service = Lifecycle(write_config(broker.port))
    service.publish("x", "y", qos=1)
    service.stop = True
    service.run()
    observer.barrier()
    assert observer.payloads(ONLINE) in (["0"], ["1", "0"], [])


def test_a_service_runs_a_second_time(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C40: after its end `run()` may be called again, on the same object: it greets and handles as before."""
    service = Lifecycle(write_config(broker.port))
    for turn in ("first", "second"):
        start = len(observer.received)
        service.stop = False
        with Running(service):
            observer.wait_for(ONLINE, "1", start=start)
            observer.publish("service/lifecycle/set/turn", turn)
            observer.wait_for("service/lifecycle/got/turn", turn)
        observer.wait_for(ONLINE, "0", start=start)


# ---- processes -------------------------------------------------------------------------------------------

SERVICE = """
    import sys
    import miqro

    class Lifecycle(miqro.Service):
        SERVICE_NAME = "lifecycle"

        @miqro.loop(seconds=3600)
        def once(self):
            self.publish("hello", "world", retain=True)

    try:
        Lifecycle().run()
        print("run() has returned")
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
        if "swallow" not in sys.argv:
            raise
    finally:
        print("finally")
"""


@pytest.mark.parametrize(
    ("how", "args", "status", "lines"),
    [
        ("interrupt", [], 130, ["KeyboardInterrupt", "finally"]),
        ("interrupt", ["swallow"], 0, ["KeyboardInterrupt", "finally"]),
        ("terminate", [], 0, ["run() has returned", "finally"]),
    ],
)
def test_a_signal_is_a_clean_stop(
    tmp_path: Path,
    broker: Broker,
    observer: Observer,
    write_config: Callable[..., Path],
    how: str,
    args: list[str],
    status: int,
    lines: list[str],
) -> None:
    """C40: Ctrl-C 130 without a traceback, and catchable as what it is; SIGTERM 0, and `run()` returns."""
    write_config(broker.port)
    with Script(tmp_path, SERVICE, *args) as process:
        observer.wait_for("service/lifecycle/hello")
        getattr(process, how)()
        result = process.wait()
    result.check(status)
    assert result.out.splitlines() == lines
    observer.barrier()
    assert observer.payloads(ONLINE) == ["1", "0"]


def test_kill_9_leaves_the_will(
    tmp_path: Path, broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C40: the broker publishes `0`, retained."""
    write_config(broker.port)
    with Script(tmp_path, SERVICE) as process:
        observer.wait_for("service/lifecycle/hello")
        process.kill()
        process.wait()
        observer.wait_for(ONLINE, "0")
    with Observer(broker.port, ONLINE) as late:
        assert late.wait_for(ONLINE, "0").retain


def test_a_sigterm_handler_of_the_program_is_left_alone(
    tmp_path: Path, broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C40: who handles SIGTERM, as services of 1.x had to, still does; and it is woken for it."""
    source = """
        import signal
        import miqro

        class Lifecycle(miqro.Service):
            SERVICE_NAME = "lifecycle"

        service = Lifecycle()

        def leave(*_):
            print("my own handler")
            service.stop = True

        signal.signal(signal.SIGTERM, leave)
        service.run()
        print("run() has returned", signal.getsignal(signal.SIGTERM) is leave)
    """
    write_config(broker.port)
    with Script(tmp_path, source) as process:
        observer.wait_for(ONLINE, "1")
        process.terminate()
        result = process.wait()
    result.check(0)
    assert result.out.splitlines() == ["my own handler", "run() has returned True"]
    observer.wait_for(ONLINE, "0")


def test_the_state_of_the_connection_is_told_in_a_few_lines(
    broker: Broker, observer: Observer, write_config: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """C40, C43: connected and disconnected at INFO, nothing above it in an ordinary life."""
    path = write_config(broker.port, "services:\n  lifecycle:\n    x: 1\n")
    with caplog.at_level(logging.DEBUG), Running(Lifecycle(path)):
        observer.wait_for(ONLINE, "1")
    lines = [
        (record.levelno, record.getMessage()) for record in caplog.records if record.name == "lifecycle.mqtt"
    ]
    assert lines == [
        (logging.INFO, f"connected to the broker at 127.0.0.1:{broker.port}"),
        (logging.INFO, f"disconnected from the broker at 127.0.0.1:{broker.port}"),
    ]
    above: list[Any] = [r.getMessage() for r in caplog.records if r.levelno > logging.INFO]
    assert above == []
