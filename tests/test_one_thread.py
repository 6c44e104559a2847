"""Everything of a service runs on one thread, one after the other; a queue that waits (contract C15)."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro.test.tools import DummyMQTTClient
from services import DEADLINE, Records, Running, deliver, ends_with, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer

    Config = Callable[..., Path]


class S(miqro.Service):
    """Notes who was called, with what."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


class ThreadedClient(DummyMQTTClient):
    """Calls the service from a thread of its own, as paho's client does."""

    def loop_start(self) -> int:
        self._stop_it = threading.Event()
        self._own = threading.Thread(target=self._run, name="network", daemon=True)
        self._own.start()
        return 0

    def _run(self) -> None:
        self.ensure_connected()
        self._stop_it.wait(DEADLINE)

    def loop_stop(self, force: bool = False) -> int:
        self._stop_it.set()
        self._own.join(DEADLINE)
        return 0

    def elsewhere(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call something on another thread, and return when that has returned."""
        thread = threading.Thread(target=callback, args=args)
        thread.start()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of the error lines."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# ---- C15: one thread -------------------------------------------------------------------------------------------


class Threads(S):
    """Notes what runs on which thread, and whether two things ever run at once."""

    SERVICE_NAME = "threads"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.inside = threading.Lock()
        self.overlaps = 0
        super().__init__(*args, **kwargs)

    def note(self, what: str) -> None:
        if not self.inside.acquire(blocking=False):
            self.overlaps += 1
            return
        try:
            self.seen.append((what, threading.get_ident()))
        finally:
            self.inside.release()

    @miqro.handle("a")
    def on_a(self, payload: str) -> None:
        self.note("handler")

    @miqro.loop(milliseconds=1)
    def tick(self) -> None:
        self.note("loop")

    def handle_message(self, topic: str, payload: str) -> bool:
        self.note("handle_message")
        return True

    def _on_connect(self, *args: Any) -> None:
        super()._on_connect(*args)
        self.note("_on_connect")

    def _on_disconnect(self, *args: Any) -> None:
        super()._on_disconnect(*args)
        self.note("_on_disconnect")

    def _on_enable(self, payload: str) -> None:
        super()._on_enable(payload)
        self.note("_on_enable")


EVERYTHING = {"handler", "loop", "_on_connect", "_on_disconnect", "_on_enable"}


def test_all_of_a_service_runs_on_the_thread_that_called_run(
    make_broker: Callable[..., Broker], write_config: Config
) -> None:
    """C15: on the engine, over a lost connection and the end."""
    from harness import Observer

    broker = make_broker().start()
    service = Threads(write_config(broker.port, broker="reconnect_delay_min: 0.01\nreconnect_delay_max: 0.1"))
    with Running(service) as running:
        for times in (1, 2):
            running.connected().subscribed(times)
            with Observer(broker.port) as observer:
                for _ in range(10):
                    observer.publish("service/threads/a", "1")
                    observer.publish("service/threads/enabled", "1")
            broker.restart()
            running.wait(lambda: not service.is_connected or service.disconnect_count)
        running.connected()
    assert {what for what, _ in service.seen} == EVERYTHING
    assert {thread for _, thread in service.seen} == {running.thread.ident}
    assert service.overlaps == 0


def test_all_of_a_service_runs_on_that_thread_with_a_client_of_another_library(config: Path) -> None:
    """C15, C45: whose callbacks come from its own thread; also at the end."""
    service = make(Threads, config, ThreadedClient)
    client = service.mqtt_client
    with Running(service) as running:
        running.connected()
        for _ in range(20):
            client.elsewhere(deliver, service, "service/threads/a")
            client.elsewhere(deliver, service, "service/threads/enabled", "1")
            client.elsewhere(deliver, service, "service/threads")
        client.elsewhere(client.simulate_disconnect)
        running.wait(lambda: service.disconnect_count == 1)
        client.elsewhere(client.ensure_connected)
        running.connected()
        running.wait(lambda: [what for what, _ in service.seen].count("_on_enable") == 20)
        service.enabled = True
    whats = [what for what, _ in service.seen]
    assert set(whats) == EVERYTHING | {"handle_message"}
    assert whats.count("handler") == 20
    assert service.disconnect_count == 2
    assert {thread for _, thread in service.seen} == {running.thread.ident}
    assert service.overlaps == 0


def test_all_of_a_service_runs_on_that_thread_with_a_real_paho_client(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C15, C45: from the first connect to the goodbye."""
    paho = pytest.importorskip("paho.mqtt.client")

    service = Threads(write_config(broker.port), mqtt_client_cls=paho.Client)
    with Running(service) as running:
        running.connected()
        running.subscribed()
        for _ in range(20):
            observer.publish("service/threads/a", "1")
            observer.publish("service/threads/enabled", "1")
        running.wait(lambda: [what for what, _ in service.seen].count("_on_enable") == 20)
    observer.wait_for("service/threads/online", "0")
    assert {what for what, _ in service.seen} == EVERYTHING
    assert {thread for _, thread in service.seen} == {running.thread.ident}
    assert service.overlaps == 0


def test_on_message_only_queues(config: Path) -> None:
    """C15: also when a double calls it directly."""
    service = make(S, config)
    service.add_handler("a", service.seen.append)
    for payload in "123":
        receive(service, "service/s/a", payload, dispatch=False)
    assert service.seen == []
    service._drain_incoming()
    assert service.seen == ["1", "2", "3"]
    service._drain_incoming()
    assert service.seen == ["1", "2", "3"]


def test_run_and_a_step_by_hand_dispatch_what_is_queued(config: Path) -> None:
    """C15."""
    service = make(S, config)
    service.add_handler("a", service.seen.append)
    receive(service, "service/s/a", "1", dispatch=False)
    service._loop_step()
    assert service.seen == ["1"]
    receive(service, "service/s/a", "2", dispatch=False)
    with Running(service) as running:
        running.wait(lambda: service.seen == ["1", "2"])
        receive(service, "service/s/a", "3", dispatch=False)
        running.wait(lambda: service.seen == ["1", "2", "3"])


def test_what_a_double_says_is_handled_at_once_by_an_idle_service(config: Path) -> None:
    """C15, C54: it sleeps for minutes, and is woken."""
    service = make(S, config)
    service.add_handler("a", service.seen.append)
    with Running(service) as running:
        running.connected()
        for number in range(50):
            receive(service, "service/s/a", str(number), dispatch=False)
            running.wait(ends_with(service.seen, str(number)))


def test_a_handler_that_receives_a_message_itself_gets_it_afterwards(config: Path) -> None:
    """C15: as with a client whose `publish` loops back."""
    service = make(S, config)

    def on_a(payload: str) -> None:
        service.seen.append(f"in {payload}")
        if payload != "3":
            receive(service, "service/s/a", str(int(payload) + 1), dispatch=False)
        service.seen.append(f"out {payload}")

    service.add_handler("a", on_a)
    receive(service, "service/s/a", "1")
    service._drain_incoming()
    assert service.seen == ["in 1", "out 1", "in 2", "out 2", "in 3", "out 3"]


def test_messages_are_handled_in_the_order_in_which_they_came(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C15: across filters and handlers."""

    class Ordered(S):
        @miqro.handle("a/#")
        def on_a(self, payload: str, rest: str) -> None:
            self.seen.append(payload)

        @miqro.handle("b")
        def on_b(self, payload: str) -> None:
            self.seen.append(payload)

    service = Ordered(write_config(broker.port))
    topics = ["service/s/a/1", "service/s/b", "service/s/a", "service/s/b"]
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish_many([(topics[n % 4], str(n).encode()) for n in range(1000)])
        running.wait(lambda: len(service.seen) >= 1000)
    assert service.seen == [str(n) for n in range(1000)]


def test_ten_thousand_messages_come_while_a_handler_sleeps(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C15, C44: none is lost, their order is kept, and the connection stands."""
    gate, held = threading.Event(), threading.Event()

    class Sleeps(S):
        SERVICE_NAME = "sleeps"

        @miqro.handle("first")
        def on_first(self, payload: str) -> None:
            held.set()
            gate.wait(DEADLINE)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

    service = Sleeps(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish("service/sleeps/first", "1")
        assert held.wait(DEADLINE)
        observer.publish_many([("service/sleeps/a", str(n).encode()) for n in range(10_000)], qos=0)
        gate.set()
        running.wait(lambda: len(service.seen) >= 10_000, "all messages are handled")
        assert service.is_connected
    assert service.seen == [str(n) for n in range(10_000)]
    assert service.disconnect_count <= 1


def test_a_small_queue_makes_the_broker_wait_and_loses_nothing(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C15, C3: `MAX_INCOMING_QUEUE`."""
    gate, held = threading.Event(), threading.Event()

    class Small(S):
        SERVICE_NAME = "small"
        MAX_INCOMING_QUEUE = 20

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            if not self.seen:
                held.set()
                gate.wait(DEADLINE)
            self.seen.append(payload)

    service = Small(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish("service/small/a", "0")
        assert held.wait(DEADLINE)
        observer.publish_many([("service/small/a", str(n).encode()) for n in range(1, 1000)])
        gate.set()
        running.wait(lambda: len(service.seen) >= 1000, "all messages are handled")
    assert service.seen == [str(n) for n in range(1000)]


def test_a_full_queue_of_a_double_loses_the_message_with_an_error(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C15, C3: there is no broker that could wait. Each loss is counted; it is said once, and how many there were."""

    class Small(S):
        MAX_INCOMING_QUEUE = 3

    service = make(Small, config)
    service.add_handler("a", service.seen.append)
    for payload in "12345":
        receive(service, "service/s/a", payload, dispatch=False)
    (line,) = errors(caplog)
    assert "service/s/a" in line
    assert service.failure_count == 2
    service._drain_incoming()
    assert service.seen == ["1", "2", "3"]
    receive(service, "service/s/a", "6")
    assert service.seen[-1] == "6"
    told = "2 incoming messages were lost meanwhile: the queue was full"
    assert [record.levelname for record in caplog.records if record.getMessage() == told] == ["WARNING"]
    receive(service, "service/s/a", "7")
    assert [record.getMessage() for record in caplog.records].count(told) == 1


def test_a_full_queue_makes_the_thread_of_another_client_wait(config: Path) -> None:
    """C15, C45: so that its broker waits too; nothing is lost while the service works."""

    class Small(S):
        MAX_INCOMING_QUEUE = 2

    service = make(Small, config, ThreadedClient)
    service.add_handler("a", service.seen.append)
    with Running(service) as running:
        running.connected()
        for number in range(200):
            receive(service, "service/s/a", str(number), dispatch=False)
        running.wait(lambda: len(service.seen) >= 200)
    assert service.seen == [str(number) for number in range(200)]
    assert service.failure_count == 0


def test_two_services_run_in_two_threads(broker: Broker, observer: Observer, write_config: Config) -> None:
    """C15: each on its own, and they talk to each other."""

    class Ping(S):
        SERVICE_NAME = "ping"

        @miqro.handle_global("service/pong/out")
        def on_pong(self, payload: str) -> None:
            self.seen.append((payload, threading.get_ident()))
            if int(payload) < 100:
                self.publish("out", int(payload) + 1)

    class Pong(S):
        SERVICE_NAME = "pong"

        @miqro.handle_global("service/ping/out")
        def on_ping(self, payload: str) -> None:
            self.seen.append((payload, threading.get_ident()))
            self.publish("out", payload)

    path = write_config(broker.port)
    ping, pong = Ping(path), Pong(path)
    with Running(ping) as first, Running(pong) as second:
        first.connected()
        second.connected()
        first.subscribed()
        second.subscribed()
        observer.publish("service/pong/out", "0")
        first.wait(lambda: ("100", first.thread.ident) in ping.seen)
    assert [payload for payload, _ in ping.seen] == [str(n) for n in range(101)]
    assert [payload for payload, _ in pong.seen] == [str(n) for n in range(1, 101)]
    assert {thread for _, thread in ping.seen} == {first.thread.ident}
    assert {thread for _, thread in pong.seen} == {second.thread.ident}
    assert ping.failure_count == pong.failure_count == 0


# ---- C15: a queue that nobody drains -----------------------------------------------------------------------------


class Stalls(S):
    SERVICE_NAME = "stalls"
    INCOMING_STALL_WARN_SECONDS = 0.05

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.gate, self.held = threading.Event(), threading.Event()
        super().__init__(*args, **kwargs)

    @miqro.handle("hang")
    def on_hang(self, payload: str) -> None:
        self.held.set()
        self.gate.wait(DEADLINE)

    @miqro.handle("a")
    def on_a(self, payload: str) -> None:
        self.seen.append(payload)


def stall_warnings(texts: list[str]) -> list[str]:
    return [text for text in texts if "have waited" in text]


def test_a_queue_that_nobody_drains_makes_the_service_unhealthy_once_logged_and_counted(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C15: nobody runs the service."""
    service = make(Stalls, config)
    service.mqtt_client.ensure_connected()
    assert service.healthy()
    receive(service, "service/stalls/a", "1", dispatch=False)
    while service.healthy():
        pass
    for _ in range(3):
        assert not service.healthy()
    warnings = [record for record in caplog.records if stall_warnings([record.getMessage()])]
    assert [record.levelno for record in warnings] == [logging.WARNING]
    assert service.failure_count == 1
    assert service.last_failure is not None
    assert "have waited" in service.last_failure
    service._drain_incoming()
    assert service.healthy()
    assert service.seen == ["1"]
    receive(service, "service/stalls/a", "2", dispatch=False)
    while service.healthy():
        pass
    assert service.failure_count == 2


def test_messages_that_pile_up_report_the_stall_without_anybody_asking(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C15: the double's next message does."""
    service = make(Stalls, config)
    # A quick machine would fill the queue before the stall, and then report that.
    service.MAX_INCOMING_QUEUE = 10**9
    service.mqtt_client.ensure_connected()
    while not stall_warnings([service.last_failure or ""]):
        receive(service, "service/stalls/a", "1", dispatch=False)
    assert len(stall_warnings([record.getMessage() for record in caplog.records])) == 1


@pytest.mark.parametrize("kind", ["double", "broker"])
def test_a_handler_that_hangs_makes_the_service_unhealthy(
    request: pytest.FixtureRequest, write_config: Config, kind: str
) -> None:
    """C15: seen by whoever asks, from another thread; it is over when the handler comes back."""
    if kind == "broker":
        broker, observer = request.getfixturevalue("broker"), request.getfixturevalue("observer")
        service = Stalls(write_config(broker.port))
        send = observer.publish
    else:
        service = make(Stalls, write_config(1883), ThreadedClient)

        def send(topic: str, payload: str) -> None:
            deliver(service, topic, payload)

    with Records("stalls.main") as records, Running(service) as running:
        running.connected()
        if kind == "broker":
            running.subscribed()
        running.wait(service.healthy)
        send("service/stalls/hang", "x")
        assert service.held.wait(DEADLINE)
        send("service/stalls/a", "1")
        running.wait(lambda: not service.healthy(), "it is unhealthy")
        assert service.is_connected
        assert service.mqtt_thread_alive()
        service.gate.set()
        running.wait(lambda: service.seen == ["1"])
        running.wait(service.healthy, "it is healthy again")
        assert len(stall_warnings(records.texts())) == 1
        assert service.failure_count == 1


@pytest.mark.parametrize("kind", ["double", "broker"])
def test_a_handler_that_took_too_long_is_reported_when_it_comes_back(
    request: pytest.FixtureRequest, write_config: Config, kind: str
) -> None:
    """C15: although nobody asked, and although what waited is handled now."""
    if kind == "broker":
        broker, observer = request.getfixturevalue("broker"), request.getfixturevalue("observer")
        service = Stalls(write_config(broker.port))
        send = observer.publish
    else:
        service = make(Stalls, write_config(1883), ThreadedClient)

        def send(topic: str, payload: str) -> None:
            deliver(service, topic, payload)

    with Records("stalls.main") as records, Running(service) as running:
        running.connected()
        if kind == "broker":
            running.subscribed()
        send("service/stalls/hang", "x")
        assert service.held.wait(DEADLINE)
        send("service/stalls/a", "1")
        threading.Event().wait(4 * service.INCOMING_STALL_WARN_SECONDS)
        service.gate.set()
        running.wait(lambda: service.seen == ["1"])
        assert len(stall_warnings(records.texts())) == 1
        assert service.failure_count == 1


def test_a_service_that_is_idle_for_longer_is_healthy(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C15: nothing waits; and what comes then is handled, not complained about."""
    service = Stalls(write_config(broker.port))
    with Records("stalls.main") as records, Running(service) as running:
        running.connected()
        running.subscribed()
        for number in range(5):
            threading.Event().wait(2 * service.INCOMING_STALL_WARN_SECONDS)
            assert service.healthy()
            observer.publish("service/stalls/a", str(number))
            running.wait(ends_with(service.seen, str(number)))
        assert stall_warnings(records.texts()) == []
        assert service.failure_count == 0


def test_a_long_queue_that_is_worked_on_is_no_stall(config: Path) -> None:
    """C15: "nobody drains" is what counts, not how long the last of many waits."""

    class Slow(Stalls):
        INCOMING_STALL_WARN_SECONDS = 0.5

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            threading.Event().wait(0.02)
            self.seen.append(payload)

    service = make(Slow, config)
    for number in range(60):
        receive(service, "service/stalls/a", str(number), dispatch=False)
    service._drain_incoming()
    assert len(service.seen) == 60
    assert [text for text in [service.last_failure or ""] if "have waited" in text] == []


def test_a_service_that_is_not_connected_or_whose_thread_is_dead_is_not_healthy(config: Path) -> None:
    """C5: `healthy()` and `mqtt_thread_alive()`."""
    service = make(S, config)
    assert not service.healthy()
    service.mqtt_client.ensure_connected()
    assert service.healthy()
    service.mqtt_client.simulate_disconnect()
    assert not service.healthy()
    service.mqtt_client.ensure_connected()
    service.mqtt_client.simulate_thread_death()
    assert service.is_connected
    assert not service.mqtt_thread_alive()
    assert not service.healthy()


def test_a_running_service_is_healthy_and_a_stopped_one_is_not(broker: Broker, write_config: Config) -> None:
    """C5: on the engine."""
    service = S(write_config(broker.port))
    assert not service.mqtt_thread_alive()
    with Running(service) as running:
        running.connected()
        running.wait(service.healthy)
        assert service.mqtt_thread_alive()
    assert not service.mqtt_thread_alive()
    assert not service.healthy()
