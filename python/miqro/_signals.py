"""Ctrl-C and SIGTERM end a service cleanly (contract C40)."""

from __future__ import annotations

import os
import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from ._native import Wake

#: How long a handler or loop may go on after SIGTERM before it is interrupted. With the time for the farewell
#: to the broker it makes the two seconds of contract C40.
GRACE_SECONDS = 0.7


class Interrupted(SystemExit, KeyboardInterrupt):
    """Ctrl-C, after the service has said goodbye.

    `except KeyboardInterrupt` catches it, and if nobody does, Python exits with status 130 and no traceback.
    """

    def __init__(self) -> None:
        super().__init__(130)


class Signals:
    """While it is entered, signals wake the service, and SIGTERM stops it.

    Only on the main thread, where Python allows it; a SIGTERM handler of the program's own is left alone.

    Args:
        wake: What the service sleeps on. A signal may be received by any thread of the process, so it is the
            descriptor that tells the service of it.
        stop: Called on SIGTERM.
    """

    def __init__(self, wake: Wake, stop: Callable[[], None]) -> None:
        self._wake = wake
        self._stop = stop
        self.on_main_thread = threading.current_thread() is threading.main_thread()
        self._ours = False
        self._leaving = False
        self._timer: threading.Timer | None = None
        self._diverted = False

    def __enter__(self) -> Self:
        if self.on_main_thread:
            self._previous_fd = signal.set_wakeup_fd(self._wake.signal_fileno(), warn_on_full_buffer=False)
            self._ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            if self._ours:
                signal.signal(signal.SIGTERM, self._terminate)
            _entered.append(self)
        return self

    def divert_interrupt(self, callback: Callable[[], object]) -> None:
        """From now on Ctrl-C calls `callback`, for an event loop cannot be interrupted anywhere without harm.

        The second one, and the first if that has no effect for too long, raises `KeyboardInterrupt` nevertheless.
        A handler of the program's own is left alone.
        """
        if self.on_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:

            def interrupt(_signum: int, _frame: FrameType | None) -> None:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                self._set_timer(signal.SIGINT, GRACE_SECONDS)
                callback()

            self._diverted = True
            signal.signal(signal.SIGINT, interrupt)

    def grant(self, seconds: float) -> None:
        """The service has noticed, and has so many seconds before it is interrupted."""
        if self._timer is not None:
            self._timer.cancel()
            self._set_timer(self._signum, seconds)

    def leaving(self) -> None:
        """The service says goodbye now: SIGTERM has nothing left to interrupt."""
        self._leaving = True
        if self._diverted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._timer is not None:
                self._timer.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self in _entered:
            _entered.remove(self)
            self._restore(self._previous_fd)
        if kind is KeyboardInterrupt:
            raise Interrupted from None

    def _restore(self, wakeup_fd: int) -> None:
        signal.set_wakeup_fd(wakeup_fd)
        if self._ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._diverted:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _terminate(self, _signum: int, _frame: FrameType | None) -> None:
        if self._leaving:
            return
        if self._timer is not None:
            # The second time, from the timer or from somebody impatient: interrupt what goes on.
            raise SystemExit(0)
        self._set_timer(signal.SIGTERM, GRACE_SECONDS)
        self._stop()

    def _set_timer(self, signum: signal.Signals, seconds: float) -> None:
        self._signum = signum
        main = threading.main_thread().ident
        self._timer = threading.Timer(seconds, signal.pthread_kill, (main, signum))
        self._timer.daemon = True
        self._timer.start()


_entered: list[Signals] = []


def _forked() -> None:
    """A child of a service has no service that a signal could stop: SIGTERM just ends it."""
    while _entered:
        _entered.pop()._restore(-1)


os.register_at_fork(after_in_child=_forked)
