"""What becomes of a message whose handlers fail, or that has none, or none for now (contract C16 to C18)."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro.test.tools import DummyMessage, DummyMQTTClient
from services import DEADLINE, Records, Running, deliver, make, receive

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


# ---- C16 -------------------------------------------------------------------------------------------------------


class Fails(S):
    SERVICE_NAME = "fails"
    error: BaseException | None = None

    @miqro.handle("a")
    def first(self, payload: str) -> None:
        self.seen.append("first")

    @miqro.handle("a")
    def middle(self, payload: str) -> None:
        self.seen.append("middle")
        raise self.error or RuntimeError("the pump is dry")

    @miqro.handle("a")
    def last(self, payload: str) -> None:
        self.seen.append("last")


class Odd(Exception):
    def __str__(self) -> str:
        return "100% odd: %s %d {}"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the pump is dry"),
        KeyError("x"),
        Odd(),
        StopIteration(),
        RecursionError(),
        OSError(5, "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_in_a_handler_is_logged_with_its_traceback_and_the_others_go_on(
    config: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """C16: in 1.x it ended the network thread."""
    service = make(Fails, config)
    service.error = error
    receive(service, "service/fails/a", "x")
    assert service.seen == ["first", "middle", "last"]
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failed) == 1
    assert failed[0].exc_info is not None
    assert failed[0].exc_info[1] is error
    assert failed[0].exc_info[2] is not None
    text = failed[0].getMessage()
    assert "service/fails/a" in text
    assert "middle" in text
    assert str(error) in text
    assert service.failure_count == 1
    assert service.last_failure is not None
    assert type(error).__name__ in service.last_failure
    receive(service, "service/fails/a", "x")
    assert service.seen == ["first", "middle", "last"] * 2
    assert service.failure_count == 2


def test_an_exception_in_a_handler_leaves_the_connection_and_the_loops_alone(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C16: on the engine."""

    class Ticks(Fails):
        @miqro.loop(milliseconds=5)
        def tick(self) -> None:
            self.seen.append("tick")

    service = Ticks(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        for _ in range(10):
            observer.publish("service/fails/a", "x")
        running.wait(lambda: service.seen.count("last") == 10)
        ticks = service.seen.count("tick")
        running.wait(lambda: service.seen.count("tick") > ticks + 5)
        assert service.is_connected
        assert service.failure_count == 10
    assert [what for what in service.seen if what != "tick"] == ["first", "middle", "last"] * 10


def test_an_exception_in_handle_message_is_logged_and_counted(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C16, C17: once, with the topic."""

    class Unhandled(S):
        def handle_message(self, topic: str, payload: str) -> bool:
            raise RuntimeError("what is this")

    service = make(Unhandled, config)
    receive(service, "service/s/x", "1")
    lines = errors(caplog)
    assert len(lines) == service.failure_count == 1
    assert "service/s/x" in lines[0]
    assert "what is this" in lines[0]


@pytest.mark.parametrize("where", ["_on_connect", "_on_disconnect", "_publish_ha_discovery"])
def test_an_exception_in_a_callback_leaves_the_service_running(
    config: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """C16: a bug in an override is a line in the log."""

    def broken(self: Any, *args: Any) -> None:
        raise RuntimeError("a bug")

    cls = type("Broken", (S,), {where: broken})
    service = make(cls, config, ThreadedClient)
    service.add_handler("a", service.seen.append)
    with Records("s.main") as records, Running(service) as running:
        if where == "_on_disconnect":
            running.connected()
            service.mqtt_client.elsewhere(service.mqtt_client.simulate_disconnect)
        running.wait(lambda: service.failure_count)
        assert [text for text in records.texts(logging.ERROR) if "a bug" in text]
        deliver(service, "service/s/a", "1")
        running.wait(lambda: service.seen == ["1"])


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"]
)
@pytest.mark.parametrize("where", ["handler", "loop", "handle_message"])
def test_an_exit_or_ctrl_c_in_a_handler_or_loop_ends_run(
    config: Path, error: BaseException, where: str
) -> None:
    """C16: they are no failures."""

    def leave(*args: Any) -> None:
        raise error

    service = make(S, config)
    if where == "handler":
        service.add_handler("a", leave)
    elif where == "loop":
        service.add_loop(miqro.Loop(leave, timedelta(seconds=1000)))
    else:
        service.handle_message = leave  # type: ignore[assignment]
    receive(service, "service/s/a", "x", dispatch=False)
    running = Running(service)
    running.thread.start()
    with pytest.raises(type(error)) as caught:
        running.join()
    if isinstance(error, SystemExit):
        assert isinstance(caught.value, SystemExit)
        assert caught.value.code == 3
    assert service.failure_count == 0
    assert service.mqtt_client.message_queue[-1] == ("service/s/online", "0")


def test_note_failure_counts_and_keeps_the_last_text(config: Path) -> None:
    """C5, C16: for what a service notices itself."""
    service = make(S, config)
    service.note_failure("one")
    service.note_failure("two")
    assert (service.failure_count, service.last_failure) == (2, "two")


# ---- C17 -------------------------------------------------------------------------------------------------------


def test_a_message_that_no_handler_takes_goes_to_handle_message(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C17: and, as it says that it did, nothing is logged."""

    class Takes(S):
        def handle_message(self, topic: str, payload: str) -> bool:
            self.seen.append((topic, payload))
            return True

        @miqro.handle("known")
        def on_known(self, payload: str) -> None:
            self.seen.append("known")

    service = make(Takes, config)
    receive(service, "service/s/unknown", " x ")
    receive(service, "elsewhere", "y")
    receive(service, "service/s/known", "z")
    assert service.seen == [("service/s/unknown", "x"), ("elsewhere", "y"), "known"]
    assert errors(caplog) == []
    assert service.failure_count == 0


@pytest.mark.parametrize("answer", [False, None, 0, ""])
def test_a_message_that_nobody_takes_is_one_error_line(
    config: Path, caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    """C17: with the topic, and what there would be."""

    class Declines(S):
        def handle_message(self, topic: str, payload: str) -> object:
            self.seen.append(topic)
            return answer

    service = make(Declines, config)
    service.add_handler("known", service.seen.append)
    receive(service, "service/s/unknown", "x")
    assert service.seen == ["service/s/unknown"]
    lines = errors(caplog)
    assert len(lines) == 1
    assert "service/s/unknown" in lines[0]
    assert "service/s/known" in lines[0]


def test_without_an_override_an_unhandled_message_is_one_error_line(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C17."""
    service = make(S, config)
    receive(service, "service/s/unknown", "x")
    assert len(errors(caplog)) == 1


def test_a_handler_that_fails_has_handled_the_message(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C17: no second error line, no `handle_message`."""

    class Takes(S):
        def handle_message(self, topic: str, payload: str) -> bool:
            self.seen.append("handle_message")
            return True

    service = make(Takes, config)
    service.add_handler("a", lambda payload: 1 / 0)
    receive(service, "service/s/a", "x")
    assert service.seen == []
    assert len(errors(caplog)) == 1


def test_messages_of_subscriptions_made_by_hand_reach_handle_message(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C17: the way of 1.x services that subscribe in `_on_connect`."""

    class ByHand(S):
        SERVICE_NAME = "by_hand"

        def _on_connect(self, client: Any, userdata: Any, flags: Any, rc: int) -> None:
            super()._on_connect(client, userdata, flags, rc)
            client.subscribe("weather/#")

        def handle_message(self, topic: str, payload: str) -> bool:
            self.seen.append((topic, payload))
            return True

    service = ByHand(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed(2)
        observer.publish("weather/rain", "much")
        running.wait(lambda: service.seen)
    assert service.seen == [("weather/rain", "much")]


# ---- C18 -------------------------------------------------------------------------------------------------------


class Switched(S):
    SERVICE_NAME = "switched"

    @miqro.handle("a")
    def on_a(self, payload: str) -> None:
        self.seen.append(payload)

    @miqro.handle_global("g/#")
    def on_g(self, payload: str, rest: str) -> None:
        self.seen.append(payload)

    @miqro.loop(milliseconds=1)
    def tick(self) -> None:
        self.seen.append("tick")

    def handle_message(self, topic: str, payload: str) -> bool:
        self.seen.append(payload)
        return True


def test_enabled_zero_stops_the_dispatch_and_one_resumes_it(config: Path) -> None:
    """C18: in 1.x it ended the network thread."""
    service = make(Switched, config)
    topics = ["service/switched/a", "g/x", "unknown"]
    for topic in topics:
        receive(service, topic, "on")
    assert service.enabled is True
    receive(service, "service/switched/enabled", "0")
    assert service.enabled is False
    for topic in topics:
        receive(service, topic, "off")
    receive(service, "service/switched/enabled", "0")
    assert service.enabled is False
    receive(service, "service/switched/enabled", " 1\n")
    assert service.enabled is True
    for topic in topics:
        receive(service, topic, "again")
    assert service.seen == ["on"] * 3 + ["again"] * 3


def test_a_disabled_service_goes_on_with_its_loops_and_publishes(config: Path) -> None:
    """C18: the dispatch stops, nothing else."""
    service = make(Switched, config)
    receive(service, "service/switched/enabled", "0")
    service._loop_step()
    service.publish("x", "y")
    assert service.seen == ["tick"]
    assert service.mqtt_client.message_queue[-1] == ("service/switched/x", "y")


@pytest.mark.parametrize("payload", ["", "2", "on", "off", "true", "00", "1.0", b"\xff", "-1"])
@pytest.mark.parametrize("enabled", [True, False])
def test_any_other_payload_is_ignored_with_a_warning(
    config: Path, caplog: pytest.LogCaptureFixture, payload: str | bytes, enabled: bool
) -> None:
    """C18."""
    service = make(Switched, config)
    receive(service, "service/switched/enabled", "1" if enabled else "0")
    caplog.clear()
    receive(service, "service/switched/enabled", payload)
    assert service.enabled is enabled
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "service/switched/enabled" in warnings[0]
    assert errors(caplog) == []


def test_a_service_is_disabled_and_enabled_over_a_broker(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C18: the messages between the two are gone, those before and after are not."""
    service = Switched(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        for topic, payload in [
            ("a", "1"),
            ("enabled", "0"),
            ("a", "2"),
            ("enabled", "nonsense"),
            ("a", "3"),
            ("enabled", "1"),
            ("a", "4"),
        ]:
            observer.publish(f"service/switched/{topic}", payload)
        running.wait(lambda: "4" in service.seen)
    assert [what for what in service.seen if what != "tick"] == ["1", "4"]


def test_the_services_own_handler_for_enabled_is_called_too(config: Path) -> None:
    """C18, C13: "everything but itself"."""
    service = make(S, config)
    service.add_handler("enabled", service.seen.append)
    receive(service, "service/s/enabled", "0")
    receive(service, "service/s/enabled", "1")
    assert service.seen == ["0", "1"]
    assert service.enabled is True


def test_a_disabled_service_still_dispatches_under_a_prefix_of_its_own(write_config: Config) -> None:
    """C18, C11: `<prefix>enabled`."""
    service = make(Switched, write_config(1883, "services:\n  switched:\n    data_topic: house/"))
    receive(service, "house/enabled", "0")
    assert service.enabled is False
    receive(service, "service/switched/enabled", "1")
    assert service.enabled is False
    receive(service, "house/enabled", "1")
    assert service.enabled is True


def test_a_double_may_hand_over_its_own_kind_of_message(config: Path) -> None:
    """C15, C45: it needs a topic and a payload."""

    class Minimal:
        topic = "service/s/a"
        payload = b" x "

    service = make(S, config)
    service.add_handler("a", service.seen.append)
    service.mqtt_client.on_message(service.mqtt_client, None, Minimal())
    service.mqtt_client.on_message(service.mqtt_client, None, DummyMessage("service/s/a", 5))
    service._drain_incoming()
    assert service.seen == ["x", "5"]
