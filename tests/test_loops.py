"""Loops, and how a service spends its time (contract C50 to C55).

Where a test looks at times, it looks at the grid and at counts: a slow machine makes it slow, not red.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import wait_until
from miqro import Loop
from services import DEADLINE, Records, Running, ends_with, loop_of, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer

    Config = Callable[..., Path]

AGES = timedelta(seconds=100_000)


@pytest.fixture
def config(write_config: Config) -> Path:
    """A configuration for services that run on a double."""
    return write_config(1883)


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


class WatchedWake:
    """The service's wake, writing down how long it was to sleep each time."""

    def __init__(self, service: miqro.Service) -> None:
        self._wake = service._Service__wake  # type: ignore[attr-defined]
        self.timeouts: list[float | None] = []
        service._Service__wake = self  # type: ignore[attr-defined]

    def wait(self, timeout: float | None = None) -> bool:
        self.timeouts.append(timeout)
        woken: bool = self._wake.wait(timeout)
        return woken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wake, name)


# ---- C50: the loop ---------------------------------------------------------------------------------------------


def test_a_loop_has_what_it_was_made_of() -> None:
    """C50: by position and by name."""

    def fn(service: object) -> None: ...

    for loop in (Loop(fn, timedelta(seconds=5)), Loop(fn=fn, interval=timedelta(seconds=5), start=True)):
        assert loop.fn is fn
        assert loop.interval == timedelta(seconds=5)
        assert loop.is_running()
        assert str(loop) == "Loop(fn)"


def test_a_new_loop_is_due_at_once_or_not_started() -> None:
    """C50: `start`."""
    started = Loop(lambda: None, AGES)
    remaining = started.get_remaining()
    assert remaining is not None
    assert remaining <= timedelta(0)
    stopped = Loop(lambda: None, AGES, False)
    assert not stopped.is_running()
    assert stopped.get_remaining() is None
    assert stopped.next_call is None
    assert stopped.run_if_needed(None) is None


@pytest.mark.parametrize("method", ["start", "restart"])
@pytest.mark.parametrize("running", [True, False])
def test_start_and_restart_make_it_due_at_once_or_after_one_interval(method: str, running: bool) -> None:
    """C50: `delayed`."""
    loop = Loop(lambda: None, AGES, start=running)
    if running:
        assert loop.run_if_needed(None) is not None
    getattr(loop, method)(delayed=True)
    assert loop.is_running()
    remaining = loop.get_remaining()
    assert remaining is not None
    assert AGES - timedelta(seconds=DEADLINE) < remaining <= AGES
    assert loop.run_if_needed(None) is None
    getattr(loop, method)()
    remaining = loop.get_remaining()
    assert remaining is not None
    assert remaining <= timedelta(0)
    assert loop.run_if_needed(None) is not None
    getattr(loop, method)(True)
    assert loop.run_if_needed(None) is None


def test_a_stopped_loop_is_not_called_until_it_is_started() -> None:
    """C50."""
    calls: list[int] = []
    loop = Loop(lambda: calls.append(1), timedelta(0))
    loop.run_if_needed(None)
    loop.stop()
    assert not loop.is_running()
    assert loop.run_if_needed(None) is None
    assert loop.get_remaining() is None
    assert loop.next_call is None
    loop.stop()
    loop.start()
    loop.run_if_needed(None)
    assert len(calls) == 2


def test_run_if_needed_returns_the_next_call_if_it_ran() -> None:
    """C50: as in 1.x."""
    calls: list[object] = []
    loop = Loop(calls.append, AGES)
    before = datetime.now()
    when = loop.run_if_needed("the service")
    after = datetime.now()
    assert calls == ["the service"]
    assert isinstance(when, datetime)
    assert before + AGES - timedelta(seconds=1) <= when <= after + AGES + timedelta(seconds=1)
    assert loop.run_if_needed("the service") is None
    assert calls == ["the service"]


def test_next_call_is_an_estimate_by_the_wall_clock() -> None:
    """C50."""
    loop = Loop(lambda: None, AGES)
    loop.start(delayed=True)
    assert loop.next_call is not None
    assert abs(loop.next_call - (datetime.now() + AGES)) < timedelta(seconds=DEADLINE)


@pytest.mark.parametrize("zone", [None, timezone.utc, timezone(timedelta(hours=-9, minutes=-30))])
def test_next_call_may_be_assigned(zone: timezone | None) -> None:
    """C50: in the past: due now; in the future: due then; `None`: stopped. With a zone or without."""
    calls: list[int] = []
    loop = Loop(lambda: calls.append(1), AGES)
    loop.next_call = datetime.now(zone) + timedelta(hours=1)
    assert loop.run_if_needed(None) is None
    remaining = loop.get_remaining()
    assert remaining is not None
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)
    loop.next_call = datetime.now(zone) - timedelta(hours=1)
    assert loop.run_if_needed(None) is not None
    assert calls == [1]
    loop.next_call = None
    assert not loop.is_running()
    loop.next_call = datetime.now(zone)
    assert loop.is_running()


def test_the_interval_may_be_reassigned() -> None:
    """C50: it counts from the last call on."""
    loop = Loop(lambda: None, AGES)
    loop.run_if_needed(None)
    loop.interval = timedelta(hours=1)
    assert loop.interval == timedelta(hours=1)
    remaining = loop.get_remaining()
    assert remaining is not None
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)
    loop.interval = timedelta(0)
    assert loop.run_if_needed(None) is not None
    loop.interval = AGES
    assert loop.run_if_needed(None) is None


def test_the_interval_of_a_stopped_loop_may_be_reassigned() -> None:
    """C50: and that does not start it."""
    loop = Loop(lambda: None, AGES, start=False)
    loop.interval = timedelta(0)
    assert not loop.is_running()
    loop.start()
    assert loop.run_if_needed(None) is not None


def test_the_function_may_be_reassigned() -> None:
    """C50: with another way of calling it."""
    calls: list[object] = []
    loop = Loop(lambda: calls.append("first"), timedelta(0))
    loop.run_if_needed("service")
    loop.fn = calls.append
    loop.run_if_needed("service")
    assert calls == ["first", "service"]
    with pytest.raises(TypeError):
        loop.fn = lambda one, two: None


@pytest.mark.parametrize("interval", [5, 0.5, "5", None])
def test_an_interval_that_is_no_timedelta_is_a_type_error(interval: Any) -> None:
    """C50: where it is made, and where it is assigned."""
    with pytest.raises(TypeError, match="timedelta"):
        Loop(lambda: None, interval)
    loop = Loop(lambda: None, AGES)
    with pytest.raises(TypeError, match="timedelta"):
        loop.interval = interval
    assert loop.interval == AGES


@pytest.mark.parametrize("interval", [timedelta(seconds=-1), timedelta(microseconds=-1), timedelta.min])
def test_a_negative_interval_is_a_value_error(interval: timedelta) -> None:
    """C51: where it is made, and where it is assigned."""
    with pytest.raises(ValueError, match="negative"):
        Loop(lambda: None, interval)
    loop = Loop(lambda: None, AGES)
    with pytest.raises(ValueError, match="negative"):
        loop.interval = interval
    assert loop.interval == AGES


def test_the_longest_interval_there_is_means_never_again() -> None:
    """C50: services write `timedelta.max` for that."""
    calls: list[int] = []
    loop = Loop(lambda: calls.append(1), timedelta.max)
    loop.run_if_needed(None)
    assert loop.run_if_needed(None) is None
    assert loop.is_running()
    assert calls == [1]


@pytest.mark.parametrize("fn", [None, "text", lambda one, two: None, lambda *, one: None])
def test_a_function_that_cannot_be_called_is_a_type_error(fn: Any) -> None:
    """C50: where it is made."""
    with pytest.raises(TypeError):
        Loop(fn, AGES)


def test_functions_are_called_with_and_without_the_service() -> None:
    """C50: as handlers are."""
    calls: list[object] = []

    class Helper:
        def plain(self) -> None:
            calls.append("plain")

        def taking(self, service: object) -> None:
            calls.append(service)

        def __call__(self, service: object) -> None:
            calls.append(("called", service))

    helper = Helper()
    for fn in (
        helper.plain,
        helper.taking,
        helper,
        functools.partial(calls.append, "partial"),
        functools.partial(lambda name, service: calls.append((name, service)), "named"),
        lambda *args: calls.append(args),
        lambda service=None: calls.append(service),
    ):
        Loop(fn, AGES).run_if_needed("service")
    assert calls == [
        "plain",
        "service",
        ("called", "service"),
        "partial",
        ("named", "service"),
        ("service",),
        "service",
    ]


def test_a_loop_of_anything_can_be_shown() -> None:
    """C50: 1.x failed for a partial, in the midst of the heartbeat."""

    class Helper:
        def __call__(self) -> None: ...

    for fn in (functools.partial(print, "x"), Helper(), print, lambda: None, [].sort):
        assert str(Loop(fn, AGES)).startswith("Loop(")


def test_statistics_are_counted_and_reset() -> None:
    """C50, C52: calls, mean duration, load, and whether it is over 1."""
    loop = Loop(lambda: time.sleep(0.002), timedelta(0))
    assert loop.stat_get() == (0, 0.0, 0.0, False)
    for _ in range(3):
        loop.run_if_needed(None)
    calls, mean, load, overloaded = loop.stat_get()
    assert calls == 3
    assert mean >= 0.002
    assert (load, overloaded) == (0.0, False)
    loop.interval = timedelta(microseconds=1000)
    calls, mean, load, overloaded = loop.stat_get()
    assert load == pytest.approx(mean / 0.001)
    assert load >= 2.0
    assert overloaded is True
    loop.stat_reset()
    assert loop.stat_get() == (0, 0.0, 0.0, False)


# ---- C51: the grid ---------------------------------------------------------------------------------------------


def test_the_first_call_comes_at_once_when_run_starts(config: Path) -> None:
    """C51: and the grid begins there, however long ago the service was made."""

    class Slow(S):
        @miqro.loop(seconds=100_000)
        def tick(self) -> None:
            self.seen.append(time.monotonic())

    service = make(Slow, config)
    threading.Event().wait(0.05)
    started = time.monotonic()
    with Running(service) as running:
        running.wait(lambda: service.seen)
        grid = Grid(AGES.total_seconds())
        grid.note(loop_of(service, "tick"))
    assert len(service.seen) == 1
    low, high = grid.dues[0]
    assert high >= started + AGES.total_seconds()
    assert low <= service.seen[0] + AGES.total_seconds()


def test_call_n_is_due_at_start_plus_n_intervals(config: Path) -> None:
    """C51: drift-free, once per point of the grid, on a machine that is late all the time."""
    grid = Grid(0.005)

    class Ticks(S):
        @miqro.loop(milliseconds=5)
        def tick(self) -> None:
            grid.note(loop_of(self, "tick"))

    service = make(Ticks, config)
    with Running(service) as running:
        running.wait(lambda: len(grid.dues) >= 100)
    assert min(grid.steps()) >= 1


def test_a_late_loop_is_called_once_and_stays_on_its_grid(config: Path) -> None:
    """C51: never in bursts."""
    grid = Grid(0.01)

    class Late(S):
        @miqro.loop(milliseconds=10)
        def tick(self) -> None:
            grid.note(loop_of(self, "tick"))
            if len(grid.dues) % 10 == 0:
                threading.Event().wait(0.035)

    service = make(Late, config)
    with Running(service) as running:
        running.wait(lambda: len(grid.dues) >= 50)
    steps = grid.steps()
    assert min(steps) >= 1
    # Each long call covers the points that passed meanwhile.
    assert all(steps[number] >= 3 for number in range(9, len(steps), 10))


def test_a_loop_that_waits_for_a_slow_one_stays_on_its_grid(config: Path) -> None:
    """C51: whoever makes it late."""
    grid = Grid(0.01)

    class Both(S):
        @miqro.loop(milliseconds=25)
        def slow(self) -> None:
            threading.Event().wait(0.02)

        @miqro.loop(milliseconds=10)
        def quick(self) -> None:
            grid.note(loop_of(self, "quick"))

    service = make(Both, config)
    with Running(service) as running:
        running.wait(lambda: len(grid.dues) >= 40)
    assert min(grid.steps()) >= 1


def test_a_loop_that_is_started_again_has_a_new_grid() -> None:
    """C51, C50: from that moment on."""
    loop = Loop(lambda: None, timedelta(seconds=1000))
    loop.run_if_needed(None)
    before = time.monotonic()
    loop.start()
    loop.run_if_needed(None)
    grid = Grid(1000)
    grid.note(loop)
    assert grid.dues[0][1] >= before + 1000


@pytest.mark.parametrize("result", [None, 0, "", True, [], 0.0])
def test_only_false_stops_a_loop(result: object) -> None:
    """C51."""
    loop = Loop(lambda: result, timedelta(0))
    assert loop.run_if_needed(None) is not None
    assert loop.is_running()


def test_returning_false_stops_the_loop(config: Path) -> None:
    """C51: and it can be started again."""

    class Once(S):
        @miqro.loop(milliseconds=1)
        def once(self) -> bool:
            self.seen.append("once")
            return False

        @miqro.loop(milliseconds=1)
        def tick(self) -> None:
            self.seen.append("tick")

    service = make(Once, config)
    with Running(service) as running:
        running.wait(lambda: service.seen.count("tick") > 10)
        assert service.seen.count("once") == 1
        loop = loop_of(service, "once")
        assert not loop.is_running()
        loop.start()
        running.wait(lambda: service.seen.count("once") == 2)


def test_a_loop_of_interval_zero_is_called_every_step_with_messages_in_between(config: Path) -> None:
    """C51: none is starved, not the loop and not the messages."""

    class Eager(S):
        @miqro.loop()
        def tick(self) -> None:
            if self.seen[-1:] != ["tick"]:
                self.seen.append("tick")

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

    service = make(Eager, config)
    with Running(service) as running:
        running.connected()
        for number in range(100):
            receive(service, "service/s/a", str(number), dispatch=False)
            running.wait(ends_with(service.seen, str(number), "tick"))
    assert [what for what in service.seen if what != "tick"] == [str(number) for number in range(100)]


def test_a_flood_of_messages_does_not_keep_a_loop_from_its_calls(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C51: between messages, when it is due."""

    class Flooded(S):
        SERVICE_NAME = "flooded"

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            threading.Event().wait(0.002)
            self.seen.append(payload)

        @miqro.loop(milliseconds=10)
        def tick(self) -> None:
            self.seen.append("tick")

    service = Flooded(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish_many([("service/flooded/a", str(n).encode()) for n in range(500)], qos=0)
        running.wait(lambda: "499" in service.seen)
    between = service.seen[service.seen.index("0") : service.seen.index("499")]
    assert [what for what in service.seen if what != "tick"] == [str(n) for n in range(500)]
    # 500 messages took a second at least, a hundred times the interval.
    assert between.count("tick") >= 10


def test_a_loop_that_blocks_leaves_messages_as_much_time_as_it_takes(config: Path) -> None:
    """C51: a reading loop of interval 0 (a serial line with a timeout) is the usual shape."""

    class Reads(S):
        @miqro.loop()
        def read(self) -> None:
            threading.Event().wait(0.02)
            self.seen.append("read")

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            threading.Event().wait(0.004)
            self.seen.append(payload)

    service = make(Reads, config)
    for number in range(100):
        receive(service, "service/s/a", str(number), dispatch=False)
    with Running(service) as running:
        running.wait(lambda: "99" in service.seen)
    reads = service.seen[service.seen.index("0") : service.seen.index("99")].count("read")
    assert 1 <= reads <= 66, "about five messages for each reading"


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
        self.LOOPS.append(Loop(lambda: self.seen.append("appended"), AGES))

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
]


@pytest.mark.parametrize(("what", "expected"), CHANGES)
def test_another_thread_changes_the_loops_of_a_service_that_sleeps(
    config: Path, what: str, expected: str
) -> None:
    """C53: the service wakes at once: it would sleep for a day."""
    service = make(Slots, config)
    with Running(service) as running:
        wake = running.wait(lambda: service.is_connected and service._Service__dispatcher.idle)  # type: ignore[attr-defined]
        assert wake
        assert service.seen == []
        service.do(what)
        running.wait(lambda: expected in service.seen)


@pytest.mark.parametrize(("what", "expected"), [*CHANGES, ("append", "appended")])
def test_a_handler_changes_the_loops(config: Path, what: str, expected: str) -> None:
    """C53: also by appending to `LOOPS`, as services did."""
    service = make(Slots, config)
    with Running(service) as running:
        running.connected()
        receive(service, "service/s/do", what, dispatch=False)
        running.wait(lambda: expected in service.seen)


@pytest.mark.parametrize(("what", "expected"), [*CHANGES, ("append", "appended")])
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
        running.wait(lambda: service._Service__dispatcher.idle)  # type: ignore[attr-defined]
        count = len(service.seen)
        running.wait(lambda: service._Service__due_in() > 1000)  # type: ignore[attr-defined]
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
    running.wait(lambda: service._Service__dispatcher.idle)  # type: ignore[attr-defined]
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
        running.wait(lambda: service.is_connected and service._Service__dispatcher.idle)  # type: ignore[attr-defined]
        for number in range(5):
            before = len(wake.timeouts)
            receive(service, "service/s/a", str(number), dispatch=False)
            running.wait(ends_with(service.seen, str(number)))
            running.wait(functools.partial(slept, before))
        running.wait(lambda: service._Service__dispatcher.idle)  # type: ignore[attr-defined]
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
