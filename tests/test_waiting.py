"""How a service sleeps, is woken and stopped (contract C54, C55)."""

from __future__ import annotations

import functools
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import wait_until
from miqro import Loop
from services import DEADLINE, Running, ends_with, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer

    Config = Callable[..., Path]

AGES = timedelta(seconds=100_000)


class S(miqro.Service):
    """Notes what was called, and sleeps for ages if nobody wakes it."""

    SERVICE_NAME = "s"
    MAX_LOOP_INTERVAL = 100_000.0
    MQTT_ONLINE_UPDATE_INTERVAL: float = 100_000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


@pytest.fixture
def service(config: Path) -> S:
    """A service on a double."""
    return make(S, config)


class WatchedWake:
    """The service's wake, writing down how long it was to sleep each time."""

    def __init__(self, service: miqro.Service) -> None:
        self._wake = service._miqro_wake
        self.timeouts: list[float | None] = []
        service._miqro_wake = self

    def sleep(self, timeout: float | None) -> None:
        self.timeouts.append(timeout)
        self._wake.sleep(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wake, name)


# ---- C54 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["double", "broker", "no broker"])
def test_stop_from_another_thread_ends_run_at_once(
    request: pytest.FixtureRequest, write_config: Config, kind: str
) -> None:
    """C54: nothing else would wake it for a day."""
    if kind == "double":
        service = make(S, write_config(1883))
    elif kind == "broker":
        service = S(write_config(request.getfixturevalue("broker").port))
    else:
        service = S(write_config(1, broker="reconnect_delay_min: 1000\nreconnect_delay_max: 1000"))
    running = Running(service)
    running.thread.start()
    running.wait(lambda: service._miqro_dispatcher.idle)
    if kind != "no broker":
        running.connected()
    service.stop = True
    running.join()
    assert service.stop is True


@pytest.mark.parametrize("where", ["handler", "loop", "_on_connect"])
def test_stop_from_within_ends_run_after_what_runs(config: Path, where: str) -> None:
    """C54: what is due or queued behind it is not called any more."""

    class Stops(S):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)
            self.stop = True

        def _on_connect(self, *args: Any) -> None:
            super()._on_connect(*args)
            if where == "_on_connect":
                self.seen.append("connected")
                self.stop = True

    service = make(Stops, config)
    if where == "loop":

        def halt() -> None:
            service.seen.append("halt")
            service.stop = True

        service.add_loop(Loop(halt, timedelta(0)))
        service.add_loop(Loop(lambda: service.seen.append("never"), timedelta(0)))
    else:
        receive(service, "service/s/a", "1", dispatch=False)
        receive(service, "service/s/a", "2", dispatch=False)
    running = Running(service)
    running.thread.start()
    running.join()
    assert service.seen == [{"handler": "1", "loop": "halt", "_on_connect": "connected"}[where]]


def test_stop_before_run_means_that_it_does_not_begin(config: Path) -> None:
    """C54: as in 1.x; it says goodbye nevertheless."""
    service = make(S, config)
    service.add_loop(Loop(lambda: service.seen.append("never"), timedelta(0)))
    service.stop = True
    service.run()
    assert service.seen == []


def test_a_service_runs_again_after_it_was_stopped(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C54: `stop = False`, `run()`."""
    service = S(write_config(broker.port))
    service.add_handler("a", service.seen.append)
    for number in range(3):
        service.stop = False
        with Running(service) as running:
            running.connected()
            running.subscribed()
            observer.publish("service/s/a", str(number))
            running.wait(ends_with(service.seen, str(number)))
        assert not service.is_connected
    wait_until(lambda: observer.payloads("service/s/online")[-1] == "0", DEADLINE, "it says goodbye")


def test_a_class_that_spells_out_stop_is_stopped_too(config: Path) -> None:
    """C54: it has hidden the property, so that it is looked for at `MAX_LOOP_INTERVAL`."""

    class Spelled(S):
        stop = False
        MAX_LOOP_INTERVAL = 0.01

    service = make(Spelled, config)
    running = Running(service)
    running.thread.start()
    running.wait(lambda: service.is_connected)
    service.stop = True
    running.join()


def test_an_idle_service_sleeps_until_the_next_loop_is_due(config: Path) -> None:
    """C54: nothing polls; a message wakes it once."""
    service = make(S, config)
    service.add_handler("a", service.seen.append)
    wake = WatchedWake(service)

    def slept(times: int) -> bool:
        return len(wake.timeouts) > times

    with Running(service) as running:
        running.wait(lambda: service.is_connected and service._miqro_dispatcher.idle)
        for number in range(5):
            before = len(wake.timeouts)
            receive(service, "service/s/a", str(number), dispatch=False)
            running.wait(ends_with(service.seen, str(number)))
            running.wait(functools.partial(slept, before))
        running.wait(lambda: service._miqro_dispatcher.idle)
        # One for each message, one more where the notification came while it was being handled.
        assert len(wake.timeouts) <= 5 * 2 + 5
        assert all(timeout is not None and timeout > 99_000 for timeout in wake.timeouts)


def test_a_service_without_loops_sleeps_until_it_is_woken(config: Path) -> None:
    """C54: for ever."""

    class Loopless(S):
        def _create_loops(self) -> None:
            pass

    service = make(Loopless, config)
    service.add_handler("a", service.seen.append)
    wake = WatchedWake(service)
    with Running(service) as running:
        running.connected()
        receive(service, "service/s/a", "x", dispatch=False)
        running.wait(lambda: service.seen)
    assert set(wake.timeouts) == {None}


# ---- C55 -------------------------------------------------------------------------------------------------------


def test_a_step_by_hand_sleeps_no_longer_than_max_loop_interval(config: Path) -> None:
    """C55: or until the next loop is due."""
    service = make(S, config)
    wake = WatchedWake(service)
    service.MAX_LOOP_INTERVAL = 0.02
    service._loop_step()
    assert wake.timeouts == [0.02]
    service.add_loop(Loop(lambda: None, timedelta(milliseconds=10))).start(delayed=True)
    service._loop_step()
    last = wake.timeouts[-1]
    assert last is not None
    assert last <= 0.01


def test_a_step_by_hand_comes_back_when_there_is_something_to_do(config: Path) -> None:
    """C55: a message, a change, the stop."""
    service = make(S, config)
    service.add_handler("a", service.seen.append)
    for wake_it in (
        lambda: receive(service, "service/s/a", "x", dispatch=False),
        lambda: service.add_loop(Loop(lambda: None, AGES)),
        lambda: setattr(service, "stop", True),
    ):
        timer = threading.Timer(0.01, wake_it)
        timer.start()
        service._loop_step()
        timer.join()


def test_steps_by_hand_do_all_that_run_does(broker: Broker, observer: Observer, write_config: Config) -> None:
    """C55: on the engine."""

    class Stepped(S):
        SERVICE_NAME = "stepped"
        MAX_LOOP_INTERVAL = 0.05

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        @miqro.loop(milliseconds=5)
        def tick(self) -> None:
            self.seen.append("tick")

    service = Stepped(write_config(broker.port))
    granted: list[object] = []
    service.mqtt_client.on_subscribe = lambda *args: granted.append(args)
    service.mqtt_client.loop_start()
    deadline = time.monotonic() + DEADLINE
    while not granted and time.monotonic() < deadline:
        service._loop_step()
    assert service.is_connected
    observer.publish("service/stepped/a", "1")
    while "1" not in service.seen and time.monotonic() < deadline:
        service._loop_step()
    service.mqtt_client.loop_stop()
    assert "1" in service.seen
    assert "tick" in service.seen
