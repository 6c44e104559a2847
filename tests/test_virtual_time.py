"""Virtual time in `miqro.test.tools`: hours that take no time (contract C60)."""

from __future__ import annotations

import os
import select
import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro.test.tools import eventually, expect_next, run, send, virtual_time
from services import make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from miqro.test.tools import VirtualTime

HOUR = 3600.0


class Meter(miqro.Service):
    SERVICE_NAME = "meter"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls = 0

    @miqro.loop(seconds=10)
    def read(self) -> None:
        self.calls += 1
        self.publish("value", 20, only_if_changed=timedelta(minutes=5))


@pytest.fixture
def clock() -> Iterator[VirtualTime]:
    """Virtual time for the length of the test; the time that it takes really is checked."""
    begin = time.monotonic()
    with virtual_time() as clock:
        yield clock
    assert time.monotonic() - begin < 30, "virtual time has taken real time"


def test_an_hour_takes_no_time(config: Path, clock: VirtualTime) -> None:
    """C60, C51: a loop of ten seconds is called 360 times; one call more is due at the end, and not yet made."""
    service = make(Meter, config)
    begin, virtual = time.monotonic(), clock.now()
    run(service, HOUR)
    assert service.calls == 360
    assert clock.now() - virtual == pytest.approx(HOUR)
    assert time.monotonic() - begin < 5
    run(service, 1)
    assert service.calls == 361


def test_a_service_that_was_made_before_begins_with_the_first_run(config: Path) -> None:
    """C60, C51: the first calls are due when it begins to run, as they are in `run()`."""
    service = make(Meter, config)
    with virtual_time():
        run(service, HOUR)
        assert service.calls == 360


def test_messages_that_are_due_again_after_a_time_follow_it(config: Path, clock: VirtualTime) -> None:
    """C60, C35: `only_if_changed` with a timedelta."""
    service = make(Meter, config)
    begin = clock.now()
    expect_next(service, {"service/meter/value": "m == '20'"})
    expect_next(service, {"service/meter/value": "m == '20'"}, timeout=HOUR)
    assert clock.now() - begin == pytest.approx(300)
    expect_next(service, {"service/meter/value": None}, timeout=299)
    expect_next(service, {"service/meter/value": ["m == '20'", 10]}, timeout=HOUR)
    assert clock.now() - begin == pytest.approx(300 * 11)


def test_the_timeout_of_expect_next_takes_no_time(config: Path, clock: VirtualTime) -> None:
    """C60: what does not come does not hold the test up, and the report shows virtual times."""
    service = make(Meter, config)
    begin = clock.now()
    with pytest.raises(AssertionError, match="not met within 900 s") as caught:
        expect_next(service, {"service/meter/other": eventually("True")}, timeout=900)
    assert clock.now() - begin == pytest.approx(900)
    assert "300.000 s  service/meter/value  '20'" in str(caught.value)


def test_what_a_loop_says_of_its_next_call_follows_it(config: Path, clock: VirtualTime) -> None:
    """C60, C50: `get_remaining`, `next_call`, both exact, since the time stands still."""
    service = make(Meter, config)
    run(service, 4)
    loop = next(loop for loop in service.LOOPS or () if loop.interval == timedelta(seconds=10))
    assert loop.get_remaining() == timedelta(seconds=6)
    due = loop.next_call
    assert due is not None
    assert due == loop.next_call
    assert timedelta(seconds=0) < due - datetime.now() <= timedelta(seconds=10)
    run(service, HOUR)
    assert loop.next_call == due + timedelta(hours=1)
    loop.next_call = due + timedelta(hours=1, seconds=-3)
    assert loop.get_remaining() == timedelta(seconds=3)
    loop.interval = timedelta(seconds=1)
    assert run(service, 30) is None
    assert service.calls == 1 + 360 + 27


def test_a_loop_that_a_handler_starts_is_called_in_time(config: Path, clock: VirtualTime) -> None:
    """C60, C53: to the microsecond; a test can say exactly what comes when."""

    class Timer(miqro.Service):
        SERVICE_NAME = "timer"

        @miqro.handle("on")
        def on(self, payload: str) -> None:
            self.add_loop(miqro.Loop(self.off, timedelta(seconds=float(payload)), start=False)).start(
                delayed=True
            )

        def off(self) -> bool:
            self.publish("light", False)
            return False

    service = make(Timer, config)
    send(service, "service/timer/on", "90")
    run(service, 89.999)
    expect_next(service, {"service/timer/light": "m == '0'"}, timeout=0.002)
    expect_next(service, {"service/timer/light": None}, timeout=HOUR)


def test_loops_without_an_interval_are_called_and_time_passes(config: Path, clock: VirtualTime) -> None:
    """C60, C51: interval 0 beside a loop that has one; each is called, and the hour ends."""

    class Busy(Meter):
        polls = 0

        @miqro.loop(seconds=0)
        def poll(self) -> None:
            self.polls += 1

    service = make(Busy, config)
    run(service, HOUR)
    assert service.calls == 360
    assert service.polls > HOUR / service.MAX_LOOP_INTERVAL


def test_services_that_wait_by_themselves_live_in_virtual_time_too(config: Path, clock: VirtualTime) -> None:
    """C60, C55: overrides of `_wait_for_work` and of `_loop_step` take the real time that their device takes."""
    device, _far_end = os.pipe()

    class Waits(Meter):
        def _wait_for_work(self, timeout: float | None) -> None:
            select.select([device], [], [], 0.0001)

    class Steps(Meter):
        def _loop_step(self) -> None:
            for loop in self.LOOPS or ():
                loop.run_if_needed(self)

    class Both(Meter):
        def _loop_step(self) -> None:
            select.select([device], [], [], 0.0001)
            super()._loop_step()

    for cls in (Waits, Steps, Both):
        service = make(cls, config)
        run(service, 600)
        assert service.calls == 60, cls


def test_a_service_that_stops_stops_the_time(config: Path, clock: VirtualTime) -> None:
    """C60: `run` ends early."""

    class Stops(Meter):
        def read_once(self) -> None:
            self.stop = self.calls == 3

    service = make(Stops, config)
    service.add_loop(miqro.Loop(service.read_once, timedelta(seconds=10)))
    begin = clock.now()
    run(service, HOUR)
    assert clock.now() - begin == pytest.approx(20)


def test_time_may_pass_without_the_service(config: Path, clock: VirtualTime) -> None:
    """C60, C51: a machine that slept; what is late is called once, and stays on its grid."""
    service = make(Meter, config)
    run(service, 1)
    clock.advance(100)
    run(service, 0)
    assert service.calls == 2
    run(service, 10)
    assert service.calls == 3
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)


def test_time_goes_on_from_where_it_was_left(config: Path) -> None:
    """C60: it never goes back, and it is nobody's afterwards."""
    service = make(Meter, config)
    with virtual_time() as clock:
        run(service, 65)
        left = clock.now()
        with pytest.raises(RuntimeError, match="virtual already"), virtual_time():
            pass
    assert left <= clock.now() < left + HOUR
    loop = next(loop for loop in service.LOOPS or () if loop.interval == timedelta(seconds=10))
    remaining = loop.get_remaining()
    assert remaining is not None
    assert remaining <= timedelta(seconds=5)
    with virtual_time() as again:
        assert again.now() >= left


def test_another_thread_does_not_move_it(config: Path, clock: VirtualTime) -> None:
    """C60: a service that runs in a thread waits in real time, and its loops by the clock that stands still."""
    service = make(Meter, config)
    begin = clock.now()
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not (service.calls and service._miqro_dispatcher.idle) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        service.stop = True
        thread.join(20)
    assert clock.now() == begin
    assert service.calls == 1
