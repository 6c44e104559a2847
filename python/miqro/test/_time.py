"""Time that a test owns: it passes at once, and only when the test says so."""

from __future__ import annotations

from contextlib import contextmanager

from miqro import _clock
from miqro._dispatch import overridden
from miqro._native import clock_advance, clock_hold, clock_is_held, clock_now, clock_release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from miqro import Service


#: Of a second. Times are compared in nanoseconds: numbers of seconds are not exact.
NANOSECONDS = 1_000_000_000


class VirtualTime:
    """Time that passes in `run`, in `expect_next` and in `advance`, and takes none."""

    def now(self) -> float:
        """Return the time in seconds; only differences mean something."""
        return clock_now() / NANOSECONDS

    def advance(self, seconds: float) -> None:
        """Let time pass in which no service does anything: a machine that sleeps, a handler that takes long.

        Loops that have become due meanwhile are called once when the service runs again.

        Args:
            seconds: How much.

        Raises:
            ValueError: Less than nothing.
        """
        if not seconds >= 0:
            raise ValueError(f"time does not go back: {seconds} seconds")
        clock_advance(seconds)


@contextmanager
def virtual_time() -> Iterator[VirtualTime]:
    """Hold the clock of all services: inside, `run(service, 3600)` takes no time, and an hour passes.

    Loops, `only_if_changed` with a `timedelta`, the timeouts of `expect_next`, `Loop.get_remaining()` and
    `Loop.next_call` follow it. What a service asks `time` and `datetime` itself, or sleeps, does not, nor does a
    connection to a broker: this is for doubles. Only the thread that has entered it moves it.

    Raises:
        RuntimeError: It is entered already.
    """
    if not clock_hold():
        raise RuntimeError("the time is virtual already: leave that first")
    _clock.hold()
    try:
        yield VirtualTime()
    finally:
        _clock.release()
        clock_release()


class Deadline:
    """The end of some seconds that begin now.

    Args:
        seconds: How many.
    """

    def __init__(self, seconds: float) -> None:
        self._begin = clock_now()
        self._end = self._begin + round(seconds * NANOSECONDS)

    def left(self) -> float:
        """Return the seconds until then, exactly 0 or less from then on."""
        return (self._end - clock_now()) / NANOSECONDS

    def passed(self) -> float:
        """Return the seconds since its beginning."""
        return (clock_now() - self._begin) / NANOSECONDS


class Steps:
    """Steps of a service through real or virtual time.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        #: Steps in a row in which virtual time stood still.
        self._still = 0
        #: A service that waits by itself gets no more time than when it runs for real.
        self._waits_itself = any(overridden(service, name) for name in ("_wait_for_work", "_loop_step"))

    def step(self, at_most: float) -> None:
        """Make one step of the service's own loop that waits for no more than these seconds."""
        service = self._service
        limit = service.MAX_LOOP_INTERVAL
        if not clock_is_held() or self._waits_itself:
            at_most = min(at_most, limit)
        own = vars(service).get("MAX_LOOP_INTERVAL")
        before = clock_now()
        service.MAX_LOOP_INTERVAL = max(0.0, at_most)
        try:
            service._loop_step()
        finally:
            if own is None:
                del service.MAX_LOOP_INTERVAL
            else:
                service.MAX_LOOP_INTERVAL = own
        if clock_is_held() and at_most > 0:
            self._still = self._still + 1 if clock_now() == before else 0
            if self._still > 1:
                # It does not wait, or not here: a loop of interval zero, or an override that reads a device.
                self._still = 0
                clock_advance(min(at_most, limit, *self._ahead()))

    def _ahead(self) -> Iterator[float]:
        """Give the seconds until each of the loops that are not due yet."""
        for loop in self._service.LOOPS or ():
            remaining = loop._timer.remaining()
            if remaining is not None and remaining > 0:
                yield remaining
