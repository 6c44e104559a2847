"""Methods that are called at regular intervals (contract C50 to C53)."""

from __future__ import annotations

import time
from datetime import timedelta

from ._clock import wall_now
from ._handlers import is_coroutine_function, name_of, takes_service
from ._native import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from typing import Any, SupportsIndex

    from typing_extensions import Self

    from ._native import Wake
    from ._service import Service


#: What a longer interval is taken for: a thousand years, after which there are still dates.
LONGEST = timedelta(days=365_000)


class Loop:
    """A function and the interval at which a service calls it.

    Calls are due on a grid: start + n * interval by the monotonic clock. A late call is made once and the
    grid stays. May be started, stopped and re-timed from any thread.

    Args:
        fn: Called with the service, or without arguments where it takes none. Returning `False` stops it.
        interval: The time between two calls. Zero: called in every step of the service.
        start: Whether it is due at once; else `start()` it later.

    Raises:
        TypeError: `interval` is no timedelta, or `fn` cannot be called with a service.
        ValueError: `interval` is negative.
    """

    def __init__(self, fn: Callable[..., Any], interval: timedelta, start: bool = True) -> None:
        self.fn = fn
        self._interval = interval
        self._timer = Timer(_microseconds(interval))
        self._wake: Wake | None = None
        self._called = False
        self.stat_reset()
        if start:
            self._timer.start(False)

    @property
    def fn(self) -> Callable[..., Any]:
        """What is called."""
        return self._fn

    @fn.setter
    def fn(self, fn: Callable[..., Any]) -> None:
        with_service = takes_service(fn, 0) if callable(fn) else None
        if with_service is None:
            raise TypeError(f"the loop {name_of(fn)} cannot be called with the service as its only argument")
        self._fn, self._with_service, self._is_async = fn, with_service, is_coroutine_function(fn)

    @property
    def interval(self) -> timedelta:
        """The time between two calls. A new one counts from the last call."""
        return self._interval

    @interval.setter
    def interval(self, interval: timedelta) -> None:
        self._timer.set_interval(_microseconds(interval))
        self._interval = interval
        self._tell()

    def start(self, delayed: bool = False) -> None:
        """Starts a new grid: due at once, or after one interval if `delayed`."""
        self._timer.start(delayed)
        self._tell()

    def restart(self, delayed: bool = False) -> None:
        """The same as `start`."""
        self.start(delayed=delayed)

    def stop(self) -> None:
        """Not called any more, until it is started again."""
        self._timer.stop()

    def is_running(self) -> bool:
        """Whether it will be called."""
        return self._timer.remaining() is not None

    def get_remaining(self) -> timedelta | None:
        """The time until the next call, negative if it is late; `None` while stopped."""
        remaining = self._timer.remaining()
        return None if remaining is None else timedelta(seconds=remaining)

    @property
    def next_call(self) -> datetime | None:
        """When the next call is due, estimated by the wall clock; `None` while stopped.

        May be set: the grid then starts there.
        """
        remaining = self.get_remaining()
        return None if remaining is None else wall_now() + remaining

    @next_call.setter
    def next_call(self, when: datetime | None) -> None:
        if when is None:
            self.stop()
        else:
            self._timer.start_in((when - wall_now(when.tzinfo)).total_seconds())
            self._tell()

    def run_if_needed(self, service: Service) -> datetime | None:
        """Calls the function if it is due. An `async def` is begun, and called again when it has ended.

        Returns:
            When the next call is due if it was called and goes on, else `None`.

        Raises:
            Exception: What the function raises. The loop then waits a second at least before the next call.
        """
        if not self._timer.take_due():
            return None
        self._called = True
        if self._is_async:
            # It never overlaps itself.
            self._timer.set_busy(True)
            service._miqro_dispatcher.need_tasks().call_loop(self)
            return self.next_call
        began = time.perf_counter()
        failed = True
        try:
            result = self.fn(service) if self._with_service else self.fn()
            failed = False
        finally:
            self._note_call(began, failed)
        if result is False:
            self.stop()
            return None
        return self.next_call

    async def _call(self, service: Service) -> None:
        """Calls a function that is to be awaited. `_call_ended` follows."""
        began = time.perf_counter()
        failed = True
        try:
            result = self.fn(service) if self._with_service else self.fn()
            # A wrapper may have nothing to wait for.
            if hasattr(result, "__await__"):
                result = await result
            failed = False
        finally:
            self._note_call(began, failed)
        if result is False:
            self.stop()

    def _call_ended(self) -> None:
        self._timer.set_busy(False)
        self._tell()

    def _note_call(self, began: float, failed: bool) -> None:
        self.stat_call_count += 1
        self.stat_cumulative_duration += time.perf_counter() - began
        if failed:
            self.stat_error_count += 1
            self._timer.failed()

    def stat_get(self) -> tuple[int, float, float, bool]:
        """Calls, their mean duration in seconds, the load (duration by interval), and whether it is over 1."""
        mean = self.stat_cumulative_duration / self.stat_call_count if self.stat_call_count else 0.0
        interval = self._interval.total_seconds()
        load = mean / interval if interval else 0.0
        return self.stat_call_count, mean, load, load > 1.0

    def stat_reset(self) -> None:
        """Starts the statistics anew."""
        self.stat_call_count = 0
        self.stat_cumulative_duration = 0.0
        self.stat_error_count = 0

    def __str__(self) -> str:
        return f"Loop({getattr(self.fn, '__name__', None) or name_of(self.fn)})"

    def _attach(self, wake: Wake) -> Timer:
        """Has `wake` told of changes from now on; gives what says when the next call is due."""
        self._wake = wake
        return self._timer

    def _begin(self) -> None:
        """The service starts to run: a first call that waited for that is due now, and its grid begins."""
        remaining = self._timer.remaining()
        if not self._called and remaining is not None and remaining <= 0:
            self._timer.start(False)

    def _tell(self) -> None:
        if self._wake is not None:
            self._wake.notify()


class Loops(list[Loop]):
    """The loops of a service. A loop that is added, from whichever thread, wakes the service, which may sleep."""

    def __init__(self, loops: Iterable[Loop], wake: Wake) -> None:
        super().__init__(loops)
        self._wake = wake

    def append(self, loop: Loop) -> None:
        super().append(loop)
        self._wake.notify()

    def insert(self, index: SupportsIndex, loop: Loop) -> None:
        super().insert(index, loop)
        self._wake.notify()

    def extend(self, loops: Iterable[Loop]) -> None:
        super().extend(loops)
        self._wake.notify()

    def __iadd__(self, loops: Iterable[Loop]) -> Self:  # type: ignore[misc, override]
        self.extend(loops)
        return self

    def __setitem__(self, where: Any, loops: Any) -> None:
        super().__setitem__(where, loops)
        self._wake.notify()


def _microseconds(interval: timedelta) -> int:
    if not isinstance(interval, timedelta):
        raise TypeError(f"the interval of a loop is a timedelta, not {interval!r}")
    microseconds = min(interval, LONGEST) // timedelta(microseconds=1)
    if microseconds < 0:
        raise ValueError(f"a loop cannot have a negative interval ({interval})")
    return microseconds
