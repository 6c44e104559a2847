"""Loops that fail, statistics of loops, and loops that come, go and change (contract C16, C52, C53)."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro import Loop
from services import Records, Running, loop_of, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


class Grid:
    """The moments at which a loop was due, as far as one can know: each between two readings of the clock."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.dues: list[tuple[float, float]] = []

    def note(self, loop: Loop) -> None:
        """Note when the loop is due next."""
        before = time.monotonic()
        remaining = loop.get_remaining()
        after = time.monotonic()
        assert remaining is not None
        # A timedelta counts microseconds.
        self.dues.append(
            (before + remaining.total_seconds() - 2e-6, after + remaining.total_seconds() + 2e-6)
        )

    def steps(self) -> list[int]:
        """Return how many intervals lie between each two dues; fails unless all are on one grid."""
        first = self.dues[0]
        numbers = [round((low - first[0]) / self.interval) for low, _ in self.dues]
        low = max(low - number * self.interval for (low, _), number in zip(self.dues, numbers, strict=True))
        high = min(
            high - number * self.interval for (_, high), number in zip(self.dues, numbers, strict=True)
        )
        assert low <= high, f"not on a grid of {self.interval} s: {self.dues}"
        return [after - before for before, after in itertools.pairwise(numbers)]


# ---- C16: a loop that fails -------------------------------------------------------------------------------------


def test_a_loop_that_fails_is_logged_counted_and_the_others_go_on(config: Path) -> None:
    """C16: in 1.x it ended the process."""

    class Fails(S):
        @miqro.loop(milliseconds=1)
        def broken(self) -> None:
            self.seen.append("broken")
            raise RuntimeError("the pump is dry")

        @miqro.loop(milliseconds=1)
        def tick(self) -> None:
            self.seen.append("tick")

    service = make(Fails, config)
    with Records("s.main") as records, Running(service) as running:
        running.wait(lambda: service.seen.count("tick") > 20)
        loop = loop_of(service, "broken")
        assert loop.is_running()
        assert service.failure_count == service.seen.count("broken") >= 1
    failed = [record for record in records.log.all() if record.levelno == logging.ERROR]
    assert len(failed) == service.failure_count
    assert failed[0].exc_info is not None
    assert failed[0].exc_info[2] is not None
    assert "Loop(broken)" in failed[0].getMessage()
    assert "the pump is dry" in failed[0].getMessage()
    assert loop.stat_error_count == service.failure_count
    assert loop.stat_get()[0] == service.failure_count


def test_a_failing_loop_waits_a_second_and_is_back_on_its_grid() -> None:
    """C16."""
    failing: list[bool] = []

    def fn() -> None:
        if failing:
            raise RuntimeError

    loop = Loop(fn, timedelta(milliseconds=30))
    grid = Grid(0.03)
    loop.run_if_needed(None)
    grid.note(loop)
    failing.append(True)
    while loop.is_running():
        try:
            loop.run_if_needed(None)
        except RuntimeError:
            ended = time.monotonic()
            break
    grid.note(loop)
    assert grid.dues[-1][1] >= ended + 0.999, "measured after it had failed"
    assert grid.steps() == [round((grid.dues[1][0] - grid.dues[0][0]) / 0.03)]
    assert grid.steps()[0] >= 33


def test_a_failing_loop_of_interval_zero_waits_a_second() -> None:
    """C16."""
    loop = Loop(lambda: 1 / 0, timedelta(0))
    with pytest.raises(ZeroDivisionError):
        loop.run_if_needed(None)
    remaining = loop.get_remaining()
    assert remaining is not None
    assert timedelta(0) < remaining <= timedelta(seconds=1)
    assert loop.run_if_needed(None) is None


def test_a_failing_loop_of_a_long_interval_waits_no_longer_than_that() -> None:
    """C16: "at least"."""
    loop = Loop(lambda: 1 / 0, timedelta(hours=1))
    with pytest.raises(ZeroDivisionError):
        loop.run_if_needed(None)
    remaining = loop.get_remaining()
    assert remaining is not None
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)


def test_a_loop_that_stops_itself_and_then_fails_stays_stopped() -> None:
    """C16, C53."""

    def fn() -> None:
        loop.stop()
        raise RuntimeError

    loop = Loop(fn, timedelta(0))
    with pytest.raises(RuntimeError):
        loop.run_if_needed(None)
    assert not loop.is_running()


# ---- C52 -------------------------------------------------------------------------------------------------------


def test_statistics_of_every_loop_are_logged_with_each_heartbeat(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C52: calls, mean duration, load and errors; from then on they count anew."""

    class Measured(S):
        @miqro.loop(seconds=1000)
        def steady(self) -> None: ...

        @miqro.loop(seconds=2000)
        def failing(self) -> None:
            raise RuntimeError

    service = make(Measured, config)
    steady = loop_of(service, "steady")
    for _ in range(3):
        steady.start()
        steady.run_if_needed(service)
    with pytest.raises(RuntimeError):
        loop_of(service, "failing").run_if_needed(service)
    caplog.set_level(logging.INFO)
    service._update_online_status(service)
    lines = {
        name: [record for record in caplog.records if f"Loop({name})" in record.getMessage()]
        for name in ("steady", "failing", "_update_online_status")
    }
    assert [len(found) for found in lines.values()] == [1, 1, 1]
    assert all(record.levelno == logging.INFO for found in lines.values() for record in found)
    assert "called 3 times" in lines["steady"][0].getMessage()
    assert "average duration 0.0" in lines["steady"][0].getMessage()
    assert "load=0%" in lines["steady"][0].getMessage()
    assert "errors=0" in lines["steady"][0].getMessage()
    assert "called 1 times" in lines["failing"][0].getMessage()
    assert "errors=1" in lines["failing"][0].getMessage()
    caplog.clear()
    service._update_online_status(service)
    again = [record.getMessage() for record in caplog.records if "Loop(steady)" in record.getMessage()]
    assert "called 0 times" in again[0]


def test_a_load_over_100_percent_is_a_warning(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C52: which names the loop."""

    class Heavy(S):
        @miqro.loop(milliseconds=1)
        def heavy(self) -> None:
            threading.Event().wait(0.005)

        @miqro.loop(seconds=1000)
        def light(self) -> None: ...

    service = make(Heavy, config)
    for name in ("heavy", "light"):
        loop_of(service, name).run_if_needed(service)
    caplog.clear()
    service._update_online_status(service)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "Loop(heavy)" in warnings[0]
    assert "longer" in warnings[0]


def test_statistics_are_logged_at_the_interval_of_the_heartbeat(config: Path) -> None:
    """C52: by the running service."""

    class Quick(S):
        MQTT_ONLINE_UPDATE_INTERVAL: float = 0.01

    logging.getLogger("s.main").setLevel(logging.INFO)
    try:
        with Records("s.main") as records, Running(make(Quick, config)) as running:
            running.wait(lambda: len([t for t in records.texts() if "Loop(_update_online_status)" in t]) >= 3)
    finally:
        logging.getLogger("s.main").setLevel(logging.NOTSET)


# ---- C53 -------------------------------------------------------------------------------------------------------


class Slots(S):
    """Does what it is told by a message; the loops have nothing to do by themselves."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle = self.add_loop(Loop(lambda: self.seen.append("idle"), AGES, start=False))
        self.slow = self.add_loop(Loop(lambda: self.seen.append("slow"), AGES))
        self.slow.start(delayed=True)
        self.add_handler("do", self.do)

    def do(self, what: str) -> None:
        getattr(self, "do_" + what)()

    def do_add(self) -> None:
        self.add_loop(Loop(lambda: self.seen.append("added"), AGES))

    def do_append(self) -> None:
        assert self.LOOPS is not None
        self.LOOPS.append(self.another())

    def do_insert(self) -> None:
        assert self.LOOPS is not None
        self.LOOPS.insert(0, self.another())

    def do_extend(self) -> None:
        assert self.LOOPS is not None
        self.LOOPS += [self.another()]

    def do_put(self) -> None:
        assert self.LOOPS is not None
        self.LOOPS[1:1] = [self.another()]

    def another(self) -> Loop:
        return Loop(lambda: self.seen.append("another"), AGES)

    def do_start(self) -> None:
        self.idle.start()

    def do_restart(self) -> None:
        self.slow.restart()

    def do_interval(self) -> None:
        self.slow.interval = timedelta(0)

    def do_next_call(self) -> None:
        self.idle.next_call = datetime.now()


CHANGES = [
    ("add", "added"),
    ("start", "idle"),
    ("restart", "slow"),
    ("interval", "slow"),
    ("next_call", "idle"),
    # Services have always added to `LOOPS` themselves.
    ("append", "another"),
    ("insert", "another"),
    ("extend", "another"),
    ("put", "another"),
]


@pytest.mark.parametrize(("what", "expected"), CHANGES)
def test_another_thread_changes_the_loops_of_a_service_that_sleeps(
    config: Path, what: str, expected: str
) -> None:
    """C53: the service wakes at once: it would sleep for a day."""
    service = make(Slots, config)
    with Running(service) as running:
        wake = running.wait(lambda: service.is_connected and service._miqro_dispatcher.idle)
        assert wake
        assert service.seen == []
        service.do(what)
        running.wait(lambda: expected in service.seen)


@pytest.mark.parametrize(("what", "expected"), CHANGES)
def test_a_handler_changes_the_loops(config: Path, what: str, expected: str) -> None:
    """C53."""
    service = make(Slots, config)
    with Running(service) as running:
        running.connected()
        receive(service, "service/s/do", what, dispatch=False)
        running.wait(lambda: expected in service.seen)


@pytest.mark.parametrize(("what", "expected"), CHANGES)
def test_a_loop_changes_the_loops(config: Path, what: str, expected: str) -> None:
    """C53."""
    service = make(Slots, config)

    def change() -> bool:
        service.do(what)
        return False

    service.add_loop(Loop(change, AGES))
    with Running(service) as running:
        running.wait(lambda: expected in service.seen)


def test_a_loop_is_stopped_from_another_thread(config: Path) -> None:
    """C53: it is called no more, and the service sleeps."""
    service = make(S, config)
    busy = service.add_loop(Loop(lambda: service.seen.append("busy"), timedelta(milliseconds=1)))
    with Running(service) as running:
        running.wait(lambda: len(service.seen) > 5)
        busy.stop()
        assert not busy.is_running()
        running.wait(lambda: service._miqro_dispatcher.idle)
        count = len(service.seen)
        running.wait(lambda: service._miqro_due_in() > 1000)
        assert len(service.seen) == count


def test_a_loop_that_is_taken_off_the_list_is_called_no_more(config: Path) -> None:
    """C53, C4: `LOOPS` is the service's list."""
    service = make(S, config)
    gone = service.add_loop(Loop(lambda: service.seen.append("gone"), timedelta(0)))
    service._loop_step()
    assert service.LOOPS is not None
    service.LOOPS.remove(gone)
    service.MAX_LOOP_INTERVAL = 0.0
    service._loop_step()
    assert service.seen == ["gone"]


def test_a_loop_changes_itself() -> None:
    """C53, C50: what it says while it is called counts; 1.x overwrote it."""
    calls: list[int] = []

    def fn() -> None:
        calls.append(1)
        if len(calls) == 1:
            loop.interval = timedelta(hours=1)
        elif len(calls) == 2:
            loop.start(delayed=True)
        elif len(calls) == 3:
            loop.next_call = datetime.now() + timedelta(hours=2)
        else:
            loop.stop()

    loop = Loop(fn, timedelta(hours=10))
    for hours in (1, 1, 2):
        loop.next_call = datetime.now()
        loop.run_if_needed(None)
        remaining = loop.get_remaining()
        assert remaining is not None
        assert timedelta(hours=hours, minutes=-1) < remaining <= timedelta(hours=hours)
    loop.next_call = datetime.now()
    assert loop.run_if_needed(None) is None
    assert not loop.is_running()


def test_loops_may_be_added_and_removed_while_loops_run(config: Path) -> None:
    """C53: the list may change under the service."""
    service = make(S, config)

    def spawn() -> bool:
        number = len(service.seen)
        service.seen.append(number)
        assert service.LOOPS is not None
        service.LOOPS.remove(current[0])
        if number < 50:
            current[0] = service.add_loop(Loop(spawn, AGES))
        return False

    current = [service.add_loop(Loop(spawn, AGES))]
    with Running(service) as running:
        running.wait(lambda: len(service.seen) == 51)
    assert service.failure_count == 0
    assert len(service.LOOPS or ()) == 1


def test_add_loop_returns_the_loop_and_works_before_the_constructor(config: Path) -> None:
    """C53, C5: 1.x allowed it."""

    class Early(S):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.early = self.add_loop(Loop(self.tick, AGES))
            super().__init__(*args, **kwargs)

        def tick(self) -> None:
            self.seen.append("tick")

    service = make(Early, config)
    service._loop_step()
    assert service.seen == ["tick"]
    assert service.LOOPS is not None
    assert service.early is service.LOOPS[0]


def test_a_helper_keeps_a_loop_of_its_own_and_starts_it_when_it_needs_it(config: Path) -> None:
    """C53: the usual shape of `Loop(..., start=False)`: a debounce."""

    class Debounce:
        def __init__(self, service: S) -> None:
            self.service = service
            self.loop = service.add_loop(Loop(self.fire, timedelta(milliseconds=5), start=False))

        def trigger(self) -> None:
            self.loop.restart(delayed=True)

        def fire(self, service: miqro.Service) -> bool:
            assert service is self.service
            self.service.seen.append("fired")
            return False

    class Debounced(S):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.debounce = Debounce(self)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)
            self.debounce.trigger()

    service = make(Debounced, config)

    def fired(times: int) -> bool:
        return service.seen.count("fired") == times

    with Running(service) as running:
        running.connected()
        for round_ in range(3):
            for _ in range(3):
                receive(service, "service/s/a", "x", dispatch=False)
            running.wait(functools.partial(fired, round_ + 1))
            assert not service.debounce.loop.is_running()
    assert service.seen.count("x") == 9


def test_two_services_of_one_class_have_loops_of_their_own(config: Path) -> None:
    """C53, C4: also where the class spells out `LOOPS`."""

    class Shared(S):
        LOOPS = [Loop(lambda service: service.seen.append("shared"), AGES)]  # noqa: RUF012 - as services write it

        @miqro.loop(seconds=100_000)
        def tick(self) -> None:
            self.seen.append("tick")

    first, second = make(Shared, config), make(Shared, config)
    assert first.LOOPS is not second.LOOPS
    assert loop_of(first, "tick") is not loop_of(second, "tick")
    first._loop_step()
    assert sorted(first.seen) == ["shared", "tick"]
    loop_of(first, "tick").stop()
    assert loop_of(second, "tick").is_running()
    assert Shared.LOOPS is not None
    assert len(Shared.LOOPS) == 1
